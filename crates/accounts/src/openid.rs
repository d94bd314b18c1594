//! Tokens by which a user shows a third party, like a call's media server, who they are.
//!
//! <https://spec.matrix.org/v1.19/client-server-api/#openid>

use std::time::Duration;

use hs_model::ids::UserNid;
use hs_storage::StorageError;
use ruma::OwnedUserId;

use crate::{
    Accounts,
    secret::{self, Kind},
};

/// How long a token is good for: it is shown once, soon after it was asked for.
const LIFETIME: Duration = Duration::from_hours(1);

/// A token for a third party.
#[derive(Clone, Debug)]
pub struct OpenIdToken {
    /// The token itself.
    pub token: String,
    /// How long it is good for.
    pub expires_in: Duration,
}

impl Accounts {
    /// Makes a token that tells who the user is.
    pub async fn issue_openid_token(&self, user: UserNid) -> Result<OpenIdToken, StorageError> {
        let issued = secret::generate(Kind::OpenId);
        let now_ms = self.clock.now_ms();
        let times = (now_ms, now_ms + LIFETIME.as_millis() as i64);
        let mut txn = self.store.begin().await?;
        txn.insert_openid_token(&issued.hash, user, times).await?;
        txn.commit().await?;
        Ok(OpenIdToken { token: issued.text, expires_in: LIFETIME })
    }

    /// Who a token was made for; `None` when it is unknown or no longer good.
    pub async fn find_openid_user(&self, token: &str) -> Result<Option<OwnedUserId>, StorageError> {
        let hash = secret::hash(token);
        self.store.reader().await?.find_openid_user(&hash, self.clock.now_ms()).await
    }
}
