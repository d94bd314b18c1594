//! Where files lie: on disk, or in an object store.
//!
//! A file comes in through [`Incoming`], which writes it to disk and hashes it as it comes; only when it is whole and on
//! disk does it get its name ([`Files::keep`]). A name is made for one file and never used again.

mod disk;
mod incoming;
mod objects;

use std::{fmt::Write as _, io, ops::Range, path::PathBuf};

use bytes::Bytes;
use futures_util::stream::BoxStream;
use hs_storage::media::{BlobRecord, BlobStore, MediaHash};
use rand::{RngExt as _, distr::Alphanumeric};

pub use self::incoming::{Incoming, Received};
use self::{disk::Disk, incoming::remove_later, objects::Objects};
use crate::options::MediaOptions;

/// The bytes of a file as they are read.
pub type FileStream = BoxStream<'static, io::Result<Bytes>>;

/// Why a store did not do as asked. None of it reaches a client.
#[derive(Debug, thiserror::Error)]
pub enum StoreError {
    /// The file is not there.
    #[error("the file {0} is missing")]
    Missing(String),
    /// It lies in a store that this server is not configured for.
    #[error("the file lies in an object store, and none is configured")]
    NotConfigured,
    /// The disk did not do as asked.
    #[error("the disk failed")]
    Disk(#[from] io::Error),
    /// The object store did not do as asked.
    #[error("the object store failed")]
    Objects(#[from] object_store::Error),
}

/// The stores. Cloning is cheap.
#[derive(Clone, Debug)]
pub struct Files {
    disk: Disk,
    objects: Option<Objects>,
    prefers_objects: bool,
}

/// A file that lies in a store.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Lying {
    /// Its name.
    pub key: String,
    /// How long it is.
    pub size: u64,
}

/// What a store is to say of a file that somebody fetches from it directly.
#[derive(Clone, Copy, Debug)]
pub struct Link<'a> {
    /// Its type.
    pub content_type: &'a str,
    /// Its `Content-Disposition`.
    pub disposition: &'a str,
    /// How long it may be kept.
    pub cache_control: &'a str,
}

impl Files {
    /// The configured stores. Makes the directories.
    pub fn open(options: &MediaOptions) -> Result<Self, StoreError> {
        let disk = Disk::open(&options.directory)?;
        let objects = options.objects.as_ref().map(Objects::open).transpose()?;
        Ok(Self { disk, prefers_objects: options.prefers_objects && objects.is_some(), objects })
    }

    /// Where new files go.
    fn preferred(&self) -> BlobStore {
        if self.prefers_objects { BlobStore::Objects } else { BlobStore::Disk }
    }

    /// Begins to take a file.
    pub fn receive(&self) -> Incoming {
        Incoming::new(self.disk.incoming())
    }

    /// Keeps a file that has come, where new files go.
    pub async fn keep(&self, received: Received) -> Result<BlobRecord, StoreError> {
        self.keep_in(self.preferred(), received).await
    }

    /// Keeps a file that has come in a certain store.
    pub async fn keep_in(&self, store: BlobStore, received: Received) -> Result<BlobRecord, StoreError> {
        let key = new_key(&received.hash);
        let blob = BlobRecord { hash: received.hash, store, key, size: received.size };
        match store {
            BlobStore::Disk => self.disk.keep(received, &blob.key).await?,
            BlobStore::Objects => self.objects()?.keep(received, &blob.key).await?,
        }
        Ok(blob)
    }

    /// The bytes of a part of a file. That it is missing is said here, not while it is read.
    pub async fn read(&self, blob: &BlobRecord, range: Range<u64>) -> Result<FileStream, StoreError> {
        match blob.store {
            BlobStore::Disk => self.disk.read(&blob.key, range).await,
            BlobStore::Objects => self.objects()?.read(&blob.key, range).await,
        }
    }

    /// Where others can fetch a file without this server, if it lies in such a place and they are to be sent there.
    pub async fn link(&self, blob: &BlobRecord, link: Link<'_>) -> Result<Option<String>, StoreError> {
        match blob.store {
            BlobStore::Disk => Ok(None),
            BlobStore::Objects => self.objects()?.link(&blob.key, link).await,
        }
    }

    /// Where a file lies on this machine, if it does.
    pub fn local_path(&self, blob: &BlobRecord) -> Option<PathBuf> {
        (blob.store == BlobStore::Disk).then(|| self.disk.path(&blob.key))
    }

    /// Deletes a file that nothing refers to. That it is gone already is fine.
    pub async fn delete(&self, blob: &BlobRecord) -> Result<(), StoreError> {
        match blob.store {
            BlobStore::Disk => self.disk.delete(&blob.key).await,
            BlobStore::Objects => self.objects()?.delete(&blob.key).await,
        }
    }

    /// How long a file is; `None` when it is not there.
    pub async fn size_of(&self, blob: &BlobRecord) -> Result<Option<u64>, StoreError> {
        match blob.store {
            BlobStore::Disk => self.disk.size_of(&blob.key).await,
            BlobStore::Objects => self.objects()?.size_of(&blob.key).await,
        }
    }

    /// The files that lie in a store and were last written before a time (milliseconds since 1970), in batches.
    pub fn list(
        &self,
        store: BlobStore,
        before_ms: i64,
    ) -> Result<BoxStream<'static, Result<Vec<Lying>, StoreError>>, StoreError> {
        match store {
            BlobStore::Disk => Ok(self.disk.list(before_ms)),
            BlobStore::Objects => Ok(self.objects()?.list(before_ms)),
        }
    }

    /// Deletes what was left of files that stopped coming before a time. Answers how many there were.
    pub async fn clear_incoming(&self, before_ms: i64) -> Result<u64, StoreError> {
        self.disk.clear_incoming(before_ms).await
    }

    /// The stores that are there.
    pub fn stores(&self) -> impl Iterator<Item = BlobStore> {
        [BlobStore::Disk].into_iter().chain(self.objects.as_ref().map(|_| BlobStore::Objects))
    }

    fn objects(&self) -> Result<&Objects, StoreError> {
        self.objects.as_ref().ok_or(StoreError::NotConfigured)
    }
}

/// A name for a file with this hash: `ab/cd/abcd…-xxxxxxxx`, so that no directory gets too long.
fn new_key(hash: &MediaHash) -> String {
    let hex = hex(hash);
    let suffix: String = rand::rng().sample_iter(Alphanumeric).take(8).map(char::from).collect();
    format!("{}/{}/{hex}-{suffix}", &hex[..2], &hex[2..4])
}

/// A hash as text.
pub fn hex(hash: &[u8]) -> String {
    hash.iter().fold(String::with_capacity(hash.len() * 2), |mut text, byte| {
        // Writing to a string cannot fail.
        let _ = write!(text, "{byte:02x}");
        text
    })
}

/// Runs what waits for the disk where waiting does no harm.
async fn blocking<T: Send + 'static>(work: impl FnOnce() -> io::Result<T> + Send + 'static) -> io::Result<T> {
    tokio::task::spawn_blocking(work).await.map_err(io::Error::other)?
}

#[cfg(test)]
mod tests;
