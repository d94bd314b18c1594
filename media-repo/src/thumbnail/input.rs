//! Where a picture is read from, and for how long.

use std::{
    fs::File,
    io::{self, BufRead, BufReader, Cursor, Read, Seek, SeekFrom},
    path::PathBuf,
    time::Instant,
};

use bytes::Bytes;

use super::ThumbnailError;

/// A file.
#[derive(Clone, Debug)]
pub enum Source {
    /// On disk.
    File(PathBuf),
    /// In memory.
    Bytes(Bytes),
}

/// A file that is being read. Reading ends with an error when the time is over, which is how a decoder is stopped.
pub(super) struct Input {
    inner: Inner,
    until: Instant,
}

enum Inner {
    File(BufReader<File>),
    Bytes(Cursor<Bytes>),
}

impl Source {
    /// How long it is.
    pub(super) fn len(&self) -> Result<u64, ThumbnailError> {
        match self {
            Self::File(path) => Ok(std::fs::metadata(path).map_err(unreadable)?.len()),
            Self::Bytes(bytes) => Ok(bytes.len() as u64),
        }
    }

    pub(super) fn open(&self, until: Instant) -> Result<Input, ThumbnailError> {
        let inner = match self {
            Self::File(path) => {
                Inner::File(BufReader::with_capacity(64 << 10, File::open(path).map_err(unreadable)?))
            }
            Self::Bytes(bytes) => Inner::Bytes(Cursor::new(bytes.clone())),
        };
        Ok(Input { inner, until })
    }

    /// Its first bytes.
    pub(super) fn head(&self) -> Result<Vec<u8>, ThumbnailError> {
        const HEAD_BYTES: usize = 1024;
        match self {
            Self::Bytes(bytes) => Ok(bytes[..bytes.len().min(HEAD_BYTES)].to_vec()),
            Self::File(path) => {
                let mut head = Vec::with_capacity(HEAD_BYTES);
                let file = File::open(path).map_err(unreadable)?;
                file.take(HEAD_BYTES as u64).read_to_end(&mut head).map_err(unreadable)?;
                Ok(head)
            }
        }
    }
}

fn unreadable(error: io::Error) -> ThumbnailError {
    ThumbnailError::Io(error.to_string())
}

impl Input {
    fn check(&self) -> io::Result<()> {
        if Instant::now() < self.until { Ok(()) } else { Err(io::ErrorKind::TimedOut.into()) }
    }
}

impl Read for Input {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        self.check()?;
        match &mut self.inner {
            Inner::File(file) => file.read(buffer),
            Inner::Bytes(bytes) => bytes.read(buffer),
        }
    }

    fn read_to_end(&mut self, buffer: &mut Vec<u8>) -> io::Result<usize> {
        self.check()?;
        match &mut self.inner {
            Inner::File(file) => file.read_to_end(buffer),
            Inner::Bytes(bytes) => bytes.read_to_end(buffer),
        }
    }
}

impl BufRead for Input {
    fn fill_buf(&mut self) -> io::Result<&[u8]> {
        self.check()?;
        match &mut self.inner {
            Inner::File(file) => file.fill_buf(),
            Inner::Bytes(bytes) => bytes.fill_buf(),
        }
    }

    fn consume(&mut self, amount: usize) {
        match &mut self.inner {
            Inner::File(file) => file.consume(amount),
            Inner::Bytes(bytes) => bytes.consume(amount),
        }
    }
}

impl Seek for Input {
    fn seek(&mut self, to: SeekFrom) -> io::Result<u64> {
        match &mut self.inner {
            Inner::File(file) => file.seek(to),
            Inner::Bytes(bytes) => bytes.seek(to),
        }
    }
}
