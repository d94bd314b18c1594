//! How the repository behaves.

use std::{path::PathBuf, time::Duration};

use ruma::OwnedServerName;

/// How the repository behaves.
#[derive(Clone, Debug)]
pub struct MediaOptions {
    /// The name of this server.
    pub server_name: OwnedServerName,
    /// The directory of files, and of those that are still coming.
    pub directory: PathBuf,
    /// The object store, if there is one.
    pub objects: Option<ObjectOptions>,
    /// Whether new files go into the object store.
    pub prefers_objects: bool,
    /// The longest file that a user may upload.
    pub max_upload_bytes: u64,
    /// How much a user may have stored at once; 0 for any amount.
    pub max_bytes_per_user: u64,
    /// How many ids a user may have that nothing has been uploaded under.
    pub max_pending_per_user: u32,
    /// How long such an id can be used.
    pub pending_lifetime: Duration,
    /// The longest file that is fetched from another server.
    pub max_remote_bytes: u64,
    /// How many files are fetched from other servers at once.
    pub max_fetches: usize,
    /// Media that were here before this time (milliseconds since 1970) can be fetched without a token.
    pub open_before_ms: i64,
    /// After how long without use copies from other servers are deleted, in milliseconds; 0 for never.
    pub remote_keep_ms: i64,
    /// How much copies from other servers may take; 0 for any amount.
    pub remote_max_bytes: u64,
    /// After how long without use media of this server are deleted, in milliseconds; 0 for never.
    pub local_keep_ms: i64,
    /// Whether media are deleted when the only event that names them is redacted.
    pub deletes_redacted: bool,
}

/// An S3-compatible store.
#[derive(Clone)]
pub struct ObjectOptions {
    /// Its URL; empty for that of Amazon.
    pub endpoint: String,
    /// The region.
    pub region: String,
    /// The bucket.
    pub bucket: String,
    /// Who asks.
    pub access_key_id: String,
    /// What proves it.
    pub secret_access_key: String,
    /// What all names begin with.
    pub prefix: String,
    /// Whether the bucket is part of the host name rather than of the path.
    pub virtual_hosted_style: bool,
    /// How long a link to a file is good that others may follow; zero where nobody is sent to the store.
    pub link_lifetime: Duration,
}

impl std::fmt::Debug for ObjectOptions {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("ObjectOptions")
            .field("endpoint", &self.endpoint)
            .field("bucket", &self.bucket)
            .finish_non_exhaustive()
    }
}
