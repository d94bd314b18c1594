//! The key that signs events and requests: made on the first start, and kept in a file that only we may read.

use std::{
    fs::{self, OpenOptions},
    io::{self, Write},
    os::unix::fs::{OpenOptionsExt, PermissionsExt},
    path::{Path, PathBuf},
};

use hs_room_rules::sign::{SigningKey, SigningKeyError};
use rand::{CryptoRng, RngExt};
use zeroize::Zeroizing;

use crate::config::Config;

/// Why there is no signing key. The texts are for operators.
#[derive(Debug, thiserror::Error)]
pub enum SigningKeyFileError {
    /// The file cannot be read or written.
    #[error("signing key {}: {error}", .path.display())]
    Io {
        /// The file.
        path: PathBuf,
        /// Why not.
        error: io::Error,
    },
    /// The file holds no key.
    #[error("signing key {}: {error}; put back the file from your backup, which a line `ed25519 <version> <seed>` makes up", .path.display())]
    Content {
        /// The file.
        path: PathBuf,
        /// What is wrong with it.
        error: SigningKeyError,
    },
    /// Others may read the file.
    #[error("signing key {}: others may read it (mode {mode:o}); run `chmod 600` on it", .path.display())]
    Readable {
        /// The file.
        path: PathBuf,
        /// Its mode.
        mode: u32,
    },
}

/// Where the key is.
pub fn path(config: &Config) -> PathBuf {
    if config.signing.key_file.as_os_str().is_empty() {
        config.server.data_dir.join("signing.key")
    } else {
        config.signing.key_file.clone()
    }
}

/// Reads the key; `None` if there is none yet.
pub fn load(path: &Path) -> Result<Option<SigningKey>, SigningKeyFileError> {
    let io_error = |error| SigningKeyFileError::Io { path: path.to_owned(), error };
    let text = match fs::read_to_string(path) {
        Ok(text) => Zeroizing::new(text),
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
        Err(error) => return Err(io_error(error)),
    };
    let mode = fs::metadata(path).map_err(io_error)?.permissions().mode() & 0o7777;
    if mode & 0o077 != 0 {
        return Err(SigningKeyFileError::Readable { path: path.to_owned(), mode });
    }
    let key = SigningKey::from_text(&text)
        .map_err(|error| SigningKeyFileError::Content { path: path.to_owned(), error })?;
    Ok(Some(key))
}

/// Reads the key, or makes one.
pub fn load_or_create(path: &Path, rng: &mut impl CryptoRng) -> Result<SigningKey, SigningKeyFileError> {
    if let Some(key) = load(path)? {
        return Ok(key);
    }
    let version = random_version(rng);
    let key = SigningKey::generate(rng, &version)
        .map_err(|error| SigningKeyFileError::Content { path: path.to_owned(), error })?;
    match write_new(path, &key.to_text()) {
        Ok(()) => {
            tracing::info!(path = %path.display(), key_id = %key.key_id(), "made a signing key");
            Ok(key)
        }
        // Another process of the cluster was faster.
        Err(error) if error.kind() == io::ErrorKind::AlreadyExists => match load(path)? {
            Some(key) => Ok(key),
            None => Err(SigningKeyFileError::Io { path: path.to_owned(), error }),
        },
        Err(error) => Err(SigningKeyFileError::Io { path: path.to_owned(), error }),
    }
}

/// A name under which no other key of this server has been published.
fn random_version(rng: &mut impl CryptoRng) -> String {
    const LETTERS: &[u8] = b"abcdefghijklmnopqrstuvwxyz0123456789";
    let version = (0..6).map(|_| char::from(LETTERS[rng.random_range(0..LETTERS.len())]));
    version.collect()
}

/// Puts the whole text in place at once, and only if nothing is there: a key must never be half, or two.
fn write_new(path: &Path, text: &str) -> io::Result<()> {
    let directory = match path.parent() {
        Some(parent) if !parent.as_os_str().is_empty() => parent,
        _ => Path::new("."),
    };
    fs::create_dir_all(directory)?;
    let building = path.with_extension(format!("new-{}", std::process::id()));
    let mut file = OpenOptions::new().write(true).create(true).truncate(true).mode(0o600).open(&building)?;
    file.write_all(text.as_bytes())?;
    file.sync_all()?;
    let linked = fs::hard_link(&building, path);
    fs::remove_file(&building)?;
    linked?;
    fs::File::open(directory)?.sync_all()
}

#[cfg(test)]
mod tests {
    use rand::{SeedableRng, rngs::StdRng};

    use super::*;

    fn temporary(name: &str) -> PathBuf {
        std::env::temp_dir().join(format!("kith-key-{}-{name}", std::process::id())).join("signing.key")
    }

    #[test]
    fn key_is_made_once_and_kept() {
        let path = temporary("kept");
        let mut rng = StdRng::seed_from_u64(1);

        let made = load_or_create(&path, &mut rng).unwrap();
        let read = load_or_create(&path, &mut rng).unwrap();

        assert_eq!(made.key_id(), read.key_id());
        assert_eq!(made.public_key(), read.public_key());
        assert_eq!(fs::metadata(&path).unwrap().permissions().mode() & 0o777, 0o600);
        assert_eq!(fs::read_dir(path.parent().unwrap()).unwrap().count(), 1);
        fs::remove_dir_all(path.parent().unwrap()).unwrap();
    }

    #[test]
    fn key_that_others_may_read_is_refused() {
        let path = temporary("open");
        load_or_create(&path, &mut StdRng::seed_from_u64(1)).unwrap();
        fs::set_permissions(&path, fs::Permissions::from_mode(0o644)).unwrap();

        let error = load(&path).unwrap_err().to_string();

        assert!(error.contains("chmod 600"), "{error}");
        fs::remove_dir_all(path.parent().unwrap()).unwrap();
    }

    #[test]
    fn broken_key_is_neither_used_nor_replaced_nor_shown() {
        let path = temporary("broken");
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(&path, "ed25519 a_1 c2VjcmV0\n").unwrap();
        fs::set_permissions(&path, fs::Permissions::from_mode(0o600)).unwrap();

        let error = load_or_create(&path, &mut StdRng::seed_from_u64(1)).unwrap_err().to_string();

        assert!(error.contains("signing.key") && !error.contains("c2VjcmV0"), "{error}");
        assert_eq!(fs::read_to_string(&path).unwrap(), "ed25519 a_1 c2VjcmV0\n");
        fs::remove_dir_all(path.parent().unwrap()).unwrap();
    }
}
