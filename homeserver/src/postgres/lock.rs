//! One Kith per cluster.

use std::{
    fs::{File, OpenOptions, TryLockError},
    io::{Read, Seek, Write},
    path::Path,
};

use super::PostgresError;

const FILE_NAME: &str = "postgres.lock";

/// Held while this process may touch the cluster. The kernel lets go of it however the process ends.
#[derive(Debug)]
pub(super) struct ClusterLock {
    _file: File,
}

impl ClusterLock {
    pub(super) fn take(data_dir: &Path) -> Result<Self, PostgresError> {
        std::fs::create_dir_all(data_dir).map_err(PostgresError::io(data_dir))?;
        let path = data_dir.join(FILE_NAME);
        let mut file = OpenOptions::new()
            .read(true)
            .write(true)
            .create(true)
            .truncate(false)
            .open(&path)
            .map_err(PostgresError::io(&path))?;
        match file.try_lock() {
            Ok(()) => {}
            Err(TryLockError::WouldBlock) => {
                let mut holder = String::new();
                let read = file.read_to_string(&mut holder);
                let pid = read.ok().map(|_| holder.trim().to_owned()).filter(|pid| !pid.is_empty());
                return Err(PostgresError::InUse { data_dir: data_dir.to_owned(), pid });
            }
            Err(TryLockError::Error(error)) => return Err(PostgresError::Io { path, error }),
        }
        // Only for the message above, so a full disk is no reason to fail.
        let _ = file.set_len(0);
        let _ = file.rewind();
        let _ = writeln!(file, "{}", std::process::id());
        Ok(Self { _file: file })
    }
}
