//! Where a user wants notifications sent to.
//!
//! <https://spec.matrix.org/v1.19/client-server-api/#post_matrixclientv3pushersset>

use hs_model::ids::{DeviceNid, UserNid};
use hs_storage::{
    StorageError,
    pushers::{NewPusher, PushCandidate, PusherRow},
};
use ruma::{RoomId, UserId};
use serde_json::{Map, Value};

use crate::Push;

/// <https://spec.matrix.org/v1.19/client-server-api/#post_matrixclientv3pushersset>
const MAX_PUSHKEY_BYTES: usize = 512;
/// As above, in characters.
const MAX_APP_ID_CHARS: usize = 64;
/// The most bytes of any other text.
const MAX_TEXT_BYTES: usize = 1024;
/// The most bytes of `data`.
const MAX_DATA_BYTES: usize = 16 * 1024;
/// How many pushers a user may have.
const MAX_PUSHERS: usize = 100;
/// The application of every pusher by mail.
const EMAIL_APP_ID: &str = "m.email";
/// The path of every push gateway.
const GATEWAY_PATH: &str = "/_matrix/push/v1/notify";

/// How a pusher sends.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum PusherKind {
    /// To a push gateway.
    Http,
    /// By mail.
    Email,
}

impl PusherKind {
    /// Reads the word used by clients.
    pub fn parse(word: &str) -> Option<Self> {
        match word {
            "http" => Some(Self::Http),
            "email" => Some(Self::Email),
            _ => None,
        }
    }
}

/// Why a pusher was not set.
#[derive(Debug, thiserror::Error)]
pub enum SetPusherError {
    /// There is no such kind, or this server does not offer it.
    #[error("This server has no pushers of this kind")]
    UnknownKind,
    /// A value cannot be used.
    #[error("{0}")]
    Invalid(&'static str),
    /// A value is missing.
    #[error("{0}")]
    Missing(&'static str),
    /// The address is not one of the user's.
    #[error("Notifications cannot be mailed to this address")]
    ForeignAddress,
    /// The user has too many.
    #[error("You have too many pushers")]
    TooMany,
    /// The database failed.
    #[error(transparent)]
    Storage(#[from] StorageError),
}

impl Push {
    /// A user's pushers.
    pub async fn list_pushers(&self, user: UserNid) -> Result<Vec<PusherRow>, StorageError> {
        self.inner.store.reader().await?.list_pushers(user).await
    }

    /// Sets a pusher. Unless `is_shared`, other users' pushers with the same key go: the device has changed hands.
    pub async fn set_pusher(
        &self,
        user: (UserNid, &UserId),
        device: DeviceNid,
        pusher: &NewPusher,
        is_shared: bool,
    ) -> Result<(), SetPusherError> {
        let (user, user_id) = user;
        self.check(user_id, pusher)?;
        let mut txn = self.inner.store.begin().await?;
        txn.lock_account(user).await?;
        let known = txn.list_pushers(user).await?;
        let is_new = !known
            .iter()
            .any(|row| row.pusher.app_id == pusher.app_id && row.pusher.pushkey == pusher.pushkey);
        if is_new && known.len() >= MAX_PUSHERS {
            return Err(SetPusherError::TooMany);
        }
        if !is_shared {
            // An address is no device that changes hands.
            let is_device = PusherKind::parse(&pusher.kind) == Some(PusherKind::Http);
            if is_device {
                txn.delete_pushers_of_others(user, &pusher.app_id, &pusher.pushkey).await?;
            }
        }
        txn.upsert_pusher(user, device, pusher, self.inner.clock.now_ms()).await?;
        txn.commit().await?;
        self.inner.pushers_changed.notify_one();
        Ok(())
    }

    /// Waits until a pusher is set at this process.
    pub async fn pusher_set(&self) {
        self.inner.pushers_changed.notified().await;
    }

    /// Leaves out what does not notify users since they are quiet in the room.
    pub async fn retain_wanted(&self, candidates: &mut Vec<PushCandidate>) -> Result<(), StorageError> {
        let mut users: Vec<UserNid> = candidates.iter().map(|candidate| candidate.user).collect();
        users.sort_unstable();
        users.dedup();
        let personal = self.inner.rules.find(&self.inner.store, &users).await?;
        candidates.retain(|candidate| {
            let Ok(room_id) = <&RoomId>::try_from(candidate.room_id.as_str()) else { return false };
            candidate.is_individual
                || personal.get(&candidate.user).is_none_or(|rules| !rules.is_quiet_in(room_id))
        });
        Ok(())
    }

    /// Deletes a pusher; one that is not there is gone already.
    pub async fn delete_pusher(
        &self,
        user: UserNid,
        app_id: &str,
        pushkey: &str,
    ) -> Result<(), StorageError> {
        let mut txn = self.inner.store.begin().await?;
        txn.delete_pusher(user, app_id, pushkey).await?;
        txn.commit().await
    }
}

impl Push {
    fn check(&self, user_id: &UserId, pusher: &NewPusher) -> Result<(), SetPusherError> {
        check_texts(pusher)?;
        match PusherKind::parse(&pusher.kind) {
            Some(PusherKind::Http) => check_http(pusher),
            Some(PusherKind::Email) if self.inner.mail_addresses.is_empty() => {
                Err(SetPusherError::UnknownKind)
            }
            Some(PusherKind::Email) if pusher.app_id != EMAIL_APP_ID => {
                Err(SetPusherError::Invalid("app_id must be m.email for a pusher of the kind email"))
            }
            Some(PusherKind::Email) if self.inner.mail_addresses.allow(user_id, &pusher.pushkey) => Ok(()),
            Some(PusherKind::Email) => Err(SetPusherError::ForeignAddress),
            None => Err(SetPusherError::UnknownKind),
        }
    }

    /// The address that a token in a mail is for.
    pub async fn address_to_unsubscribe(&self, token: &str) -> Result<Option<String>, StorageError> {
        self.inner.store.reader().await?.find_address_to_unsubscribe(token).await
    }

    /// Deletes the pusher that a token in a mail is for; one that is not there is gone already.
    pub async fn unsubscribe(&self, token: &str) -> Result<(), StorageError> {
        let mut txn = self.inner.store.begin().await?;
        txn.delete_pusher_by_token(token).await?;
        txn.commit().await
    }

    /// Whether a pusher by mail that is stored may still be used: what is allowed may have changed.
    pub fn may_mail(&self, user_id: &UserId, address: &str) -> bool {
        self.inner.mail_addresses.allow(user_id, address)
    }
}

fn check_texts(pusher: &NewPusher) -> Result<(), SetPusherError> {
    let texts = [&pusher.app_display_name, &pusher.device_display_name, &pusher.lang];
    if pusher.pushkey.is_empty() || pusher.pushkey.len() > MAX_PUSHKEY_BYTES {
        return Err(SetPusherError::Invalid("pushkey must have between 1 and 512 bytes"));
    }
    if pusher.app_id.is_empty() || pusher.app_id.chars().count() > MAX_APP_ID_CHARS {
        return Err(SetPusherError::Invalid("app_id must have between 1 and 64 characters"));
    }
    if texts.into_iter().chain(&pusher.profile_tag).any(|text| text.len() > MAX_TEXT_BYTES) {
        return Err(SetPusherError::Invalid(
            "names, profile_tag and lang must not be longer than 1024 bytes",
        ));
    }
    if pusher.data.len() > MAX_DATA_BYTES {
        return Err(SetPusherError::Invalid("data must not be longer than 16 KiB"));
    }
    Ok(())
}

fn check_http(pusher: &NewPusher) -> Result<(), SetPusherError> {
    let data: Map<String, Value> = serde_json::from_str(&pusher.data).unwrap_or_default();
    let url = data.get("url").ok_or(SetPusherError::Missing("data.url is missing"))?;
    let url = url.as_str().and_then(|url| url.parse::<http::Uri>().ok());
    let is_gateway = |url: &http::Uri| {
        matches!(url.scheme_str(), Some("https" | "http"))
            && url.host().is_some()
            && url.path() == GATEWAY_PATH
    };
    if !url.is_some_and(|url| is_gateway(&url)) {
        return Err(SetPusherError::Invalid(
            "data.url must be an HTTPS URL with the path /_matrix/push/v1/notify",
        ));
    }
    Ok(())
}
