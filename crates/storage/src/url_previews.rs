//! Previews of URLs.

use crate::{Reader, Txn, error::Result};

/// What previews are kept under.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct UrlPreviewKey {
    /// SHA-256 of the URL.
    pub url_hash: [u8; 32],
    /// What the page was asked for in `Accept-Language`.
    pub languages: String,
}

/// A preview.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct UrlPreview {
    /// When the page was read.
    pub fetched_at: i64,
    /// When it is to be read again.
    pub expires_at: i64,
    /// The JSON object that clients get.
    pub body: String,
    /// The `mxc://` URI of its picture.
    pub image_uri: Option<String>,
}

impl Reader {
    /// Of the previews of a page, the one that was made nearest to a time.
    pub async fn find_url_preview(
        &mut self,
        key: &UrlPreviewKey,
        near_ms: i64,
    ) -> Result<Option<UrlPreview>> {
        let found = sqlx::query_as!(
            UrlPreview,
            "SELECT fetched_at, expires_at, body, image_uri
             FROM url_previews
             WHERE url_hash = $1 AND languages = $2
             ORDER BY abs(fetched_at::numeric - $3::bigint), fetched_at DESC
             LIMIT 1",
            key.url_hash.as_slice(),
            key.languages,
            near_ms
        )
        .fetch_optional(self.conn())
        .await?;
        Ok(found)
    }
}

impl Txn {
    /// Keeps a preview.
    pub async fn insert_url_preview(&mut self, key: &UrlPreviewKey, preview: &UrlPreview) -> Result<()> {
        sqlx::query!(
            "INSERT INTO url_previews (url_hash, languages, fetched_at, expires_at, body, image_uri)
             VALUES ($1, $2, $3, $4, $5, $6)
             ON CONFLICT (url_hash, languages, fetched_at) DO UPDATE
             SET expires_at = EXCLUDED.expires_at, body = EXCLUDED.body, image_uri = EXCLUDED.image_uri",
            key.url_hash.as_slice(),
            key.languages,
            preview.fetched_at,
            preview.expires_at,
            preview.body,
            preview.image_uri
        )
        .execute(self.conn())
        .await?;
        Ok(())
    }

    /// Forgets previews that expired before a time, at most so many; returns the pictures that nothing shows any longer.
    pub async fn delete_url_previews(&mut self, before_ms: i64, limit: i64) -> Result<Vec<String>> {
        let images = sqlx::query_scalar!(
            "DELETE FROM url_previews
             WHERE (url_hash, languages, fetched_at) IN (
                 SELECT url_hash, languages, fetched_at
                 FROM url_previews
                 WHERE expires_at < $1
                 ORDER BY expires_at
                 LIMIT $2
                 FOR UPDATE SKIP LOCKED
             )
             RETURNING image_uri",
            before_ms,
            limit
        )
        .fetch_all(self.conn())
        .await?;
        Ok(images.into_iter().flatten().collect())
    }
}
