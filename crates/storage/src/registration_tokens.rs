//! Registration tokens, and the nonces of registration by shared secret.

use crate::{Reader, Txn, error::Result};

/// A token that people register with.
#[derive(Clone, Debug)]
pub struct RegistrationTokenRow {
    /// The token.
    pub token: String,
    /// How often it may be used; `None`: any number of times.
    pub uses_allowed: Option<i32>,
    /// How often it was used.
    pub uses_completed: i32,
    /// When it expires, in milliseconds.
    pub expires_at: Option<i64>,
    /// Whether whoever uses it becomes an administrator.
    pub grants_admin: bool,
}

impl Reader {
    /// A token that can be used now.
    pub async fn find_registration_token(
        &mut self,
        token: &str,
        now_ms: i64,
    ) -> Result<Option<RegistrationTokenRow>> {
        let row = sqlx::query_as!(
            RegistrationTokenRow,
            "SELECT token, uses_allowed, uses_completed, expires_at, grants_admin
             FROM registration_tokens
             WHERE token = $1
                 AND (uses_allowed IS NULL OR uses_completed < uses_allowed)
                 AND (expires_at IS NULL OR expires_at > $2)",
            token,
            now_ms
        )
        .fetch_optional(self.conn())
        .await?;
        Ok(row)
    }

    /// All tokens but the one for the first administrator, the newest first.
    pub async fn list_registration_tokens(&mut self) -> Result<Vec<RegistrationTokenRow>> {
        let rows = sqlx::query_as!(
            RegistrationTokenRow,
            "SELECT token, uses_allowed, uses_completed, expires_at, grants_admin
             FROM registration_tokens
             WHERE NOT grants_admin
             ORDER BY created_at DESC, token"
        )
        .fetch_all(self.conn())
        .await?;
        Ok(rows)
    }

    /// The token for the first administrator, as long as nobody has used it.
    pub async fn find_first_run_token(&mut self) -> Result<Option<String>> {
        let token = sqlx::query_scalar!("SELECT token FROM registration_tokens WHERE grants_admin")
            .fetch_optional(self.conn())
            .await?;
        Ok(token)
    }
}

impl Txn {
    /// Stores the token for the first administrator, unless there is one.
    pub async fn insert_first_run_token(&mut self, token: &str, now_ms: i64) -> Result<()> {
        sqlx::query!(
            "INSERT INTO registration_tokens (token, uses_allowed, grants_admin, created_at)
             VALUES ($1, 1, TRUE, $2)
             ON CONFLICT DO NOTHING",
            token,
            now_ms
        )
        .execute(self.conn())
        .await?;
        Ok(())
    }

    /// Forgets the token for the first administrator: there is one now.
    pub async fn delete_first_run_token(&mut self) -> Result<()> {
        sqlx::query!("DELETE FROM registration_tokens WHERE grants_admin").execute(self.conn()).await?;
        Ok(())
    }

    /// Stores a token; `false` when it exists.
    pub async fn insert_registration_token(
        &mut self,
        token: &RegistrationTokenRow,
        now_ms: i64,
    ) -> Result<bool> {
        let done = sqlx::query!(
            "INSERT INTO registration_tokens (token, uses_allowed, uses_completed, expires_at, created_at)
             VALUES ($1, $2, $3, $4, $5)
             ON CONFLICT (token) DO NOTHING",
            token.token,
            token.uses_allowed,
            token.uses_completed,
            token.expires_at,
            now_ms
        )
        .execute(self.conn())
        .await?;
        Ok(done.rows_affected() == 1)
    }

    /// Deletes a token; `false` when there was none.
    pub async fn delete_registration_token(&mut self, token: &str) -> Result<bool> {
        let done =
            sqlx::query!("DELETE FROM registration_tokens WHERE token = $1 AND NOT grants_admin", token)
                .execute(self.conn())
                .await?;
        Ok(done.rows_affected() == 1)
    }

    /// Counts one use of a token; `None` when it cannot be used any more. Says whether it makes an administrator.
    pub async fn use_registration_token(&mut self, token: &str, now_ms: i64) -> Result<Option<bool>> {
        let grants_admin = sqlx::query_scalar!(
            "UPDATE registration_tokens
             SET uses_completed = uses_completed + 1
             WHERE token = $1
                 AND (uses_allowed IS NULL OR uses_completed < uses_allowed)
                 AND (expires_at IS NULL OR expires_at > $2)
             RETURNING grants_admin",
            token,
            now_ms
        )
        .fetch_optional(self.conn())
        .await?;
        Ok(grants_admin)
    }

    /// Stores a nonce for registration by shared secret, and forgets those that have expired.
    pub async fn insert_registration_nonce(
        &mut self,
        nonce: &str,
        expires_at: i64,
        now_ms: i64,
    ) -> Result<()> {
        sqlx::query!(
            "WITH expired AS (DELETE FROM registration_nonces WHERE expires_at <= $3)
             INSERT INTO registration_nonces (nonce, expires_at) VALUES ($1, $2)",
            nonce,
            expires_at,
            now_ms
        )
        .execute(self.conn())
        .await?;
        Ok(())
    }

    /// Uses a nonce up; `false` when it is unknown, used or expired.
    pub async fn take_registration_nonce(&mut self, nonce: &str, now_ms: i64) -> Result<bool> {
        let done = sqlx::query!(
            "DELETE FROM registration_nonces WHERE nonce = $1 AND expires_at > $2",
            nonce,
            now_ms
        )
        .execute(self.conn())
        .await?;
        Ok(done.rows_affected() == 1)
    }
}
