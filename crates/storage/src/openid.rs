//! OpenID tokens.

use hs_model::ids::UserNid;
use ruma::OwnedUserId;

use crate::{
    Reader, Txn,
    error::{Result, StorageError},
    tokens::TokenHash,
};

/// How many expired tokens one issue clears away: more than it adds, and never a long wait.
const CLEARED_AT_ONCE: i64 = 50;

impl Reader {
    /// Whose token this is, unless it has expired or its account was deactivated.
    pub async fn find_openid_user(&mut self, hash: &TokenHash, now_ms: i64) -> Result<Option<OwnedUserId>> {
        let user_id = sqlx::query_scalar!(
            "SELECT u.user_id
             FROM openid_tokens t
             JOIN users u USING (user_nid)
             JOIN accounts a USING (user_nid)
             WHERE t.token_hash = $1 AND t.expires_at > $2 AND a.deactivated_at IS NULL",
            hash.as_slice(),
            now_ms
        )
        .fetch_optional(self.conn())
        .await?;
        user_id
            .map(|user_id| {
                user_id.as_str().try_into().map_err(|_| StorageError::Inconsistent {
                    table: "users",
                    column: "user_id",
                    row: user_id.clone(),
                })
            })
            .transpose()
    }
}

impl Txn {
    /// Keeps a token, and forgets some that have expired.
    pub async fn insert_openid_token(
        &mut self,
        hash: &TokenHash,
        user: UserNid,
        (now_ms, expires_at): (i64, i64),
    ) -> Result<()> {
        sqlx::query!(
            "DELETE FROM openid_tokens
             WHERE token_hash IN (SELECT token_hash FROM openid_tokens WHERE expires_at <= $1 LIMIT $2)",
            now_ms,
            CLEARED_AT_ONCE
        )
        .execute(self.conn())
        .await?;
        sqlx::query!(
            "INSERT INTO openid_tokens (token_hash, user_nid, expires_at) VALUES ($1, $2, $3)",
            hash.as_slice(),
            user.0,
            expires_at
        )
        .execute(self.conn())
        .await?;
        Ok(())
    }
}
