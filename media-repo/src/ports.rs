//! What the repository needs from others.

use std::{fmt, pin::Pin, time::Duration};

use bytes::Bytes;
use futures_util::stream::BoxStream;
use ruma::ServerName;

use crate::ids::MediaId;

/// A file of another server, on its way.
pub struct RemoteFile {
    /// Its type, as that server says.
    pub content_type: Option<String>,
    /// Its `Content-Disposition`, as that server says.
    pub disposition: Option<String>,
    /// How long it will be, if that is known.
    pub length: Option<u64>,
    /// Its bytes.
    pub body: BoxStream<'static, Result<Bytes, FetchError>>,
}

impl fmt::Debug for RemoteFile {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("RemoteFile")
            .field("content_type", &self.content_type)
            .field("length", &self.length)
            .finish_non_exhaustive()
    }
}

/// Why media of another server are not to be had.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum FetchError {
    /// That server has none under this id.
    #[error("the other server does not have it")]
    NotFound,
    /// It will be there later.
    #[error("the other server does not have it yet")]
    NotYetUploaded,
    /// It is longer than this server takes.
    #[error("the file is too large")]
    TooLarge,
    /// This server does not talk to that one.
    #[error("this server does not talk to that one")]
    Denied,
    /// That server asks for patience.
    #[error("the other server asks for patience")]
    LimitExceeded(Option<Duration>),
    /// That server does not answer, or not in a way that can be understood.
    #[error("the other server cannot be asked: {0}")]
    Failed(String),
}

/// The answer of another server.
pub type Fetching<'a> = Pin<Box<dyn Future<Output = Result<RemoteFile, FetchError>> + Send + 'a>>;

/// Fetches media from the servers that they come from.
pub trait RemoteMedia: Send + Sync + fmt::Debug {
    /// Begins to fetch a file. `patience` is how long that server may wait for its upload.
    fn fetch<'a>(&'a self, server: &'a ServerName, id: &'a MediaId, patience: Duration) -> Fetching<'a>;
}
