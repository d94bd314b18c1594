//! `[media]`

use std::{
    path::{Path, PathBuf},
    time::Duration,
};

use media_repo::{MediaOptions, ObjectOptions, thumbnail::ThumbnailOptions};
use ruma::OwnedServerName;
use serde::{Deserialize, Serialize};

use super::{Invalid, secret::Secret, section::section};

section! {
    /// Files that people attach, and pictures of them.
    pub struct Media {
        /// Where files are kept: "disk", or "s3" for the store that is named below. Files that lie in the other stay there,
        /// and can be read as long as it is named; `kith media migrate` moves them.
        pub store: MediaStore = MediaStore::Disk,
        /// The directory for files, and for those that are still coming. Empty: `media` in server.data_dir. All processes of
        /// a cluster need the same, unless files are kept in "s3".
        pub directory: PathBuf = PathBuf::new(),
        /// The longest file that people may upload, in bytes.
        pub max_upload_bytes: u64 = 100 * 1024 * 1024,
        /// How much one user may have stored, in bytes. 0: any amount.
        pub max_bytes_per_user: u64 = 0,
        /// How many media ids a user may have that nothing has been uploaded under yet.
        pub max_pending_uploads: u32 = 20,
        /// How long such an id can be used.
        pub pending_upload_hours: u64 = 24,
        /// The longest file that is fetched from another server, in bytes.
        pub max_remote_bytes: u64 = 100 * 1024 * 1024,
        /// How many files are fetched from other servers at once.
        pub max_concurrent_fetches: usize = 64,
        /// Media that were here before this day (YYYY-MM-DD, UTC) can be fetched without a token, as old clients and servers
        /// do. Empty: none can.
        pub unauthenticated_before: String = String::new(),
        /// After how many days without use files of other servers are deleted; they are fetched again when somebody asks for
        /// them. 0: never.
        pub remote_keep_days: u32 = 90,
        /// How much files of other servers may take at most, in bytes; those that were not used for longest go first. 0: any
        /// amount.
        pub remote_max_bytes: u64 = 0,
        /// After how many days without use files of this server's users are deleted, but for those that are a picture of a
        /// user or a room. Nobody can bring them back. 0: never.
        pub local_keep_days: u32 = 0,
        /// Whether a file is deleted when its uploader's message with it is redacted and no other event is known to use it.
        /// What is used in encrypted messages is not known.
        pub delete_redacted: bool = false,
        /// How many pictures are made smaller at once.
        pub thumbnail_threads: usize = 2,
        /// How much memory they may take together, in bytes.
        pub thumbnail_memory_bytes: u64 = 768 * 1024 * 1024,
        /// The most pixels of a picture that thumbnails are made of.
        pub thumbnail_max_pixels: u64 = 64_000_000,
        /// The program that takes pictures out of films, and reads AVIF and HEIF: a path, or a name that is looked for where
        /// programs lie. Without it, or if empty, such files have no thumbnails.
        pub ffmpeg: PathBuf = PathBuf::from("ffmpeg"),
        /// The URL of an S3-compatible store. Empty: that of Amazon.
        #[example = "\"https://s3.example.org\""]
        pub s3_endpoint: String = String::new(),
        /// Its region.
        pub s3_region: String = "us-east-1".to_owned(),
        /// The bucket. Empty: there is no such store.
        pub s3_bucket: String = String::new(),
        /// What the names of all files in the bucket begin with.
        pub s3_prefix: String = String::new(),
        /// Who asks.
        pub s3_access_key_id: String = String::new(),
        /// What proves it.
        pub s3_secret_access_key: Secret = Secret::default(),
        /// Whether the bucket is named in the host (bucket.s3.example.org) rather than in the path.
        pub s3_virtual_hosted_style: bool = false,
        /// For how many seconds a link is good that clients and other servers are sent to, to fetch a file from the store
        /// themselves. Web clients can do so only if the store's CORS rules let them. 0: files go through this server.
        pub s3_link_seconds: u64 = 0,
    }
}

/// Where files are kept.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum MediaStore {
    /// On disk.
    Disk,
    /// In an S3-compatible store.
    S3,
}

const DAY_MS: i64 = 24 * 60 * 60 * 1000;

impl Media {
    /// Checks what the types do not.
    pub(super) fn validate(&self) -> Result<(), Invalid> {
        if self.store == MediaStore::S3 && self.s3_bucket.is_empty() {
            return Err(Invalid::new(
                "s3_bucket",
                "files go to a store that is not named",
                "name the bucket",
            ));
        }
        if !self.unauthenticated_before.is_empty() && day_ms(&self.unauthenticated_before).is_none() {
            let problem = format!("`{}` is no day", self.unauthenticated_before);
            return Err(Invalid::new("unauthenticated_before", problem, "write it as 2026-01-31"));
        }
        // More than a week is more than such a store signs.
        if self.s3_link_seconds > 604_800 {
            return Err(Invalid::new(
                "s3_link_seconds",
                "no store gives links for so long",
                "write 604800 (a week) or less",
            ));
        }
        if self.thumbnail_threads == 0 {
            return Err(Invalid::new(
                "thumbnail_threads",
                "no picture would ever be made",
                "write 1 or more",
            ));
        }
        Ok(())
    }

    /// How the repository behaves.
    pub fn options(&self, server_name: OwnedServerName, data_dir: &Path) -> MediaOptions {
        let directory = if self.directory.as_os_str().is_empty() {
            data_dir.join("media")
        } else {
            self.directory.clone()
        };
        MediaOptions {
            server_name,
            directory,
            objects: (!self.s3_bucket.is_empty()).then(|| self.object_options()),
            prefers_objects: self.store == MediaStore::S3,
            max_upload_bytes: self.max_upload_bytes,
            max_bytes_per_user: self.max_bytes_per_user,
            max_pending_per_user: self.max_pending_uploads,
            pending_lifetime: Duration::from_secs(self.pending_upload_hours.saturating_mul(3600)),
            max_remote_bytes: self.max_remote_bytes,
            max_fetches: self.max_concurrent_fetches,
            open_before_ms: day_ms(&self.unauthenticated_before).unwrap_or_default(),
            remote_keep_ms: i64::from(self.remote_keep_days) * DAY_MS,
            remote_max_bytes: self.remote_max_bytes,
            local_keep_ms: i64::from(self.local_keep_days) * DAY_MS,
            deletes_redacted: self.delete_redacted,
        }
    }

    /// How thumbnails are made.
    pub fn thumbnail_options(&self) -> ThumbnailOptions {
        ThumbnailOptions {
            threads: self.thumbnail_threads,
            memory_bytes: self.thumbnail_memory_bytes,
            max_pixels: self.thumbnail_max_pixels,
            ffmpeg: self.ffmpeg(),
            ..ThumbnailOptions::default()
        }
    }

    /// The program for films, if it is there.
    #[expect(
        clippy::disallowed_methods,
        reason = "PATH is where the system says programs are, not a setting of ours"
    )]
    pub fn ffmpeg(&self) -> Option<PathBuf> {
        if self.ffmpeg.components().count() != 1 {
            return Some(self.ffmpeg.clone()).filter(|program| program.is_file());
        }
        let path = std::env::var_os("PATH")?;
        let places = std::env::split_paths(&path).filter(|directory| directory.is_absolute());
        places.map(|directory| directory.join(&self.ffmpeg)).find(|program| program.is_file())
    }

    fn object_options(&self) -> ObjectOptions {
        ObjectOptions {
            endpoint: self.s3_endpoint.clone(),
            region: self.s3_region.clone(),
            bucket: self.s3_bucket.clone(),
            access_key_id: self.s3_access_key_id.clone(),
            secret_access_key: self.s3_secret_access_key.expose().to_owned(),
            prefix: self.s3_prefix.clone(),
            virtual_hosted_style: self.s3_virtual_hosted_style,
            link_lifetime: Duration::from_secs(self.s3_link_seconds),
        }
    }
}

/// The first millisecond of a day since 1970.
fn day_ms(text: &str) -> Option<i64> {
    let mut parts = text.splitn(3, '-').map(|part| part.parse::<i64>().ok());
    let (year, month, day) = (parts.next()??, parts.next()??, parts.next()??);
    if !(1970..=9999).contains(&year) || !(1..=12).contains(&month) || !(1..=31).contains(&day) {
        return None;
    }
    // Counts days from the first of March, so that the leap day is the last of its year.
    let (year, month) = if month > 2 { (year, month - 3) } else { (year - 1, month + 9) };
    let days = 365 * year + year / 4 - year / 100 + year / 400 + (153 * month + 2) / 5 + day - 1;
    Some((days - 719_468) * DAY_MS)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn days_are_counted() {
        assert_eq!(day_ms("1970-01-01"), Some(0));
        assert_eq!(day_ms("2024-02-29"), Some(1_709_164_800_000));
        assert_eq!(day_ms("2026-11-22"), Some(1_795_305_600_000));
        for other in ["", "2024", "2024-13-01", "2024-1-x", "yesterday", "1969-12-31"] {
            assert_eq!(day_ms(other), None, "{other}");
        }
    }
}
