//! Exchanging a refresh token for the next access token.

use std::time::Duration;

use hs_storage::{log::LogKind, tokens::NewTokens};

use crate::{
    Accounts, Failure,
    error::fails_with_storage,
    secret::{self, Kind},
};

/// The next tokens of a session.
#[derive(Clone)]
pub struct Refreshed {
    /// The token for requests.
    pub access_token: String,
    /// The token for the next access token.
    pub refresh_token: String,
    /// How long the access token lasts.
    pub expires_in: Duration,
}

/// Why a refresh token cannot be exchanged.
#[derive(Debug, thiserror::Error)]
pub enum RefreshError {
    /// Never issued, used already, or its session has ended.
    #[error("This refresh token is not valid")]
    Unknown,
    /// The account is locked.
    #[error("This account has been locked")]
    Locked,
    /// Our own fault.
    #[error(transparent)]
    Failure(#[from] Failure),
}
fails_with_storage!(RefreshError);

impl Accounts {
    /// Exchanges a refresh token. It stays valid until the new tokens are first used, so that a client whose connection
    /// broke can ask again.
    ///
    /// <https://spec.matrix.org/v1.19/client-server-api/#refreshing-access-tokens>
    pub async fn refresh(&self, refresh_token: &str) -> Result<Refreshed, RefreshError> {
        let old = secret::hash(refresh_token);
        let now_ms = self.clock.now_ms();
        let lifetime = self.options.refreshable_token_lifetime;
        let mut txn = self.store.begin().await?;
        let found = txn.lock_refresh_token(&old).await?.ok_or(RefreshError::Unknown)?;
        if txn.find_account(found.user).await?.is_some_and(|account| account.locked_at.is_some()) {
            return Err(RefreshError::Locked);
        }

        // What an earlier exchange of this token has made never reached the client, or it would be in use.
        txn.delete_successors(found.device, &old).await?;
        if found.has_predecessor {
            txn.delete_predecessors(found.device, &old).await?;
        }
        let access = secret::generate(Kind::Access);
        let refresh = secret::generate(Kind::Refresh);
        let tokens = NewTokens {
            access: access.hash,
            expires_at: Some(now_ms + lifetime.as_millis() as i64),
            refresh: Some(refresh.hash),
            replaces: Some(old),
            now_ms,
        };
        txn.insert_tokens(found.device, &tokens).await?;
        if found.has_predecessor {
            txn.log(LogKind::Session, None, Some(found.user)).await?;
        }
        txn.commit().await?;
        Ok(Refreshed { access_token: access.text, refresh_token: refresh.text, expires_in: lifetime })
    }
}
