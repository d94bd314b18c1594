//! Files on disk.

use std::{
    fs::{self, File},
    io::{self, ErrorKind, Read as _, Seek as _, SeekFrom},
    ops::Range,
    path::{Path, PathBuf},
    sync::Arc,
    time::{Duration, UNIX_EPOCH},
};

use bytes::Bytes;
use futures_util::{
    StreamExt as _,
    stream::{self, BoxStream},
};

use super::{FileStream, Lying, Received, StoreError, blocking, remove_later};

/// How much is read at once: enough that the way to another thread does not matter, little enough for many at once.
const PIECE: u64 = 256 * 1024;

/// A directory of files. Cloning is cheap.
#[derive(Clone, Debug)]
pub(super) struct Disk {
    blobs: Arc<Path>,
    incoming: Arc<Path>,
}

impl Disk {
    /// Makes the directories where they are missing.
    pub(super) fn open(directory: &Path) -> io::Result<Self> {
        let blobs = directory.join("files");
        // On the same file system as the files: a file comes to its place by being renamed.
        let incoming = directory.join("incoming");
        fs::create_dir_all(&blobs)?;
        fs::create_dir_all(&incoming)?;
        Ok(Self { blobs: blobs.into(), incoming: incoming.into() })
    }

    pub(super) fn incoming(&self) -> Arc<Path> {
        Arc::clone(&self.incoming)
    }

    pub(super) fn path(&self, key: &str) -> PathBuf {
        self.blobs.join(key)
    }

    /// Gives a file its name, for good: when this returns, it has it even if the machine loses power.
    pub(super) async fn keep(&self, received: Received, key: &str) -> Result<(), StoreError> {
        let (root, path) = (Arc::clone(&self.blobs), self.path(key));
        blocking(move || {
            let Some(directory) = path.parent() else { return Err(ErrorKind::InvalidInput.into()) };
            let is_new = !directory.exists();
            if is_new {
                fs::create_dir_all(directory)?;
            }
            fs::rename(received.path(), &path)?;
            received.disarm();
            let synced = sync_directories(&root, directory, is_new);
            if synced.is_err() {
                remove_later(path);
            }
            synced
        })
        .await?;
        Ok(())
    }

    pub(super) async fn read(&self, key: &str, range: Range<u64>) -> Result<FileStream, StoreError> {
        let path = self.path(key);
        let length = range.end - range.start;
        let opened = blocking(move || {
            let mut file = File::open(path)?;
            file.seek(SeekFrom::Start(range.start))?;
            read_piece(file, length)
        });
        let (file, first) = match opened.await {
            Ok(opened) => opened,
            Err(error) if error.kind() == ErrorKind::NotFound => {
                return Err(StoreError::Missing(key.to_owned()));
            }
            Err(error) => return Err(error.into()),
        };
        let left = length - first.len() as u64;
        let rest = stream::try_unfold((file, left), move |(file, left)| async move {
            if left == 0 {
                return Ok(None);
            }
            let (file, piece) = blocking(move || read_piece(file, left)).await?;
            let left = left - piece.len() as u64;
            Ok(Some((piece, (file, left))))
        });
        Ok(stream::iter([Ok(first)]).chain(rest).boxed())
    }

    pub(super) async fn delete(&self, key: &str) -> Result<(), StoreError> {
        let path = self.path(key);
        match blocking(move || fs::remove_file(path)).await {
            Err(error) if error.kind() != ErrorKind::NotFound => Err(error.into()),
            _ => Ok(()),
        }
    }

    pub(super) async fn size_of(&self, key: &str) -> Result<Option<u64>, StoreError> {
        let path = self.path(key);
        match blocking(move || fs::metadata(path)).await {
            Ok(metadata) => Ok(Some(metadata.len())),
            Err(error) if error.kind() == ErrorKind::NotFound => Ok(None),
            Err(error) => Err(error.into()),
        }
    }

    /// One batch for each directory of the second level.
    pub(super) fn list(&self, before_ms: i64) -> BoxStream<'static, Result<Vec<Lying>, StoreError>> {
        let root = Arc::clone(&self.blobs);
        let directories = async move {
            let listed = Arc::clone(&root);
            let found = blocking(move || second_level(&listed)).await;
            (root, found)
        };
        stream::once(directories)
            .flat_map(move |(root, found)| match found {
                Ok(directories) => stream::iter(directories)
                    .then(move |directory| {
                        let root = Arc::clone(&root);
                        async move { Ok(blocking(move || files_in(&root, &directory, before_ms)).await?) }
                    })
                    .boxed(),
                Err(error) => stream::iter([Err(error.into())]).boxed(),
            })
            .boxed()
    }

    pub(super) async fn clear_incoming(&self, before_ms: i64) -> Result<u64, StoreError> {
        let directory = Arc::clone(&self.incoming);
        let cleared = blocking(move || {
            let mut cleared = 0;
            for entry in fs::read_dir(&*directory)? {
                let entry = entry?;
                // Another replica may have been quicker.
                let Ok(metadata) = entry.metadata() else { continue };
                if metadata.is_file()
                    && is_before(&metadata, before_ms)
                    && fs::remove_file(entry.path()).is_ok()
                {
                    cleared += 1;
                }
            }
            Ok(cleared)
        });
        Ok(cleared.await?)
    }
}

/// Has the names written down, from the file's directory up to the root where directories are new.
fn sync_directories(root: &Path, directory: &Path, is_new: bool) -> io::Result<()> {
    let mut at = directory;
    File::open(at)?.sync_all()?;
    while is_new && at != root {
        let Some(parent) = at.parent() else { break };
        at = parent;
        File::open(at)?.sync_all()?;
    }
    Ok(())
}

/// Reads on, into memory that nobody has to clear before.
fn read_piece(file: File, left: u64) -> io::Result<(File, Bytes)> {
    let length = left.min(PIECE);
    let mut piece = Vec::with_capacity(length as usize);
    let mut reader = file.take(length);
    if reader.read_to_end(&mut piece)? as u64 != length {
        return Err(ErrorKind::UnexpectedEof.into());
    }
    Ok((reader.into_inner(), piece.into()))
}

fn second_level(root: &Path) -> io::Result<Vec<PathBuf>> {
    let mut found = Vec::new();
    for first in fs::read_dir(root)? {
        let first = first?.path();
        if first.is_dir() {
            for second in fs::read_dir(first)? {
                found.push(second?.path());
            }
        }
    }
    found.retain(|path| path.is_dir());
    found.sort();
    Ok(found)
}

fn files_in(root: &Path, directory: &Path, before_ms: i64) -> io::Result<Vec<Lying>> {
    let mut found = Vec::new();
    for entry in fs::read_dir(directory)? {
        let entry = entry?;
        let Ok(metadata) = entry.metadata() else { continue };
        let path = entry.path();
        let key = path.strip_prefix(root).ok().and_then(Path::to_str);
        if let Some(key) = key.filter(|_| metadata.is_file() && is_before(&metadata, before_ms)) {
            found.push(Lying { key: key.to_owned(), size: metadata.len() });
        }
    }
    Ok(found)
}

fn is_before(metadata: &fs::Metadata, before_ms: i64) -> bool {
    let before = UNIX_EPOCH + Duration::from_millis(before_ms.max(0) as u64);
    metadata.modified().is_ok_and(|modified| modified < before)
}
