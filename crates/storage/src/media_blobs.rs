//! Contents: where the bytes of media and of their thumbnails lie.
//!
//! A file is written before its row, and its row is deleted before it: a crash leaves files without rows, which
//! `kith media check` finds, and never rows without files. Whoever wants to delete a blob locks its row first and then looks
//! whether anything refers to it; whoever wants to refer to it locks it too.

use crate::{
    Reader, Txn,
    error::Result,
    media::{BlobRecord, BlobStore, MediaHash},
};

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
    /// Where content lies.
    pub async fn find_blob(&mut self, hash: &MediaHash) -> Result<Option<BlobRecord>> {
        let row = sqlx::query!("SELECT store, key, size FROM media_blobs WHERE hash = $1", &hash[..])
            .fetch_optional(self.conn())
            .await?;
        row.map(|row| BlobRecord::from_columns(hash, row.store, row.key, row.size)).transpose()
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
            .map(|row| BlobRecord::from_columns(&row.hash, row.store, row.key, row.size))
            .collect()
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
            let blob = BlobRecord::from_columns(&row.hash, row.store, row.key, row.size)?;
            Ok((blob, row.content_type))
        })
        .transpose()
    }
}

impl Txn {
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
        BlobRecord::from_columns(&blob.hash, row.store, row.key, row.size)
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
            .map(|row| BlobRecord::from_columns(&row.hash, row.store, row.key, row.size))
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
}
