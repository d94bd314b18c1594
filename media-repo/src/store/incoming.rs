//! Files that are still coming.

use std::{
    fs::{self, File, OpenOptions},
    io::{self, Write},
    path::{Path, PathBuf},
    sync::Arc,
};

use bytes::Bytes;
use hs_storage::media::MediaHash;
use rand::RngExt as _;
use sha2::{Digest, Sha256};

use super::blocking;

/// How much is gathered before it is hashed and written, so that a trickle of bytes does not become a trickle of jobs.
const PIECE: usize = 256 * 1024;

/// A file that is coming. Dropping it deletes what has come.
#[derive(Debug)]
pub struct Incoming {
    directory: Arc<Path>,
    written: Option<Written>,
    pending: Vec<Bytes>,
    pending_bytes: usize,
    size: u64,
}

/// What is on disk of it.
#[derive(Debug)]
struct Written {
    file: File,
    hasher: Sha256,
    path: TemporaryPath,
}

/// A file that is whole and on disk, and has no name yet. Dropping it deletes it.
#[derive(Debug)]
pub struct Received {
    /// Its SHA-256.
    pub hash: MediaHash,
    /// How long it is.
    pub size: u64,
    path: TemporaryPath,
}

impl Received {
    /// Where it lies.
    pub fn path(&self) -> &Path {
        &self.path.0
    }

    /// It has got another name: nothing is left to delete.
    pub(super) fn disarm(mut self) {
        self.path.0 = PathBuf::new();
    }
}

/// The name of a file that is deleted unless it has got another.
#[derive(Debug)]
struct TemporaryPath(PathBuf);

impl Drop for TemporaryPath {
    fn drop(&mut self) {
        remove_later(std::mem::take(&mut self.0));
    }
}

/// Deletes a file, away from the threads that must not wait for the disk. What is not deleted, because the process ends, is
/// cleared away by the job.
pub(super) fn remove_later(path: PathBuf) {
    if path.as_os_str().is_empty() {
        return;
    }
    let remove = move || drop(fs::remove_file(path));
    match tokio::runtime::Handle::try_current() {
        Ok(runtime) => drop(runtime.spawn_blocking(remove)),
        Err(_) => remove(),
    }
}

impl Incoming {
    pub(super) fn new(directory: Arc<Path>) -> Self {
        Self { directory, written: None, pending: Vec::new(), pending_bytes: 0, size: 0 }
    }

    /// How much has come.
    pub fn size(&self) -> u64 {
        self.size
    }

    /// Takes the next bytes.
    pub async fn write(&mut self, chunk: Bytes) -> io::Result<()> {
        self.size += chunk.len() as u64;
        self.pending_bytes += chunk.len();
        self.pending.push(chunk);
        if self.pending_bytes < PIECE {
            return Ok(());
        }
        let (written, pending, directory) = self.take();
        let written = blocking(move || put(written, &pending, &directory)).await?;
        self.written = Some(written);
        Ok(())
    }

    /// The end has come: the file is whole, and on disk when this returns.
    pub async fn finish(mut self) -> io::Result<Received> {
        let size = self.size;
        let (written, pending, directory) = self.take();
        blocking(move || {
            let Written { file, hasher, path } = put(written, &pending, &directory)?;
            file.sync_data()?;
            Ok(Received { hash: hasher.finalize().into(), size, path })
        })
        .await
    }

    fn take(&mut self) -> (Option<Written>, Vec<Bytes>, Arc<Path>) {
        self.pending_bytes = 0;
        (self.written.take(), std::mem::take(&mut self.pending), Arc::clone(&self.directory))
    }
}

fn put(written: Option<Written>, pending: &[Bytes], directory: &Path) -> io::Result<Written> {
    let mut written = written.map_or_else(|| create(directory), Ok)?;
    for chunk in pending {
        written.hasher.update(chunk);
        written.file.write_all(chunk)?;
    }
    Ok(written)
}

fn create(directory: &Path) -> io::Result<Written> {
    let path = directory.join(format!("{:032x}", rand::rng().random::<u128>()));
    let file = OpenOptions::new().write(true).create_new(true).open(&path)?;
    Ok(Written { file, hasher: Sha256::new(), path: TemporaryPath(path) })
}
