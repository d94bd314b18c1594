//! Accounts of this server.

use std::collections::HashMap;

use hs_model::{ids::UserNid, stream::Position};

use crate::{
    Reader, Txn,
    error::{Result, StorageError},
};

/// An account.
#[derive(Clone, Debug)]
pub struct AccountRow {
    /// Whose it is.
    pub user: UserNid,
    /// Argon2id as a PHC string; `None` when there is no password to log in with.
    pub password_hash: Option<String>,
    /// Whether the user administrates this server.
    pub is_admin: bool,
    /// What a provisioning tool said the account is for.
    pub user_type: Option<String>,
    /// When it was made, in milliseconds.
    pub created_at: i64,
    /// When it was closed for good, in milliseconds.
    pub deactivated_at: Option<i64>,
    /// Whether the user asked to be forgotten.
    pub is_erased: bool,
    /// Since when it is locked, in milliseconds.
    pub locked_at: Option<i64>,
    /// Since when it is suspended, in milliseconds.
    pub suspended_at: Option<i64>,
}

/// What a new account starts with.
#[derive(Clone, Debug, Default)]
pub struct NewAccount<'a> {
    /// Argon2id as a PHC string.
    pub password_hash: Option<&'a str>,
    /// Whether the user administrates this server.
    pub is_admin: bool,
    /// What the account is for.
    pub user_type: Option<&'a str>,
    /// JSON object: the version of each policy accepted.
    pub accepted_terms: Option<&'a str>,
    /// Now, in milliseconds.
    pub created_at: i64,
}

/// An account in a list.
#[derive(Clone, Debug)]
pub struct AccountSummary {
    /// The user's id.
    pub user_id: String,
    /// Whether the user administrates this server.
    pub is_admin: bool,
    /// What the account is for.
    pub user_type: Option<String>,
    /// When it was made, in milliseconds.
    pub created_at: i64,
    /// When it was closed, in milliseconds.
    pub deactivated_at: Option<i64>,
}

impl Reader {
    /// The account of a user.
    pub async fn find_account(&mut self, user: UserNid) -> Result<Option<AccountRow>> {
        let row = sqlx::query!(
            "SELECT password_hash, is_admin, user_type, created_at, deactivated_at, is_erased, locked_at, suspended_at
             FROM accounts
             WHERE user_nid = $1",
            user.0
        )
        .fetch_optional(self.conn())
        .await?;
        Ok(row.map(|row| AccountRow {
            user,
            password_hash: row.password_hash,
            is_admin: row.is_admin,
            user_type: row.user_type,
            created_at: row.created_at,
            deactivated_at: row.deactivated_at,
            is_erased: row.is_erased,
            locked_at: row.locked_at,
            suspended_at: row.suspended_at,
        }))
    }

    /// Those of the users who have asked to be forgotten, and where in the log they did.
    pub async fn list_erasures(&mut self, users: &[UserNid]) -> Result<HashMap<UserNid, Position>> {
        let users: Vec<i64> = users.iter().map(|user| user.0).collect();
        let rows = sqlx::query!(
            r#"SELECT user_nid, erased_position AS "position!"
             FROM accounts
             WHERE user_nid = ANY($1) AND erased_position IS NOT NULL"#,
            &users
        )
        .fetch_all(self.conn())
        .await?;
        Ok(rows.into_iter().map(|row| (UserNid(row.user_nid), Position(row.position))).collect())
    }

    /// Whether there is any account at all.
    pub async fn has_accounts(&mut self) -> Result<bool> {
        let found = sqlx::query_scalar!(r#"SELECT EXISTS (SELECT FROM accounts) AS "found!""#)
            .fetch_one(self.conn())
            .await?;
        Ok(found)
    }

    /// Accounts whose user id comes after `after`, in order.
    pub async fn list_accounts(&mut self, after: &str, limit: i64) -> Result<Vec<AccountSummary>> {
        let rows = sqlx::query_as!(
            AccountSummary,
            "SELECT user_id, is_admin, user_type, created_at, deactivated_at
             FROM accounts
             JOIN users USING (user_nid)
             WHERE user_id > $1
             ORDER BY user_id
             LIMIT $2",
            after,
            limit
        )
        .fetch_all(self.conn())
        .await?;
        Ok(rows)
    }
}

impl Txn {
    /// Makes an account; `false` when the user has one, even a deactivated one.
    pub async fn insert_account(&mut self, user: UserNid, account: &NewAccount<'_>) -> Result<bool> {
        let done = sqlx::query!(
            "INSERT INTO accounts (user_nid, password_hash, is_admin, user_type, accepted_terms, created_at)
             VALUES ($1, $2, $3, $4, $5, $6)
             ON CONFLICT (user_nid) DO NOTHING",
            user.0,
            account.password_hash,
            account.is_admin,
            account.user_type,
            account.accepted_terms,
            account.created_at
        )
        .execute(self.conn())
        .await?;
        Ok(done.rows_affected() == 1)
    }

    /// Keeps other writers of this account's rows waiting until commit. `false` when it is not open (any more).
    pub async fn lock_account(&mut self, user: UserNid) -> Result<bool> {
        let found = sqlx::query_scalar!(
            "SELECT user_nid FROM accounts WHERE user_nid = $1 AND deactivated_at IS NULL FOR UPDATE",
            user.0
        )
        .fetch_optional(self.conn())
        .await?;
        Ok(found.is_some())
    }

    /// Sets the password of an account.
    pub async fn set_password_hash(&mut self, user: UserNid, password_hash: &str) -> Result<()> {
        let done = sqlx::query!(
            "UPDATE accounts SET password_hash = $2 WHERE user_nid = $1 AND deactivated_at IS NULL",
            user.0,
            password_hash
        )
        .execute(self.conn())
        .await?;
        exactly_one(done.rows_affected())
    }

    /// Replaces a password hash by one of the same password, unless the password was changed meanwhile.
    pub async fn renew_password_hash(&mut self, user: UserNid, old: &str, new: &str) -> Result<()> {
        sqlx::query!(
            "UPDATE accounts SET password_hash = $3 WHERE user_nid = $1 AND password_hash = $2",
            user.0,
            old,
            new
        )
        .execute(self.conn())
        .await?;
        Ok(())
    }

    /// Makes a user an administrator, or no longer.
    pub async fn set_admin(&mut self, user: UserNid, is_admin: bool) -> Result<()> {
        let done = sqlx::query!("UPDATE accounts SET is_admin = $2 WHERE user_nid = $1", user.0, is_admin)
            .execute(self.conn())
            .await?;
        exactly_one(done.rows_affected())
    }

    /// Closes an account for good; `false` when it was closed already.
    pub async fn deactivate_account(&mut self, user: UserNid, is_erased: bool, now_ms: i64) -> Result<bool> {
        let done = sqlx::query!(
            "UPDATE accounts
             SET deactivated_at = $2, is_erased = $3, password_hash = NULL, is_admin = FALSE
             WHERE user_nid = $1 AND deactivated_at IS NULL",
            user.0,
            now_ms,
            is_erased
        )
        .execute(self.conn())
        .await?;
        Ok(done.rows_affected() == 1)
    }

    /// Notes where in the log a user was forgotten.
    pub async fn set_erased_position(&mut self, user: UserNid, position: Position) -> Result<()> {
        sqlx::query!(
            "UPDATE accounts SET erased_position = $2 WHERE user_nid = $1 AND is_erased",
            user.0,
            position.0
        )
        .execute(self.conn())
        .await?;
        Ok(())
    }
}

fn exactly_one(actual: u64) -> Result<()> {
    if actual == 1 { Ok(()) } else { Err(StorageError::RowsAffected { expected: 1, actual }) }
}
