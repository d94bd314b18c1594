//! User-interactive authentication in progress.

use hs_model::ids::UserNid;

use crate::{Reader, Txn, error::Result};

/// A session of user-interactive authentication.
#[derive(Clone, Debug)]
pub struct UiaSessionRow {
    /// Its id.
    pub session_id: String,
    /// What is being authorised, with its target.
    pub operation: String,
    /// Who is logged in, if anybody.
    pub user: Option<UserNid>,
    /// JSON object: the parameters of the request without secrets.
    pub request: String,
    /// JSON object: the stages done, with what each left behind.
    pub completed: String,
    /// When it is forgotten, in milliseconds.
    pub expires_at: i64,
}

impl Reader {
    /// A session that has not expired.
    pub async fn find_uia_session(&mut self, session_id: &str, now_ms: i64) -> Result<Option<UiaSessionRow>> {
        let row = sqlx::query!(
            "SELECT session_id, operation, user_nid, request, completed, expires_at
             FROM uia_sessions
             WHERE session_id = $1 AND expires_at > $2",
            session_id,
            now_ms
        )
        .fetch_optional(self.conn())
        .await?;
        Ok(row.map(|row| UiaSessionRow {
            session_id: row.session_id,
            operation: row.operation,
            user: row.user_nid.map(UserNid),
            request: row.request,
            completed: row.completed,
            expires_at: row.expires_at,
        }))
    }
}

impl Txn {
    /// Stores a new session, and forgets some that have expired.
    pub async fn insert_uia_session(&mut self, session: &UiaSessionRow, now_ms: i64) -> Result<()> {
        sqlx::query!(
            "WITH expired AS (
                 DELETE FROM uia_sessions
                 WHERE session_id IN (
                     SELECT session_id FROM uia_sessions
                     WHERE expires_at <= $7
                     ORDER BY expires_at
                     LIMIT 10
                     FOR UPDATE SKIP LOCKED
                 )
             )
             INSERT INTO uia_sessions (session_id, operation, user_nid, request, completed, expires_at)
             VALUES ($1, $2, $3, $4, $5, $6)",
            session.session_id,
            session.operation,
            session.user.map(i64::from),
            session.request,
            session.completed,
            session.expires_at,
            now_ms
        )
        .execute(self.conn())
        .await?;
        Ok(())
    }

    /// Notes the stages done.
    pub async fn set_uia_completed(&mut self, session_id: &str, completed: &str) -> Result<()> {
        sqlx::query!("UPDATE uia_sessions SET completed = $2 WHERE session_id = $1", session_id, completed)
            .execute(self.conn())
            .await?;
        Ok(())
    }

    /// Ends a session; `false` when somebody else did.
    pub async fn delete_uia_session(&mut self, session_id: &str) -> Result<bool> {
        let done = sqlx::query!("DELETE FROM uia_sessions WHERE session_id = $1", session_id)
            .execute(self.conn())
            .await?;
        Ok(done.rows_affected() == 1)
    }
}
