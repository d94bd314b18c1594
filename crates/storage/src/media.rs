//! What media ids stand for. Where the bytes lie is in `media_blobs.rs`.

use hs_model::ids::UserNid;

use crate::{
    Reader, Txn,
    error::{Result, StorageError},
};

/// A SHA-256 of content.
pub type MediaHash = [u8; 32];

/// Which media: the server of the URI, empty for this one, and the id.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct MediaKey<'a> {
    /// The server; empty for this one.
    pub origin: &'a str,
    /// The id.
    pub media_id: &'a str,
}

/// How media came to be here.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(i16)]
pub enum MediaKind {
    /// A user uploaded it.
    Upload = 0,
    /// It was copied from another server.
    Remote = 1,
    /// It is a picture of a URL preview.
    Preview = 2,
}

/// Where a file lies.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[repr(i16)]
pub enum BlobStore {
    /// On disk.
    Disk = 1,
    /// In the object store.
    Objects = 2,
}

impl BlobStore {
    pub(crate) fn from_code(code: i16, row: &str) -> Result<Self> {
        match code {
            1 => Ok(Self::Disk),
            2 => Ok(Self::Objects),
            _ => {
                Err(StorageError::Inconsistent { table: "media_blobs", column: "store", row: row.to_owned() })
            }
        }
    }
}

/// Content that is stored.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct BlobRecord {
    /// Its SHA-256.
    pub hash: MediaHash,
    /// Where its file lies.
    pub store: BlobStore,
    /// The name of the file.
    pub key: String,
    /// How long it is.
    pub size: u64,
}

impl BlobRecord {
    pub(crate) fn from_columns(hash: &[u8], store: i16, key: String, size: i64) -> Result<Self> {
        let store = BlobStore::from_code(store, &key)?;
        Ok(Self { hash: media_hash(hash)?, store, key, size: size as u64 })
    }
}

/// What is known of media.
#[derive(Clone, Debug)]
pub struct MediaRecord {
    /// Its number.
    pub nid: i64,
    /// How it came to be here.
    pub kind: MediaKind,
    /// The content; `None` while nothing has been uploaded yet.
    pub blob: Option<BlobRecord>,
    /// Who uploaded it.
    pub uploader: Option<UserNid>,
    /// Its type, as the uploader or its server says.
    pub content_type: Option<String>,
    /// Its name, as the uploader or its server says.
    pub file_name: Option<String>,
    /// When its id was made, or it was copied from another server.
    pub created_at: i64,
    /// Until when something must be uploaded, when nothing has been.
    pub expires_at: Option<i64>,
    /// When it was last asked for, more or less.
    pub used_at: i64,
    /// Whether an administrator has had it withheld, or its content is blocked.
    pub is_withheld: bool,
}

/// What is stored under an id.
#[derive(Clone, Copy, Debug)]
pub struct NewMedia<'a> {
    /// Which media.
    pub key: MediaKey<'a>,
    /// How it came.
    pub kind: MediaKind,
    /// Who uploads it.
    pub uploader: Option<UserNid>,
    /// Its type.
    pub content_type: Option<&'a str>,
    /// Its name.
    pub file_name: Option<&'a str>,
    /// Now.
    pub now_ms: i64,
}

impl Reader {
    /// What is known of media.
    pub async fn find_media(&mut self, key: MediaKey<'_>) -> Result<Option<MediaRecord>> {
        let row = sqlx::query!(
            r#"SELECT m.media_nid, m.kind, m.uploader_nid, m.content_type, m.file_name, m.created_at, m.expires_at,
               m.used_at, m.quarantined_at, m.hash AS "hash?", b.store AS "store?", b.key AS "key?", b.size AS "size?",
               EXISTS (SELECT 1 FROM media_blocked_hashes x WHERE x.hash = m.hash) AS "is_blocked!"
             FROM media m
             LEFT JOIN media_blobs b USING (hash)
             WHERE m.origin = $1 AND m.media_id = $2"#,
            key.origin,
            key.media_id
        )
        .fetch_optional(self.conn())
        .await?;
        let Some(row) = row else { return Ok(None) };
        let blob = match (row.hash, row.store, row.key, row.size) {
            (Some(hash), Some(store), Some(key), Some(size)) => {
                Some(BlobRecord::from_columns(&hash, store, key, size)?)
            }
            _ => None,
        };
        let kind = match row.kind {
            0 => MediaKind::Upload,
            1 => MediaKind::Remote,
            _ => MediaKind::Preview,
        };
        Ok(Some(MediaRecord {
            nid: row.media_nid,
            kind,
            blob,
            uploader: row.uploader_nid.map(UserNid),
            content_type: row.content_type,
            file_name: row.file_name,
            created_at: row.created_at,
            expires_at: row.expires_at,
            used_at: row.used_at,
            is_withheld: row.quarantined_at.is_some() || row.is_blocked,
        }))
    }

    /// How much a user has stored: files and bytes.
    pub async fn find_media_usage(&mut self, user: UserNid) -> Result<(i64, i64)> {
        let row = sqlx::query!("SELECT files, bytes FROM media_usage WHERE user_nid = $1", user.0)
            .fetch_optional(self.conn())
            .await?;
        Ok(row.map_or((0, 0), |row| (row.files, row.bytes)))
    }

    /// Whether content is blocked.
    pub async fn is_media_blocked(&mut self, hash: &MediaHash) -> Result<bool> {
        let found = sqlx::query_scalar!(
            r#"SELECT EXISTS (SELECT 1 FROM media_blocked_hashes WHERE hash = $1) AS "found!""#,
            &hash[..]
        )
        .fetch_one(self.conn())
        .await?;
        Ok(found)
    }
}

pub(crate) fn media_hash(bytes: &[u8]) -> Result<MediaHash> {
    bytes.try_into().map_err(|_| StorageError::Inconsistent {
        table: "media_blobs",
        column: "hash",
        row: format!("{bytes:02x?}"),
    })
}

impl Txn {
    /// Makes an id that something is to be uploaded under, unless the user has `max_pending` of those already: then when the
    /// next of them ends.
    pub async fn insert_pending_media(
        &mut self,
        media_id: &str,
        uploader: UserNid,
        (now_ms, expires_at): (i64, i64),
        max_pending: i64,
    ) -> Result<Option<i64>> {
        // So that nobody makes more of them side by side.
        sqlx::query!("SELECT user_nid FROM accounts WHERE user_nid = $1 FOR NO KEY UPDATE", uploader.0)
            .fetch_optional(self.conn())
            .await?;
        let row = sqlx::query!(
            r#"SELECT COUNT(*) AS "count!", MIN(expires_at) AS next_at
             FROM media
             WHERE uploader_nid = $1 AND hash IS NULL AND expires_at > $2"#,
            uploader.0,
            now_ms
        )
        .fetch_one(self.conn())
        .await?;
        if row.count >= max_pending {
            return Ok(Some(row.next_at.unwrap_or(now_ms)));
        }
        sqlx::query!(
            "INSERT INTO media (origin, media_id, kind, uploader_nid, created_at, expires_at, used_at)
             VALUES ('', $1, 0, $2, $3, $4, $3)",
            media_id,
            uploader.0,
            now_ms,
            expires_at
        )
        .execute(self.conn())
        .await?;
        Ok(None)
    }

    /// Stores media under an id. `false` when there is something under it already.
    pub async fn insert_media(&mut self, new: &NewMedia<'_>, blob: &BlobRecord) -> Result<bool> {
        let done = sqlx::query!(
            "INSERT INTO media (origin, media_id, kind, hash, uploader_nid, content_type, file_name, created_at, stored_at,
               used_at)
             VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $8, $8)
             ON CONFLICT (origin, media_id) DO NOTHING",
            new.key.origin,
            new.key.media_id,
            new.kind as i16,
            &blob.hash[..],
            new.uploader.map(|user| user.0),
            new.content_type,
            new.file_name,
            new.now_ms
        )
        .execute(self.conn())
        .await?;
        Ok(done.rows_affected() == 1)
    }

    /// Stores media under an id that was made before. `false` when that has been done, or the id has expired.
    pub async fn complete_pending_media(&mut self, new: &NewMedia<'_>, blob: &BlobRecord) -> Result<bool> {
        let done = sqlx::query!(
            "UPDATE media
             SET hash = $3, content_type = $4, file_name = $5, stored_at = $6, used_at = $6, expires_at = NULL
             WHERE origin = $1 AND media_id = $2 AND hash IS NULL AND expires_at > $6",
            new.key.origin,
            new.key.media_id,
            &blob.hash[..],
            new.content_type,
            new.file_name,
            new.now_ms
        )
        .execute(self.conn())
        .await?;
        Ok(done.rows_affected() == 1)
    }

    /// Counts a file against its uploader's quota (0: there is none). `false` when it does not fit; then nothing is counted.
    pub async fn add_media_usage(&mut self, user: UserNid, bytes: u64, max_bytes: u64) -> Result<bool> {
        let (bytes, max_bytes) = (bytes as i64, i64::try_from(max_bytes).unwrap_or(i64::MAX));
        if max_bytes > 0 && bytes > max_bytes {
            return Ok(false);
        }
        let done = sqlx::query!(
            "INSERT INTO media_usage (user_nid, files, bytes)
             VALUES ($1, 1, $2)
             ON CONFLICT (user_nid) DO UPDATE SET files = media_usage.files + 1, bytes = media_usage.bytes + $2
             WHERE $3::bigint = 0 OR media_usage.bytes + $2 <= $3",
            user.0,
            bytes,
            max_bytes
        )
        .execute(self.conn())
        .await?;
        Ok(done.rows_affected() == 1)
    }

    /// Notes that media were asked for.
    pub async fn touch_media(&mut self, nids: &[i64], now_ms: i64) -> Result<()> {
        // In order, so that two replicas do not wait for each other in a circle.
        sqlx::query!(
            "UPDATE media SET used_at = $2
             WHERE media_nid IN (SELECT media_nid FROM media WHERE media_nid = ANY($1) ORDER BY media_nid FOR UPDATE)",
            nids,
            now_ms
        )
        .execute(self.conn())
        .await?;
        Ok(())
    }

    /// Deletes media, and what their uploaders are charged for them. Answers with the hashes of the contents, which may be
    /// unused from then on.
    pub async fn delete_media(&mut self, nids: &[i64]) -> Result<Vec<Vec<u8>>> {
        let rows = sqlx::query!(
            r#"WITH deleted AS (
               DELETE FROM media WHERE media_nid = ANY($1) RETURNING hash, uploader_nid, kind
             ), sums AS (
               SELECT d.uploader_nid, COUNT(*) AS files, SUM(b.size)::bigint AS bytes
               FROM deleted d
               JOIN media_blobs b USING (hash)
               WHERE d.uploader_nid IS NOT NULL
               GROUP BY d.uploader_nid
             ), charged AS (
               UPDATE media_usage u
               SET files = u.files - sums.files, bytes = u.bytes - sums.bytes
               FROM sums
               WHERE u.user_nid = sums.uploader_nid
             )
             SELECT DISTINCT hash AS "hash!" FROM deleted WHERE hash IS NOT NULL"#,
            nids
        )
        .fetch_all(self.conn())
        .await?;
        Ok(rows.into_iter().map(|row| row.hash).collect())
    }
}
