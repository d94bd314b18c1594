//! Who is there.

mod recent;
mod seen;

use std::{collections::HashMap, sync::Arc, time::Duration};

use futures_util::future::join_all;
use hs_model::{
    ids::{DeviceNid, RoomNid, UserNid},
    stream::Position,
};
use hs_storage::{
    StorageError,
    ephemeral::{EphemeralWrite, EphemeralWriteError},
    presence::{Presence, PresenceRow, PresenceUpdate, StatusMsgChange},
};
use parking_lot::{Mutex, RwLock};
use ruma::{OwnedUserId, UserId};
use serde_json::value::RawValue;
use tokio::sync::Notify;

use self::{
    recent::RecentPresence,
    seen::{DeviceRef, Due, Seen, State},
};
use crate::{Ephemeral, events};

/// How long a status message may be.
pub const MAX_STATUS_MSG_BYTES: usize = 1024;
/// How often devices that have gone are looked for.
const SWEEP_INTERVAL: Duration = Duration::from_secs(5);
/// How often the lease for this replica's holds is renewed, and the holds of dead ones are looked for.
const LEASE_INTERVAL: Duration = Duration::from_secs(20);
/// How long what another server said of a user counts: servers repeat it about twice as often.
const REMOTE_DURATION: Duration = Duration::from_hours(1);
/// Who holds users of other servers present.
const REMOTE_HOLDER: &str = "other servers";
/// How long the holds of a replica that has died count.
const LEASE_DURATION: Duration = Duration::from_mins(1);

/// What this process knows of presence.
#[derive(Debug, Default)]
pub(crate) struct PresenceState {
    seen: Mutex<Seen>,
    recent: RwLock<RecentPresence>,
    /// There is something to be written at once.
    wake: Notify,
}

/// A user sets their presence.
#[derive(Clone, Copy, Debug)]
pub struct PresenceRequest<'a> {
    /// The user.
    pub user: UserNid,
    /// The user.
    pub user_id: &'a UserId,
    /// The device that says so.
    pub device: DeviceNid,
    /// How present they are.
    pub presence: Presence,
    /// What they say about it; replaces what they said before.
    pub status_msg: Option<&'a str>,
}

/// Another server tells of the presence of a user of its own.
#[derive(Clone, Debug)]
pub struct RemotePresence {
    /// The user.
    pub user: UserNid,
    /// The user.
    pub user_id: OwnedUserId,
    /// How present they are.
    pub presence: Presence,
    /// What they say about it; replaces what they said before.
    pub status_msg: Option<String>,
    /// How long ago they were active.
    pub last_active_ago: Option<Duration>,
    /// Whether they are active at present.
    pub currently_active: bool,
}

/// Why presence was not set.
#[derive(Clone, Debug, thiserror::Error)]
pub enum PresenceError {
    /// The status message is too long.
    #[error("the status message is longer than {MAX_STATUS_MSG_BYTES} bytes")]
    StatusMsgTooLong,
    /// The database failed.
    #[error(transparent)]
    Storage(#[from] EphemeralWriteError),
}

/// Why somebody's presence is not told.
#[derive(Debug, thiserror::Error)]
pub enum FindPresenceError {
    /// The viewer shares no room with the user, if there is one at all.
    #[error("no room is shared with this user")]
    NotAllowed,
    /// The database failed.
    #[error("the presence could not be looked up")]
    Storage(#[from] StorageError),
}

/// A device waits for news: while this value lives, its user is connected.
#[derive(Debug)]
#[must_use = "the user counts as connected while this value lives"]
pub struct Syncing {
    ephemeral: Option<(Ephemeral, DeviceRef)>,
}

impl Drop for Syncing {
    fn drop(&mut self) {
        if let Some((ephemeral, at)) = &self.ephemeral {
            let now = ephemeral.inner.clock.now_ms();
            ephemeral.inner.presence.seen.lock().stopped_waiting(*at, now);
        }
    }
}

impl Ephemeral {
    /// Whether there is presence at all.
    pub fn has_presence(&self) -> bool {
        self.inner.options.presence.is_enabled
    }

    /// A device asks for news with this `set_presence`. Keep the answer until the request has ended.
    pub fn syncing(
        &self,
        user: UserNid,
        user_id: &UserId,
        device: DeviceNid,
        set_presence: Presence,
    ) -> Syncing {
        // Offline asks that the request leave presence alone.
        if !self.has_presence() || set_presence == Presence::Offline {
            return Syncing { ephemeral: None };
        }
        let at = DeviceRef { user, device };
        let now = self.inner.clock.now_ms();
        let is_due = {
            let mut seen = self.inner.presence.seen.lock();
            let is_due = seen.heard(at, user_id, set_presence, now);
            seen.began_waiting(at);
            is_due
        };
        if is_due {
            self.inner.presence.wake.notify_one();
        }
        Syncing { ephemeral: Some((self.clone(), at)) }
    }

    /// A user has done something themselves: sent an event, say. Cheap; does nothing for users that are not connected here.
    pub fn note_active(&self, user: UserNid) {
        if self.has_presence() && self.inner.presence.seen.lock().active(user, self.inner.clock.now_ms()) {
            self.inner.presence.wake.notify_one();
        }
    }

    /// A user sets their presence. It lasts while the device is connected, or until it says something else.
    pub async fn set_presence(&self, request: PresenceRequest<'_>) -> Result<(), PresenceError> {
        if request.status_msg.is_some_and(|status| status.len() > MAX_STATUS_MSG_BYTES) {
            return Err(PresenceError::StatusMsgTooLong);
        }
        if !self.has_presence() {
            return Ok(());
        }
        let now = self.inner.clock.now_ms();
        let state = {
            let mut seen = self.inner.presence.seen.lock();
            let at = DeviceRef { user: request.user, device: request.device };
            seen.heard(at, request.user_id, request.presence, now);
            State { last_active_at: now, ..seen.state(request.user, now) }
        };
        let due = Due { user: request.user, user_id: request.user_id.to_owned(), state };
        let status_msg = match request.status_msg {
            Some(status_msg) => StatusMsgChange::Set(status_msg.to_owned()),
            None => StatusMsgChange::Clear,
        };
        Ok(self.write_presence(due, status_msg).await?)
    }

    /// Takes note of the presence of users of other servers. It ends by itself when their server says nothing more.
    pub async fn receive_presence(&self, told: Vec<RemotePresence>) -> Result<(), EphemeralWriteError> {
        if !self.has_presence() {
            return Ok(());
        }
        let now = self.inner.clock.now_ms();
        let writes = told.into_iter().map(|told| {
            let ago = told.last_active_ago.map(|ago| i64::try_from(ago.as_millis()).unwrap_or(i64::MAX));
            let status_msg = match told.status_msg.filter(|status| is_status_msg(status)) {
                Some(status_msg) => StatusMsgChange::Set(status_msg),
                None => StatusMsgChange::Clear,
            };
            self.inner.writer.write(EphemeralWrite::Presence(PresenceUpdate {
                user: told.user,
                user_id: told.user_id,
                replica: REMOTE_HOLDER.into(),
                hold: told.presence,
                status_msg,
                last_active_at: ago.map_or(0, |ago| now.saturating_sub(ago).max(0)),
                currently_active: told.currently_active && told.presence == Presence::Online,
                expires_at: Some(now + REMOTE_DURATION.as_millis() as i64),
            }))
        });
        join_all(writes).await.into_iter().try_for_each(|written| written.map(|_| ()))
    }

    /// The presence of a user as it is now; `None` when they never had any.
    pub async fn find_presence(&self, user: UserNid) -> Result<Option<PresenceRow>, StorageError> {
        Ok(self.list_presence(&[user]).await?.remove(&user))
    }

    /// The presence of a user as another user may see it, who must share a room with them; `None` when they never had any.
    pub async fn find_presence_for(
        &self,
        viewer: UserNid,
        user_id: &UserId,
    ) -> Result<Option<PresenceRow>, FindPresenceError> {
        let user = self.inner.store.find_user(user_id).await?.ok_or(FindPresenceError::NotAllowed)?;
        if user != viewer {
            let sharing = self.inner.store.reader().await?.list_users_sharing_room(viewer, &[user]).await?;
            if sharing.is_empty() {
                return Err(FindPresenceError::NotAllowed);
            }
        }
        Ok(self.find_presence(user).await?)
    }

    /// The presence of users as it is now. Those who never had any are missing.
    pub async fn list_presence(
        &self,
        users: &[UserNid],
    ) -> Result<HashMap<UserNid, PresenceRow>, StorageError> {
        if !self.has_presence() || users.is_empty() {
            return Ok(HashMap::new());
        }
        let rows = self.inner.store.reader().await?.list_presence(users).await?;
        Ok(rows.into_iter().map(|row| (row.user, row)).collect())
    }

    /// The presence of everybody in some rooms who is not offline.
    pub async fn presence_in_rooms(&self, rooms: &[RoomNid]) -> Result<Vec<PresenceRow>, StorageError> {
        if !self.has_presence() || rooms.is_empty() {
            return Ok(Vec::new());
        }
        self.inner.store.reader().await?.list_presence_in_rooms(rooms).await
    }

    /// The presence, of those that `sees` says the viewer may see, that changed after one position and up to another, in
    /// order.
    pub async fn presence_between(
        &self,
        after: Position,
        up_to: Position,
        sees: impl Fn(UserNid) -> bool,
    ) -> Result<Vec<Arc<PresenceRow>>, StorageError> {
        if !self.has_presence() {
            return Ok(Vec::new());
        }
        if let Some(recent) = self.inner.presence.recent.read().between(after, up_to) {
            return Ok(recent.filter(|row| sees(row.user)).cloned().collect());
        }
        let rows = self.inner.store.reader().await?.list_presence_changes(after, up_to).await?;
        Ok(rows.into_iter().filter(|row| sees(row.user)).map(Arc::new).collect())
    }

    /// The `m.presence` event of a user.
    pub fn presence_event(&self, row: &PresenceRow) -> Box<RawValue> {
        events::presence_event(row, self.inner.clock.now_ms())
    }

    /// How long ago somebody was active; `None` when they never were.
    pub fn last_active_ago(&self, row: &PresenceRow) -> Option<Duration> {
        events::last_active_ago(row, self.inner.clock.now_ms()).map(|ms| Duration::from_millis(ms as u64))
    }

    /// Writes what time alone has changed: devices that have gone, users who do nothing. [`run`](Self::run) calls it.
    pub async fn sweep_presence(&self) -> Result<(), EphemeralWriteError> {
        let due = self.inner.presence.seen.lock().sweep(self.inner.clock.now_ms());
        self.write_all_presence(due).await
    }

    /// Says that this replica lives, so that its holds count.
    pub(crate) async fn renew_presence_lease(&self) -> Result<(), StorageError> {
        let replica = &self.inner.options.replica;
        let mut txn = self.inner.store.begin().await?;
        txn.acquire_lease(&format!("presence:{replica}"), replica, LEASE_DURATION).await?;
        txn.commit().await
    }

    /// Renews the lease for the holds of this replica, and takes those of dead replicas away. [`run`](Self::run) calls it.
    pub async fn settle_presence(&self) -> Result<(), StorageError> {
        let replica = &self.inner.options.replica;
        let mut txn = self.inner.store.begin().await?;
        txn.acquire_lease(&format!("presence:{replica}"), replica, LEASE_DURATION).await?;
        txn.delete_stale_presence_holds(self.inner.clock.now_ms()).await?;
        txn.commit().await?;
        let unsettled = self.inner.store.reader().await?.list_unsettled_presence().await?;
        let now = self.inner.clock.now_ms();
        let due = {
            let seen = self.inner.presence.seen.lock();
            unsettled
                .into_iter()
                .map(|(user, user_id)| Due { user, user_id, state: seen.state(user, now) })
                .collect()
        };
        self.write_all_presence(due).await.map_err(|error| {
            tracing::debug!(%error, "could not settle presence");
            StorageError::Closed
        })
    }

    pub(crate) async fn run_presence(&self) {
        if !self.has_presence() {
            return;
        }
        let mut sweep = tokio::time::interval(SWEEP_INTERVAL);
        let mut lease = tokio::time::interval(LEASE_INTERVAL);
        for interval in [&mut sweep, &mut lease] {
            interval.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
        }
        loop {
            tokio::select! {
                () = self.inner.presence.wake.notified() => {
                    let due = self.inner.presence.seen.lock().take_dirty(self.inner.clock.now_ms());
                    report(self.write_all_presence(due).await);
                }
                _ = sweep.tick() => report(self.sweep_presence().await),
                _ = lease.tick() => report(self.settle_presence().await),
            }
        }
    }

    /// Takes note of changes of the log.
    pub(crate) fn apply_presence(&self, row: Arc<PresenceRow>, is_local: bool) {
        let presence = &self.inner.presence;
        if !is_local && presence.seen.lock().doubted(row.user, row.presence, self.inner.clock.now_ms()) {
            presence.wake.notify_one();
        }
        presence.recent.write().insert(row);
    }

    /// Forgets what changed so far, and begins anew after a position.
    pub(crate) fn start_presence(&self, position: Position) {
        self.inner.presence.recent.write().start(position);
    }

    async fn write_all_presence(&self, due: Vec<Due>) -> Result<(), EphemeralWriteError> {
        let writes = due.into_iter().map(|due| self.write_presence(due, StatusMsgChange::Keep));
        join_all(writes).await.into_iter().collect()
    }

    async fn write_presence(&self, due: Due, status_msg: StatusMsgChange) -> Result<(), EphemeralWriteError> {
        let update = PresenceUpdate {
            user: due.user,
            user_id: due.user_id,
            replica: self.inner.options.replica.clone(),
            hold: due.state.hold,
            status_msg,
            last_active_at: due.state.last_active_at,
            currently_active: due.state.currently_active,
            expires_at: None,
        };
        self.inner.writer.write(EphemeralWrite::Presence(update)).await?;
        self.inner.presence.seen.lock().written(due.user, due.state);
        Ok(())
    }
}

/// Whether a status message of another server is one that can be kept.
fn is_status_msg(text: &str) -> bool {
    text.len() <= MAX_STATUS_MSG_BYTES && !text.contains('\0')
}

/// What is not written now is found again by the next sweep.
fn report<E: std::error::Error>(outcome: Result<(), E>) {
    if let Err(error) = outcome {
        tracing::warn!(%error, "could not write presence; trying again");
    }
}
