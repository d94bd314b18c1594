//! Backups of room keys.

use hs_model::ids::UserNid;

use crate::{Reader, Txn, error::Result};

/// A version of a user's backup.
#[derive(Clone, Debug)]
pub struct KeyBackupRow {
    /// Its number, counted per user.
    pub version: i64,
    /// How its keys are encrypted.
    pub algorithm: String,
    /// JSON object that goes with the algorithm.
    pub auth_data: String,
    /// Changes whenever the keys in it do.
    pub etag: i64,
    /// How many keys are in it.
    pub key_count: i64,
    /// Whether it has been deleted.
    pub is_deleted: bool,
}

/// A key in a backup.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct BackedUpKey {
    /// The room that the session belongs to.
    pub room_id: String,
    /// The session.
    pub session_id: String,
    /// The first message that the key can decrypt.
    pub first_message_index: i64,
    /// How often the key was forwarded.
    pub forwarded_count: i64,
    /// Whether the device that the key came from was verified.
    pub is_verified: bool,
    /// JSON object: the key, encrypted.
    pub session_data: String,
}

/// Which keys of a backup.
#[derive(Clone, Copy, Debug, Default)]
pub struct BackupScope<'a> {
    /// Only those of this room.
    pub room_id: Option<&'a str>,
    /// Only that of this session.
    pub session_id: Option<&'a str>,
}

impl Reader {
    /// A version of a user's backup, deleted ones too; the newest that is not deleted when none is named.
    pub async fn find_key_backup(
        &mut self,
        user: UserNid,
        version: Option<i64>,
    ) -> Result<Option<KeyBackupRow>> {
        let row = sqlx::query_as!(
            KeyBackupRow,
            "SELECT version, algorithm, auth_data, etag, key_count, is_deleted
             FROM key_backups
             WHERE user_nid = $1 AND (version = $2 OR ($2::bigint IS NULL AND NOT is_deleted))
             ORDER BY version DESC
             LIMIT 1",
            user.0,
            version
        )
        .fetch_optional(self.conn())
        .await?;
        Ok(row)
    }

    /// Keys of a backup, by room and session.
    pub async fn list_backed_up_keys(
        &mut self,
        user: UserNid,
        version: i64,
        scope: BackupScope<'_>,
    ) -> Result<Vec<BackedUpKey>> {
        let keys = sqlx::query_as!(
            BackedUpKey,
            "SELECT room_id, session_id, first_message_index, forwarded_count, is_verified, session_data
             FROM key_backup_sessions
             WHERE user_nid = $1 AND version = $2
               AND ($3::text IS NULL OR room_id = $3)
               AND ($4::text IS NULL OR session_id = $4)
             ORDER BY room_id, session_id",
            user.0,
            version,
            scope.room_id,
            scope.session_id
        )
        .fetch_all(self.conn())
        .await?;
        Ok(keys)
    }
}

impl Txn {
    /// Starts a new version. The account must be locked.
    pub async fn insert_key_backup(
        &mut self,
        user: UserNid,
        algorithm: &str,
        auth_data: &str,
    ) -> Result<i64> {
        let version = sqlx::query_scalar!(
            "INSERT INTO key_backups (user_nid, version, algorithm, auth_data)
             SELECT $1, COALESCE(MAX(version), 0) + 1, $2, $3
             FROM key_backups
             WHERE user_nid = $1
             RETURNING version",
            user.0,
            algorithm,
            auth_data
        )
        .fetch_one(self.conn())
        .await?;
        Ok(version)
    }

    /// Replaces what goes with the algorithm of a version.
    pub async fn set_key_backup_auth_data(
        &mut self,
        user: UserNid,
        version: i64,
        auth_data: &str,
    ) -> Result<()> {
        sqlx::query!(
            "UPDATE key_backups SET auth_data = $3 WHERE user_nid = $1 AND version = $2",
            user.0,
            version,
            auth_data
        )
        .execute(self.conn())
        .await?;
        Ok(())
    }

    /// Empties a version and marks it as deleted.
    pub async fn delete_key_backup(&mut self, user: UserNid, version: i64) -> Result<()> {
        sqlx::query!("DELETE FROM key_backup_sessions WHERE user_nid = $1 AND version = $2", user.0, version)
            .execute(self.conn())
            .await?;
        sqlx::query!(
            "UPDATE key_backups SET is_deleted = TRUE, key_count = 0, auth_data = '{}'
             WHERE user_nid = $1 AND version = $2",
            user.0,
            version
        )
        .execute(self.conn())
        .await?;
        Ok(())
    }

    /// Puts keys into a version, each only where there is none or a worse one. The account must be locked. Returns the etag
    /// and the number of keys.
    pub async fn upsert_backed_up_keys(
        &mut self,
        user: UserNid,
        version: i64,
        keys: &[BackedUpKey],
    ) -> Result<(i64, i64)> {
        let rooms: Vec<&str> = keys.iter().map(|key| key.room_id.as_str()).collect();
        let sessions: Vec<&str> = keys.iter().map(|key| key.session_id.as_str()).collect();
        let indices: Vec<i64> = keys.iter().map(|key| key.first_message_index).collect();
        let counts: Vec<i64> = keys.iter().map(|key| key.forwarded_count).collect();
        let verified: Vec<bool> = keys.iter().map(|key| key.is_verified).collect();
        let data: Vec<&str> = keys.iter().map(|key| key.session_data.as_str()).collect();
        let written = sqlx::query_scalar!(
            r#"INSERT INTO key_backup_sessions AS old
               (user_nid, version, room_id, session_id, first_message_index, forwarded_count, is_verified, session_data)
             SELECT $1, $2, new.*
             FROM UNNEST($3::text[], $4::text[], $5::bigint[], $6::bigint[], $7::boolean[], $8::text[]) AS new
             ON CONFLICT (user_nid, version, room_id, session_id)
             DO UPDATE SET first_message_index = EXCLUDED.first_message_index,
               forwarded_count = EXCLUDED.forwarded_count, is_verified = EXCLUDED.is_verified,
               session_data = EXCLUDED.session_data
             WHERE (EXCLUDED.is_verified AND NOT old.is_verified)
               OR (EXCLUDED.is_verified = old.is_verified
                   AND (EXCLUDED.first_message_index, EXCLUDED.forwarded_count)
                       < (old.first_message_index, old.forwarded_count))
             RETURNING (xmax = 0) AS "is_new!""#,
            user.0,
            version,
            &rooms as &[&str],
            &sessions as &[&str],
            &indices,
            &counts,
            &verified,
            &data as &[&str]
        )
        .fetch_all(self.conn())
        .await?;
        let new = written.iter().filter(|is_new| **is_new).count() as i64;
        self.count_backup_change(user, version, !written.is_empty(), new).await
    }

    /// Deletes keys of a version. The account must be locked. Returns the etag and the number of keys left.
    pub async fn delete_backed_up_keys(
        &mut self,
        user: UserNid,
        version: i64,
        scope: BackupScope<'_>,
    ) -> Result<(i64, i64)> {
        let done = sqlx::query!(
            "DELETE FROM key_backup_sessions
             WHERE user_nid = $1 AND version = $2
               AND ($3::text IS NULL OR room_id = $3)
               AND ($4::text IS NULL OR session_id = $4)",
            user.0,
            version,
            scope.room_id,
            scope.session_id
        )
        .execute(self.conn())
        .await?;
        let deleted = done.rows_affected() as i64;
        self.count_backup_change(user, version, deleted > 0, -deleted).await
    }

    async fn count_backup_change(
        &mut self,
        user: UserNid,
        version: i64,
        has_changed: bool,
        more: i64,
    ) -> Result<(i64, i64)> {
        let row = sqlx::query!(
            "UPDATE key_backups SET etag = etag + $3, key_count = key_count + $4
             WHERE user_nid = $1 AND version = $2
             RETURNING etag, key_count",
            user.0,
            version,
            i64::from(has_changed),
            more
        )
        .fetch_one(self.conn())
        .await?;
        Ok((row.etag, row.key_count))
    }
}
