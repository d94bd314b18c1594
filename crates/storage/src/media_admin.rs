//! What administrators do to media.

use hs_model::ids::{RoomNid, UserNid};
use ruma::OwnedUserId;

use crate::{
    Reader, Txn,
    error::{Result, StorageError},
    media::{MediaHash, MediaKey},
};

/// Which media a list is of.
#[derive(Clone, Copy, Debug, Default)]
pub struct MediaQuery<'a> {
    /// These alone.
    pub nids: Option<&'a [i64]>,
    /// Of this uploader alone.
    pub uploader: Option<UserNid>,
    /// This one alone.
    pub key: Option<MediaKey<'a>>,
    /// The oldest first.
    pub oldest_first: bool,
    /// How many to pass over.
    pub skip: i64,
    /// How many at most.
    pub limit: i64,
}

/// Media in a list for administrators.
#[derive(Clone, Debug)]
pub struct MediaItem {
    /// Its number.
    pub nid: i64,
    /// The server; empty for this one.
    pub origin: String,
    /// The id.
    pub media_id: String,
    /// Who uploaded it.
    pub uploader: Option<OwnedUserId>,
    /// Its type.
    pub content_type: Option<String>,
    /// Its name.
    pub file_name: Option<String>,
    /// How long it is.
    pub size: i64,
    /// SHA-256 of its content.
    pub hash: Option<Vec<u8>>,
    /// When its id was made.
    pub created_at: i64,
    /// When it was last asked for.
    pub used_at: i64,
    /// Who had it withheld.
    pub quarantined_by: Option<String>,
    /// Whether it is spared from quarantine by room or user.
    pub is_protected: bool,
}

/// What a user has stored.
#[derive(Clone, Debug)]
pub struct UserUsage {
    /// The user.
    pub user_id: String,
    /// Their display name.
    pub display_name: Option<String>,
    /// How many files.
    pub files: i64,
    /// How many bytes.
    pub bytes: i64,
}

/// How much is stored.
#[derive(Clone, Copy, Debug, Default)]
pub struct MediaTotals {
    /// Media uploaded here.
    pub local_files: i64,
    /// Media of other servers.
    pub remote_files: i64,
    /// Contents.
    pub blobs: i64,
    /// Their bytes.
    pub bytes: i64,
}

/// A blocked content.
#[derive(Clone, Debug)]
pub struct BlockedHash {
    /// Its SHA-256.
    pub hash: Vec<u8>,
    /// Why.
    pub reason: Option<String>,
    /// Who blocked it.
    pub blocked_by: String,
    /// When.
    pub created_at: i64,
}

impl Reader {
    /// Media, and how many there are in all.
    pub async fn list_media(&mut self, query: MediaQuery<'_>) -> Result<(Vec<MediaItem>, i64)> {
        let origin = query.key.map(|key| key.origin);
        let media_id = query.key.map(|key| key.media_id);
        let rows = sqlx::query!(
            r#"SELECT m.media_nid, m.origin, m.media_id, u.user_id AS "user_id?", m.content_type, m.file_name,
               COALESCE(b.size, 0) AS "size!", m.hash, m.created_at, m.used_at, m.quarantined_by, m.is_protected,
               COUNT(*) OVER () AS "total!"
             FROM media m
             LEFT JOIN users u ON u.user_nid = m.uploader_nid
             LEFT JOIN media_blobs b USING (hash)
             WHERE ($1::bigint[] IS NULL OR m.media_nid = ANY($1))
               AND ($2::bigint IS NULL OR m.uploader_nid = $2)
               AND ($3::text IS NULL OR (m.origin = $3 AND m.media_id = $4))
             ORDER BY CASE WHEN $5 THEN m.created_at ELSE -m.created_at END, m.media_nid
             OFFSET $6 LIMIT $7"#,
            query.nids,
            query.uploader.map(|user| user.0),
            origin,
            media_id,
            query.oldest_first,
            query.skip,
            query.limit
        )
        .fetch_all(self.conn())
        .await?;
        let total = rows.first().map_or(0, |row| row.total);
        let items = rows.into_iter().map(|row| {
            let uploader = row.user_id.map(OwnedUserId::try_from).transpose().map_err(|_| {
                StorageError::Inconsistent {
                    table: "media",
                    column: "uploader_nid",
                    row: row.media_nid.to_string(),
                }
            })?;
            Ok(MediaItem {
                nid: row.media_nid,
                origin: row.origin,
                media_id: row.media_id,
                uploader,
                content_type: row.content_type,
                file_name: row.file_name,
                size: row.size,
                hash: row.hash,
                created_at: row.created_at,
                used_at: row.used_at,
                quarantined_by: row.quarantined_by,
                is_protected: row.is_protected,
            })
        });
        Ok((items.collect::<Result<_>>()?, total))
    }

    /// The media that readable events of a room name, as servers (empty for this one) and ids.
    pub async fn list_room_media(&mut self, room: RoomNid) -> Result<Vec<(String, String)>> {
        let rows = sqlx::query!(
            "SELECT DISTINCT origin, media_id FROM media_uses WHERE room_nid = $1 ORDER BY origin, media_id",
            room.0
        )
        .fetch_all(self.conn())
        .await?;
        Ok(rows.into_iter().map(|row| (row.origin, row.media_id)).collect())
    }

    /// Where media are named: rooms and events.
    pub async fn list_media_uses(&mut self, key: MediaKey<'_>, limit: i64) -> Result<Vec<(String, String)>> {
        let rows = sqlx::query!(
            "SELECT r.room_id, e.event_id
             FROM media_uses m
             JOIN rooms r USING (room_nid)
             JOIN events e USING (event_nid)
             WHERE m.origin = $1 AND m.media_id = $2
             ORDER BY m.event_nid DESC
             LIMIT $3",
            key.origin,
            key.media_id,
            limit
        )
        .fetch_all(self.conn())
        .await?;
        Ok(rows.into_iter().map(|row| (row.room_id, row.event_id)).collect())
    }

    /// Who has how much stored, those with the most first; and how many users there are in all.
    pub async fn list_media_usage(&mut self, skip: i64, limit: i64) -> Result<(Vec<UserUsage>, i64)> {
        let rows = sqlx::query!(
            r#"SELECT u.user_id, m.files, m.bytes, p.value AS "name?", COUNT(*) OVER () AS "total!"
             FROM media_usage m
             JOIN users u USING (user_nid)
             LEFT JOIN profile_fields p ON p.user_nid = m.user_nid AND p.field = 'displayname'
             WHERE m.files > 0
             ORDER BY m.bytes DESC, u.user_id
             OFFSET $1 LIMIT $2"#,
            skip,
            limit
        )
        .fetch_all(self.conn())
        .await?;
        let total = rows.first().map_or(0, |row| row.total);
        let users = rows.into_iter().map(|row| UserUsage {
            user_id: row.user_id,
            display_name: row.name,
            files: row.files,
            bytes: row.bytes,
        });
        Ok((users.collect(), total))
    }

    /// How much is stored in all.
    pub async fn sum_media(&mut self) -> Result<MediaTotals> {
        let media = sqlx::query!(
            r#"SELECT COUNT(*) FILTER (WHERE origin = '') AS "local!", COUNT(*) FILTER (WHERE origin <> '') AS "remote!"
             FROM media WHERE hash IS NOT NULL"#
        )
        .fetch_one(self.conn())
        .await?;
        let blobs = sqlx::query!(
            r#"SELECT COUNT(*) AS "blobs!", COALESCE(SUM(size), 0)::bigint AS "bytes!" FROM media_blobs"#
        )
        .fetch_one(self.conn())
        .await?;
        Ok(MediaTotals {
            local_files: media.local,
            remote_files: media.remote,
            blobs: blobs.blobs,
            bytes: blobs.bytes,
        })
    }

    /// The contents that are blocked, the newest first.
    pub async fn list_blocked_hashes(&mut self) -> Result<Vec<BlockedHash>> {
        let rows = sqlx::query!(
            "SELECT hash, reason, blocked_by, created_at FROM media_blocked_hashes ORDER BY created_at DESC, hash"
        )
        .fetch_all(self.conn())
        .await?;
        let blocked = rows.into_iter().map(|row| BlockedHash {
            hash: row.hash,
            reason: row.reason,
            blocked_by: row.blocked_by,
            created_at: row.created_at,
        });
        Ok(blocked.collect())
    }

    /// Media uploaded here before a time that are at least so large, as numbers; those that are somebody's picture now, or a
    /// room's, may be spared.
    pub async fn list_old_local_media(
        &mut self,
        (before, larger_than): (i64, i64),
        keep_profiles: bool,
    ) -> Result<Vec<i64>> {
        let nids = sqlx::query_scalar!(
            r#"SELECT m.media_nid
             FROM media m
             JOIN media_blobs b USING (hash)
             WHERE m.origin = '' AND m.created_at < $1 AND m.used_at < $1 AND b.size > $2 AND m.quarantined_at IS NULL
               AND (NOT $3 OR (
                 NOT EXISTS (
                   SELECT 1 FROM profile_fields p
                   WHERE p.user_nid = m.uploader_nid AND p.field = 'avatar_url' AND p.value LIKE '%/' || m.media_id
                     || '"')
                 AND NOT EXISTS (
                   SELECT 1 FROM media_uses u
                   JOIN current_state c USING (event_nid)
                   WHERE u.origin = '' AND u.media_id = m.media_id)))
             ORDER BY m.media_nid"#,
            before,
            larger_than,
            keep_profiles
        )
        .fetch_all(self.conn())
        .await?;
        Ok(nids)
    }
}

impl Txn {
    /// Withholds media from everybody, or stops that. Answers how many have changed. Protected ones are spared when they are
    /// withheld with others.
    pub async fn set_media_quarantine(
        &mut self,
        keys: &[(String, String)],
        by: Option<&str>,
        spares_protected: bool,
        now_ms: i64,
    ) -> Result<u64> {
        let (origins, ids): (Vec<&str>, Vec<&str>) =
            keys.iter().map(|(origin, id)| (origin.as_str(), id.as_str())).unzip();
        let done = sqlx::query!(
            "UPDATE media m
             SET quarantined_by = $3, quarantined_at = CASE WHEN $3::text IS NULL THEN NULL ELSE $4::bigint END
             FROM UNNEST($1::text[], $2::text[]) AS wanted (origin, media_id)
             WHERE m.origin = wanted.origin AND m.media_id = wanted.media_id AND NOT ($5 AND m.is_protected)
               AND (m.quarantined_by IS NULL) <> ($3::text IS NULL)",
            &origins as &[&str],
            &ids as &[&str],
            by,
            now_ms,
            spares_protected
        )
        .execute(self.conn())
        .await?;
        Ok(done.rows_affected())
    }

    /// Withholds everything that a user has uploaded, but for what is protected.
    pub async fn quarantine_media_of(&mut self, user: UserNid, by: &str, now_ms: i64) -> Result<u64> {
        let done = sqlx::query!(
            "UPDATE media SET quarantined_by = $2, quarantined_at = $3
             WHERE uploader_nid = $1 AND hash IS NOT NULL AND quarantined_by IS NULL AND NOT is_protected",
            user.0,
            by,
            now_ms
        )
        .execute(self.conn())
        .await?;
        Ok(done.rows_affected())
    }

    /// Spares media of this server from quarantine by room or user, or stops that. `false` when there are none.
    pub async fn set_media_protection(&mut self, media_id: &str, is_protected: bool) -> Result<bool> {
        let done = sqlx::query!(
            "UPDATE media SET is_protected = $2 WHERE origin = '' AND media_id = $1",
            media_id,
            is_protected
        )
        .execute(self.conn())
        .await?;
        Ok(done.rows_affected() == 1)
    }

    /// Blocks contents. Answers with how many were not blocked before.
    pub async fn block_media_hash(
        &mut self,
        hash: &MediaHash,
        reason: Option<&str>,
        by: &str,
        now_ms: i64,
    ) -> Result<()> {
        sqlx::query!(
            "INSERT INTO media_blocked_hashes (hash, reason, blocked_by, created_at)
             VALUES ($1, $2, $3, $4)
             ON CONFLICT (hash) DO UPDATE SET reason = EXCLUDED.reason",
            &hash[..],
            reason,
            by,
            now_ms
        )
        .execute(self.conn())
        .await?;
        Ok(())
    }

    /// Blocks content no longer. `false` when it was not.
    pub async fn unblock_media_hash(&mut self, hash: &MediaHash) -> Result<bool> {
        let done = sqlx::query!("DELETE FROM media_blocked_hashes WHERE hash = $1", &hash[..])
            .execute(self.conn())
            .await?;
        Ok(done.rows_affected() == 1)
    }
}
