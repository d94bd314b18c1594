//! Backups of room keys.
//!
//! <https://spec.matrix.org/v1.19/client-server-api/#server-side-key-backups>

use hs_model::ids::UserNid;
use hs_storage::{
    StorageError, Txn,
    key_backup::{BackedUpKey, BackupScope, KeyBackupRow},
};

use crate::E2ee;

/// The longest id of a room or session: they are part of an index.
const MAX_ID_BYTES: usize = 255;

/// Why a backup was not read or changed.
#[derive(Debug, thiserror::Error)]
pub enum BackupError {
    /// There is no such backup.
    #[error("There is no such backup")]
    NotFound,
    /// Keys can be written only to the newest version.
    #[error("This is not the newest version of the backup")]
    WrongVersion {
        /// The newest.
        current: String,
    },
    /// The algorithm of a version cannot change.
    #[error("The algorithm of a backup cannot be changed")]
    WrongAlgorithm,
    /// The id of a room or session is too long.
    #[error("The id of a room or session is too long")]
    TooLong,
    /// The database failed.
    #[error(transparent)]
    Storage(#[from] StorageError),
}

/// Where a backup stands after a change.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct BackupState {
    /// Changes whenever the keys do.
    pub etag: String,
    /// How many keys there are.
    pub count: i64,
}

impl From<(i64, i64)> for BackupState {
    fn from((etag, count): (i64, i64)) -> Self {
        Self { etag: etag.to_string(), count }
    }
}

impl E2ee {
    /// Starts a new version of a user's backup.
    pub async fn create_backup(
        &self,
        user: UserNid,
        algorithm: &str,
        auth_data: &str,
    ) -> Result<String, BackupError> {
        let mut txn = self.inner.store.begin().await?;
        txn.lock_account(user).await?;
        let version = txn.insert_key_backup(user, algorithm, auth_data).await?;
        txn.commit().await?;
        Ok(version.to_string())
    }

    /// A version of a user's backup; the newest when none is named.
    pub async fn find_backup(
        &self,
        user: UserNid,
        version: Option<&str>,
    ) -> Result<KeyBackupRow, BackupError> {
        let version = version.map(parse_version).transpose()?;
        let found = self.inner.store.reader().await?.find_key_backup(user, version).await?;
        found.filter(|backup| !backup.is_deleted).ok_or(BackupError::NotFound)
    }

    /// Replaces what goes with the algorithm of a version.
    pub async fn update_backup(
        &self,
        user: UserNid,
        version: &str,
        algorithm: &str,
        auth_data: &str,
    ) -> Result<(), BackupError> {
        let (mut txn, backup) = self.open_backup(user, version).await?;
        if backup.algorithm != algorithm {
            return Err(BackupError::WrongAlgorithm);
        }
        txn.set_key_backup_auth_data(user, backup.version, auth_data).await?;
        Ok(txn.commit().await?)
    }

    /// Deletes a version with its keys. That it was deleted before is no failure.
    pub async fn delete_backup(&self, user: UserNid, version: &str) -> Result<(), BackupError> {
        let version = parse_version(version)?;
        let mut txn = self.inner.store.begin().await?;
        txn.lock_account(user).await?;
        let backup = txn.find_key_backup(user, Some(version)).await?.ok_or(BackupError::NotFound)?;
        if !backup.is_deleted {
            txn.delete_key_backup(user, version).await?;
        }
        Ok(txn.commit().await?)
    }

    /// Puts keys into a version, which must be the newest; each only where there is none, or a worse one.
    pub async fn put_backed_up_keys(
        &self,
        user: UserNid,
        version: &str,
        keys: &[BackedUpKey],
    ) -> Result<BackupState, BackupError> {
        let is_long = |id: &str| id.len() > MAX_ID_BYTES;
        if keys.iter().any(|key| is_long(&key.room_id) || is_long(&key.session_id)) {
            return Err(BackupError::TooLong);
        }
        let (mut txn, backup) = self.open_backup(user, version).await?;
        if let Some(current) = txn.find_key_backup(user, None).await?
            && current.version != backup.version
        {
            return Err(BackupError::WrongVersion { current: current.version.to_string() });
        }
        let state = if keys.is_empty() {
            (backup.etag, backup.key_count)
        } else {
            txn.upsert_backed_up_keys(user, backup.version, keys).await?
        };
        txn.commit().await?;
        Ok(state.into())
    }

    /// Keys of a version.
    pub async fn list_backed_up_keys(
        &self,
        user: UserNid,
        version: &str,
        scope: BackupScope<'_>,
    ) -> Result<Vec<BackedUpKey>, BackupError> {
        let version = parse_version(version)?;
        let mut reader = self.inner.store.reader().await?;
        let backup = reader.find_key_backup(user, Some(version)).await?;
        if backup.is_none_or(|backup| backup.is_deleted) {
            return Err(BackupError::NotFound);
        }
        Ok(reader.list_backed_up_keys(user, version, scope).await?)
    }

    /// Deletes keys of a version.
    pub async fn delete_backed_up_keys(
        &self,
        user: UserNid,
        version: &str,
        scope: BackupScope<'_>,
    ) -> Result<BackupState, BackupError> {
        let (mut txn, backup) = self.open_backup(user, version).await?;
        let state = txn.delete_backed_up_keys(user, backup.version, scope).await?;
        txn.commit().await?;
        Ok(state.into())
    }

    /// A version that nobody else changes until the end of the transaction.
    async fn open_backup(&self, user: UserNid, version: &str) -> Result<(Txn, KeyBackupRow), BackupError> {
        let version = parse_version(version)?;
        let mut txn = self.inner.store.begin().await?;
        txn.lock_account(user).await?;
        let backup = txn.find_key_backup(user, Some(version)).await?;
        let backup = backup.filter(|backup| !backup.is_deleted).ok_or(BackupError::NotFound)?;
        Ok((txn, backup))
    }
}

/// A version as clients name it. What is no number of ours names no version.
fn parse_version(version: &str) -> Result<i64, BackupError> {
    let is_number = !version.is_empty() && version.bytes().all(|byte| byte.is_ascii_digit());
    version.parse().ok().filter(|_| is_number).ok_or(BackupError::NotFound)
}
