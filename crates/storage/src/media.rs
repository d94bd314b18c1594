//! What media ids stand for, and where the bytes lie.
//!
//! A file is written before its row, and its row is deleted before it: a crash leaves files without rows, which
//! `kith media check` finds, and never rows without files. Whoever wants to delete a blob locks its row first and then looks
//! whether anything refers to it; whoever wants to refer to it locks it too.

use hs_model::ids::UserNid;
use ruma::OwnedUserId;

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
    fn from_code(code: i16, row: &str) -> Result<Self> {
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

/// A thumbnail that is wanted or there.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ThumbnailKey {
    /// The content that it is of.
    pub source: MediaHash,
    /// The width asked for.
    pub width: i32,
    /// The height asked for.
    pub height: i32,
    /// Whether it is cropped rather than scaled.
    pub is_cropped: bool,
    /// Whether it moves.
    pub is_animated: bool,
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
            (Some(hash), Some(store), Some(key), Some(size)) => Some(BlobRecord {
                hash: media_hash(&hash)?,
                store: BlobStore::from_code(store, &key)?,
                key,
                size: size as u64,
            }),
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

    /// A thumbnail: its file and its type.
    pub async fn find_thumbnail(&mut self, key: ThumbnailKey) -> Result<Option<(BlobRecord, String)>> {
        let row = sqlx::query!(
            "SELECT t.content_type, b.hash, b.store, b.key, b.size
             FROM media_thumbnails t
             JOIN media_blobs b USING (hash)
             WHERE t.source_hash = $1 AND t.width = $2 AND t.height = $3 AND t.method = $4 AND t.is_animated = $5",
            &key.source[..],
            key.width,
            key.height,
            i16::from(!key.is_cropped),
            key.is_animated
        )
        .fetch_optional(self.conn())
        .await?;
        row.map(|row| {
            let blob = BlobRecord {
                hash: media_hash(&row.hash)?,
                store: BlobStore::from_code(row.store, &row.key)?,
                key: row.key,
                size: row.size as u64,
            };
            Ok((blob, row.content_type))
        })
        .transpose()
    }

    /// Blobs in the order of their hashes, after one of them; those in one store alone, if one is named.
    pub async fn list_blobs(
        &mut self,
        after: &[u8],
        store: Option<BlobStore>,
        limit: i64,
    ) -> Result<Vec<BlobRecord>> {
        let rows = sqlx::query!(
            "SELECT hash, store, key, size FROM media_blobs
             WHERE hash > $1 AND ($2::smallint IS NULL OR store = $2)
             ORDER BY hash
             LIMIT $3",
            after,
            store.map(|store| store as i16),
            limit
        )
        .fetch_all(self.conn())
        .await?;
        rows.into_iter()
            .map(|row| {
                Ok(BlobRecord {
                    hash: media_hash(&row.hash)?,
                    store: BlobStore::from_code(row.store, &row.key)?,
                    key: row.key,
                    size: row.size as u64,
                })
            })
            .collect()
    }

    /// Where content lies.
    pub async fn find_blob(&mut self, hash: &MediaHash) -> Result<Option<BlobRecord>> {
        let row = sqlx::query!("SELECT store, key, size FROM media_blobs WHERE hash = $1", &hash[..])
            .fetch_optional(self.conn())
            .await?;
        row.map(|row| {
            let store = BlobStore::from_code(row.store, &row.key)?;
            Ok(BlobRecord { hash: *hash, store, key: row.key, size: row.size as u64 })
        })
        .transpose()
    }

    /// Those of the file names that a blob has.
    pub async fn list_known_blob_keys(&mut self, store: BlobStore, keys: &[String]) -> Result<Vec<String>> {
        // File names begin with the hash, but who knows what lies there: it is the names that are compared.
        let keys = sqlx::query_scalar!(
            "SELECT key FROM media_blobs WHERE store = $1 AND key = ANY($2)",
            store as i16,
            keys
        )
        .fetch_all(self.conn())
        .await?;
        Ok(keys)
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

    /// Notes content whose file has been written. The answer says where the content lies: elsewhere, when it was there
    /// already, so that the file just written is not needed. Until the transaction ends nobody deletes it.
    pub async fn upsert_blob(&mut self, blob: &BlobRecord, now_ms: i64) -> Result<BlobRecord> {
        let row = sqlx::query!(
            "INSERT INTO media_blobs (hash, store, key, size, created_at)
             VALUES ($1, $2, $3, $4, $5)
             ON CONFLICT (hash) DO UPDATE SET size = media_blobs.size
             RETURNING store, key, size",
            &blob.hash[..],
            blob.store as i16,
            blob.key,
            blob.size as i64,
            now_ms
        )
        .fetch_one(self.conn())
        .await?;
        Ok(BlobRecord {
            hash: blob.hash,
            store: BlobStore::from_code(row.store, &row.key)?,
            key: row.key,
            size: row.size as u64,
        })
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

    /// Notes a thumbnail whose content is stored.
    pub async fn upsert_thumbnail(
        &mut self,
        key: ThumbnailKey,
        blob: &BlobRecord,
        content_type: &str,
        now_ms: i64,
    ) -> Result<()> {
        sqlx::query!(
            "INSERT INTO media_thumbnails (source_hash, width, height, method, is_animated, hash, content_type, created_at)
             VALUES ($1, $2, $3, $4, $5, $6, $7, $8)
             ON CONFLICT (source_hash, width, height, method, is_animated)
             DO UPDATE SET hash = EXCLUDED.hash, content_type = EXCLUDED.content_type",
            &key.source[..],
            key.width,
            key.height,
            i16::from(!key.is_cropped),
            key.is_animated,
            &blob.hash[..],
            content_type,
            now_ms
        )
        .execute(self.conn())
        .await?;
        Ok(())
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

    /// Notes that the file of a blob lies elsewhere now. `false` when it has been deleted or moved meanwhile.
    pub async fn move_blob(&mut self, from: &BlobRecord, to: &BlobRecord) -> Result<bool> {
        let done = sqlx::query!(
            "UPDATE media_blobs SET store = $4, key = $5 WHERE hash = $1 AND store = $2 AND key = $3",
            &from.hash[..],
            from.store as i16,
            from.key,
            to.store as i16,
            to.key
        )
        .execute(self.conn())
        .await?;
        Ok(done.rows_affected() == 1)
    }

    /// Deletes blobs that nothing refers to: of these hashes, or all. Their files are to be deleted after the commit.
    pub async fn delete_unused_blobs(
        &mut self,
        hashes: Option<&[Vec<u8>]>,
        limit: i64,
    ) -> Result<Vec<BlobRecord>> {
        // Thumbnails of what is gone keep their contents alive no longer.
        sqlx::query!(
            "DELETE FROM media_thumbnails t
             WHERE ($1::bytea[] IS NULL OR t.source_hash = ANY($1))
               AND NOT EXISTS (SELECT 1 FROM media m WHERE m.hash = t.source_hash)",
            hashes as Option<&[Vec<u8>]>
        )
        .execute(self.conn())
        .await?;
        // First the locks, then another look: whoever began to refer to one before has committed by then.
        let candidates = sqlx::query_scalar!(
            "SELECT hash FROM media_blobs b
             WHERE NOT EXISTS (SELECT 1 FROM media m WHERE m.hash = b.hash)
               AND NOT EXISTS (SELECT 1 FROM media_thumbnails t WHERE t.hash = b.hash)
             ORDER BY hash
             LIMIT $1
             FOR UPDATE SKIP LOCKED",
            limit
        )
        .fetch_all(self.conn())
        .await?;
        let rows = sqlx::query!(
            "DELETE FROM media_blobs b
             WHERE hash = ANY($1)
               AND NOT EXISTS (SELECT 1 FROM media m WHERE m.hash = b.hash)
               AND NOT EXISTS (SELECT 1 FROM media_thumbnails t WHERE t.hash = b.hash)
             RETURNING hash, store, key, size",
            &candidates
        )
        .fetch_all(self.conn())
        .await?;
        rows.into_iter()
            .map(|row| {
                Ok(BlobRecord {
                    hash: media_hash(&row.hash)?,
                    store: BlobStore::from_code(row.store, &row.key)?,
                    key: row.key,
                    size: row.size as u64,
                })
            })
            .collect()
    }

    /// Forgets blobs whose files are gone, with everything that refers to them. Answers with the media that are lost:
    /// servers and ids.
    pub async fn delete_lost_blobs(&mut self, hashes: &[Vec<u8>]) -> Result<Vec<(String, String)>> {
        sqlx::query!("DELETE FROM media_thumbnails WHERE hash = ANY($1)", hashes)
            .execute(self.conn())
            .await?;
        let lost = sqlx::query!("SELECT media_nid, origin, media_id FROM media WHERE hash = ANY($1)", hashes)
            .fetch_all(self.conn())
            .await?;
        let nids: Vec<i64> = lost.iter().map(|row| row.media_nid).collect();
        self.delete_media(&nids).await?;
        sqlx::query!("DELETE FROM media_thumbnails WHERE source_hash = ANY($1)", hashes)
            .execute(self.conn())
            .await?;
        sqlx::query!("DELETE FROM media_blobs WHERE hash = ANY($1)", hashes).execute(self.conn()).await?;
        Ok(lost.into_iter().map(|row| (row.origin, row.media_id)).collect())
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
