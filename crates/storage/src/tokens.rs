//! What proves who a client is: access, refresh and login tokens, each known only by its SHA-256.

use hs_model::ids::{DeviceNid, UserNid};

use crate::{Reader, Txn, error::Result};

/// SHA-256 of a token.
pub type TokenHash = [u8; 32];

/// An access token with the session it stands for.
#[derive(Clone, Debug)]
pub struct AccessTokenRow {
    /// Whose session it is.
    pub user: UserNid,
    /// The user's id.
    pub user_id: String,
    /// The device.
    pub device: DeviceNid,
    /// The device's id.
    pub device_id: String,
    /// Whether the user administrates this server.
    pub is_admin: bool,
    /// Whether the user is a guest.
    pub is_guest: bool,
    /// Whether the account is locked.
    pub is_locked: bool,
    /// Whether the account is suspended.
    pub is_suspended: bool,
    /// When the token expires, in milliseconds.
    pub expires_at: Option<i64>,
    /// The refresh token handed out with it, as long as the one that it replaced is still valid: until first use.
    pub unused_refresh: Option<TokenHash>,
}

/// A refresh token with the session it stands for.
#[derive(Clone, Debug)]
pub struct RefreshTokenRow {
    /// Whose session it is.
    pub user: UserNid,
    /// The device.
    pub device: DeviceNid,
    /// Whether it replaced another token that is still valid.
    pub has_predecessor: bool,
}

/// A pair of tokens to store.
#[derive(Clone, Copy, Debug)]
pub struct NewTokens {
    /// The access token.
    pub access: TokenHash,
    /// When it expires, in milliseconds.
    pub expires_at: Option<i64>,
    /// The refresh token handed out with it.
    pub refresh: Option<TokenHash>,
    /// The refresh token that was exchanged for these.
    pub replaces: Option<TokenHash>,
    /// Now, in milliseconds.
    pub now_ms: i64,
}

impl Reader {
    /// The session of an access token; expired tokens are found too.
    pub async fn find_access_token(&mut self, hash: &TokenHash) -> Result<Option<AccessTokenRow>> {
        let row = sqlx::query!(
            r#"SELECT user_nid, user_id, devices.device_nid, device_id, is_admin, is_guest, token.expires_at,
                 locked_at IS NOT NULL AS "is_locked!", suspended_at IS NOT NULL AS "is_suspended!",
                 refresh.token_hash AS "refresh_hash?"
             FROM access_tokens AS token
             JOIN devices ON devices.device_nid = token.device_nid
             JOIN accounts USING (user_nid)
             JOIN users USING (user_nid)
             LEFT JOIN refresh_tokens AS refresh
                 ON refresh.token_hash = token.refresh_hash AND refresh.replaces IS NOT NULL
             WHERE token.token_hash = $1"#,
            hash.as_slice()
        )
        .fetch_optional(self.conn())
        .await?;
        Ok(row.map(|row| AccessTokenRow {
            user: UserNid(row.user_nid),
            user_id: row.user_id,
            device: DeviceNid(row.device_nid),
            device_id: row.device_id,
            is_admin: row.is_admin,
            is_guest: row.is_guest,
            is_locked: row.is_locked,
            is_suspended: row.is_suspended,
            expires_at: row.expires_at,
            unused_refresh: row.refresh_hash.and_then(|hash| hash.try_into().ok()),
        }))
    }
}

impl Txn {
    /// Stores the tokens of a device.
    pub async fn insert_tokens(&mut self, device: DeviceNid, tokens: &NewTokens) -> Result<()> {
        if let Some(refresh) = &tokens.refresh {
            sqlx::query!(
                "INSERT INTO refresh_tokens (token_hash, device_nid, created_at, replaces)
                 VALUES ($1, $2, $3, $4)",
                refresh.as_slice(),
                device.0,
                tokens.now_ms,
                tokens.replaces.as_ref().map(<[u8; 32]>::as_slice)
            )
            .execute(self.conn())
            .await?;
        }
        sqlx::query!(
            "INSERT INTO access_tokens (token_hash, device_nid, created_at, expires_at, refresh_hash)
             VALUES ($1, $2, $3, $4, $5)",
            tokens.access.as_slice(),
            device.0,
            tokens.now_ms,
            tokens.expires_at,
            tokens.refresh.as_ref().map(<[u8; 32]>::as_slice)
        )
        .execute(self.conn())
        .await?;
        Ok(())
    }

    /// Deletes all tokens of a device.
    pub async fn delete_tokens_of_device(&mut self, device: DeviceNid) -> Result<()> {
        sqlx::query!(
            "WITH refresh AS (DELETE FROM refresh_tokens WHERE device_nid = $1)
             DELETE FROM access_tokens WHERE device_nid = $1",
            device.0
        )
        .execute(self.conn())
        .await?;
        Ok(())
    }

    /// The session of a refresh token. Its device is held for the rest of the transaction, so that two refreshes, or a
    /// refresh and a logout, do not cross.
    pub async fn lock_refresh_token(&mut self, hash: &TokenHash) -> Result<Option<RefreshTokenRow>> {
        let device = sqlx::query!(
            "SELECT user_nid, device_nid
             FROM devices
             WHERE device_nid = (SELECT device_nid FROM refresh_tokens WHERE token_hash = $1)
             FOR UPDATE",
            hash.as_slice()
        )
        .fetch_optional(self.conn())
        .await?;
        let Some(device) = device else { return Ok(None) };
        // The token may have been replaced while its device was waited for.
        let token = sqlx::query!(
            r#"SELECT replaces IS NOT NULL AS "has_predecessor!" FROM refresh_tokens WHERE token_hash = $1"#,
            hash.as_slice()
        )
        .fetch_optional(self.conn())
        .await?;
        Ok(token.map(|token| RefreshTokenRow {
            user: UserNid(device.user_nid),
            device: DeviceNid(device.device_nid),
            has_predecessor: token.has_predecessor,
        }))
    }

    /// Deletes the tokens that were made from a refresh token and never used: their client did not receive them.
    pub async fn delete_successors(&mut self, device: DeviceNid, hash: &TokenHash) -> Result<()> {
        sqlx::query!(
            "WITH successors AS (
                 DELETE FROM refresh_tokens
                 WHERE device_nid = $1 AND replaces = $2
                 RETURNING token_hash
             )
             DELETE FROM access_tokens WHERE device_nid = $1 AND refresh_hash IN (SELECT token_hash FROM successors)",
            device.0,
            hash.as_slice()
        )
        .execute(self.conn())
        .await?;
        Ok(())
    }

    /// Ends the life of the tokens that those handed out with `refresh` have replaced, now that those are in use. The
    /// device must be held ([`lock_refresh_token`](Self::lock_refresh_token)).
    pub async fn delete_predecessors(&mut self, device: DeviceNid, refresh: &TokenHash) -> Result<()> {
        let replaced = sqlx::query_scalar!(
            "SELECT replaces FROM refresh_tokens WHERE token_hash = $1",
            refresh.as_slice()
        )
        .fetch_optional(self.conn())
        .await?
        .flatten();
        let Some(replaced) = replaced else { return Ok(()) };
        sqlx::query!(
            "WITH successor AS (
                 UPDATE refresh_tokens SET replaces = NULL WHERE token_hash = $3
             ),
             predecessor AS (
                 DELETE FROM refresh_tokens WHERE device_nid = $1 AND token_hash = $2
             )
             DELETE FROM access_tokens WHERE device_nid = $1 AND refresh_hash = $2",
            device.0,
            replaced,
            refresh.as_slice()
        )
        .execute(self.conn())
        .await?;
        Ok(())
    }

    /// Stores a token for `m.login.token`, and forgets those that have expired.
    pub async fn insert_login_token(
        &mut self,
        hash: &TokenHash,
        user: UserNid,
        expires_at: i64,
        now_ms: i64,
    ) -> Result<()> {
        sqlx::query!(
            "WITH expired AS (DELETE FROM login_tokens WHERE expires_at <= $4)
             INSERT INTO login_tokens (token_hash, user_nid, expires_at) VALUES ($1, $2, $3)",
            hash.as_slice(),
            user.0,
            expires_at,
            now_ms
        )
        .execute(self.conn())
        .await?;
        Ok(())
    }

    /// Uses a login token up; `None` when it is unknown, used or expired.
    pub async fn take_login_token(&mut self, hash: &TokenHash, now_ms: i64) -> Result<Option<UserNid>> {
        let user = sqlx::query_scalar!(
            "DELETE FROM login_tokens WHERE token_hash = $1 AND expires_at > $2 RETURNING user_nid",
            hash.as_slice(),
            now_ms
        )
        .fetch_optional(self.conn())
        .await?;
        Ok(user.map(UserNid))
    }

    /// Deletes all login tokens of a user.
    pub async fn delete_login_tokens(&mut self, user: UserNid) -> Result<()> {
        sqlx::query!("DELETE FROM login_tokens WHERE user_nid = $1", user.0).execute(self.conn()).await?;
        Ok(())
    }
}
