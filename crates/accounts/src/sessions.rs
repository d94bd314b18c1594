//! From an access token to who it stands for.

use std::{
    net::IpAddr,
    sync::{
        Arc,
        atomic::{AtomicI64, Ordering},
    },
};

use hs_model::ids::{DeviceNid, UserNid};
use hs_storage::{StorageError, devices::DeviceSeen, log::LogKind, tokens::TokenHash};
use ruma::{OwnedDeviceId, OwnedUserId, UserId};

use crate::{Accounts, Failure, Standing, error::fails_with_storage, secret};

/// How often it is noted that a device is in use.
const SEEN_INTERVAL_MS: i64 = 3 * 60 * 1000;

/// A logged-in device.
#[derive(Debug)]
pub struct Session {
    /// Who is logged in.
    pub user: UserNid,
    /// The user's id.
    pub user_id: OwnedUserId,
    /// On which device.
    pub device: DeviceNid,
    /// The device's id.
    pub device_id: OwnedDeviceId,
    /// Whether the user administrates this server.
    pub is_admin: bool,
    /// Whether the user is a guest.
    pub is_guest: bool,
    /// What the user may still do.
    pub standing: Standing,
    expires_at: Option<i64>,
    seen_noted_at: AtomicI64,
}

impl Session {
    pub(crate) fn new(
        user: UserNid,
        user_id: OwnedUserId,
        device: DeviceNid,
        device_id: OwnedDeviceId,
        is_admin: bool,
        expires_at: Option<i64>,
        standing: Standing,
    ) -> Self {
        let seen_noted_at = AtomicI64::new(0);
        let is_guest = false;
        Self { user, user_id, device, device_id, is_admin, is_guest, standing, expires_at, seen_noted_at }
    }

    fn is_expired(&self, now_ms: i64) -> bool {
        self.expires_at.is_some_and(|expires_at| expires_at <= now_ms)
    }
}

/// Why an access token gives no session.
#[derive(Debug, thiserror::Error)]
pub enum ResolveSessionError {
    /// Never issued, or its session has ended.
    #[error("unknown access token")]
    Unknown,
    /// Its client should refresh it, or log in again on the same device.
    #[error("the access token has expired")]
    Expired,
    /// Our own fault.
    #[error(transparent)]
    Failure(#[from] Failure),
}
fails_with_storage!(ResolveSessionError);

impl Accounts {
    /// The session that an access token stands for. `ip` is where the request came from.
    pub async fn resolve_session(
        &self,
        token: &str,
        ip: IpAddr,
    ) -> Result<Arc<Session>, ResolveSessionError> {
        let hash = secret::hash(token);
        let session = match self.sessions.get(&hash) {
            Some(session) => session,
            // On the heap, so that requests which need no look-up do not carry the room for one.
            None => Box::pin(self.load_session(hash)).await?,
        };
        let now_ms = self.clock.now_ms();
        if session.is_expired(now_ms) {
            return Err(ResolveSessionError::Expired);
        }
        self.note_seen(&session, ip, now_ms);
        Ok(session)
    }

    async fn load_session(&self, hash: TokenHash) -> Result<Arc<Session>, ResolveSessionError> {
        // The second round comes after a first use, which ends sessions: those loaded before it are not to be trusted.
        loop {
            let loaded = self.sessions.epoch();
            let row = self.store.reader().await?.find_access_token(&hash).await?;
            let row = row.ok_or(ResolveSessionError::Unknown)?;
            if let Some(refresh) = row.unused_refresh {
                self.begin_use(&refresh).await?;
                continue;
            }
            let mut session = Session::new(
                row.user,
                parse_user_id(&row.user_id)?,
                row.device,
                row.device_id.into(),
                row.is_admin,
                row.expires_at,
                Standing::new(row.is_locked, row.is_suspended),
            );
            session.is_guest = row.is_guest;
            let session = Arc::new(session);
            self.sessions.insert(hash, loaded, session.clone());
            return Ok(session);
        }
    }

    /// Refreshed tokens are in use from now on: the ones they replaced are not valid any more.
    async fn begin_use(&self, refresh: &TokenHash) -> Result<(), StorageError> {
        let mut txn = self.store.begin().await?;
        // Somebody else may have noticed the first use at the same time, or the session may have ended.
        if let Some(found) = txn.lock_refresh_token(refresh).await?
            && found.has_predecessor
        {
            txn.delete_predecessors(found.device, refresh).await?;
            txn.log(LogKind::Session, None, Some(found.user)).await?;
        }
        txn.commit().await
    }

    fn note_seen(&self, session: &Session, ip: IpAddr, now_ms: i64) {
        let noted_at = session.seen_noted_at.load(Ordering::Relaxed);
        if now_ms - noted_at < SEEN_INTERVAL_MS {
            return;
        }
        session.seen_noted_at.store(now_ms, Ordering::Relaxed);
        self.seen.lock().insert(
            session.device,
            DeviceSeen { device: session.device, at: now_ms, ip: Some(ip.to_string()) },
        );
    }

    /// Writes down which devices were in use since the last time.
    pub async fn write_seen(&self) -> Result<(), StorageError> {
        let mut seen: Vec<DeviceSeen> = std::mem::take(&mut *self.seen.lock()).into_values().collect();
        if seen.is_empty() {
            return Ok(());
        }
        // In one order, so that replicas do not wait for each other in a circle.
        seen.sort_unstable_by_key(|seen| seen.device);
        let mut txn = self.store.begin().await?;
        txn.set_devices_seen(&seen).await?;
        txn.commit().await
    }
}

fn parse_user_id(user_id: &str) -> Result<OwnedUserId, StorageError> {
    UserId::parse(user_id).map_err(|_| StorageError::Inconsistent {
        table: "users",
        column: "user_id",
        row: user_id.to_owned(),
    })
}
