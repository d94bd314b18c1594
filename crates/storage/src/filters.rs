//! Filters that clients have stored.

use hs_model::ids::UserNid;

use crate::{Reader, Txn, error::Result};

impl Reader {
    /// The definition of a filter, as JSON text.
    pub async fn find_filter(&mut self, user: UserNid, filter_id: i64) -> Result<Option<String>> {
        let definition = sqlx::query_scalar!(
            "SELECT definition FROM filters WHERE filter_id = $1 AND user_nid = $2",
            filter_id,
            user.0
        )
        .fetch_optional(self.conn())
        .await?;
        Ok(definition)
    }

    /// The filter with this definition.
    pub async fn find_filter_id(&mut self, user: UserNid, definition_hash: &[u8; 32]) -> Result<Option<i64>> {
        let filter_id = sqlx::query_scalar!(
            "SELECT filter_id FROM filters WHERE user_nid = $1 AND definition_hash = $2",
            user.0,
            definition_hash.as_slice()
        )
        .fetch_optional(self.conn())
        .await?;
        Ok(filter_id)
    }
}

impl Txn {
    /// Stores a filter and returns its number. The oldest ones beyond `keep` are forgotten.
    pub async fn insert_filter(
        &mut self,
        user: UserNid,
        definition: &str,
        definition_hash: &[u8; 32],
        keep: i64,
    ) -> Result<i64> {
        let filter_id = sqlx::query_scalar!(
            "INSERT INTO filters (user_nid, definition, definition_hash)
             VALUES ($1, $2, $3)
             ON CONFLICT (user_nid, definition_hash) DO UPDATE SET definition = EXCLUDED.definition
             RETURNING filter_id",
            user.0,
            definition,
            definition_hash.as_slice()
        )
        .fetch_one(self.conn())
        .await?;
        sqlx::query!(
            "DELETE FROM filters
             WHERE user_nid = $1 AND filter_id <= (
                 SELECT filter_id FROM filters
                 WHERE user_nid = $1
                 ORDER BY filter_id DESC
                 OFFSET $2
                 LIMIT 1
             )",
            user.0,
            keep
        )
        .execute(self.conn())
        .await?;
        Ok(filter_id)
    }

    /// Deletes all filters of a user, when the account is erased.
    pub async fn delete_filters(&mut self, user: UserNid) -> Result<()> {
        sqlx::query!("DELETE FROM filters WHERE user_nid = $1", user.0).execute(self.conn()).await?;
        Ok(())
    }
}
