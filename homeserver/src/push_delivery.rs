//! Sending notifications: a follower of the log that puts what users are to be told of into a queue, and sends what is in
//! the queue to push gateways, and by mail (`mail.rs`).
//!
//! One replica does this at a time, held by a lease. What to send is written down together with how far the log has been
//! looked at, and struck off when the gateway has it: whatever happens in between, nothing is lost; what is told twice has
//! the same event id.

mod digest;
mod gateway;
mod mail;
mod payload;

use std::{collections::HashSet, pin::Pin, sync::Arc, time::Duration};

use futures_util::{StreamExt as _, stream::FuturesUnordered};
use hs_model::{
    clock::{Clock, SystemClock},
    stream::Position,
};
use hs_outbound::Guard;
use hs_push::{JoinedRoom, Push, PusherKind};
use hs_rooms::Rooms;
use hs_storage::{
    StorageError, Store,
    pushers::{PusherRow, QueuedPush},
};
use metrics::gauge;
use rand::RngExt as _;
use rustls::ClientConfig;
use tokio::time::Instant;

use self::{gateway::Gateways, mail::Mails, payload::Target};
use crate::wiring::Foundation;

const LEASE_NAME: &str = "push-delivery";
/// How long a replica that has died holds the others up.
const LEASE: Duration = Duration::from_secs(10);
const RENEW_INTERVAL: Duration = Duration::from_secs(3);
/// How often to look whether there is anything to do at all, or whether a lease has lapsed.
const POLL_INTERVAL: Duration = Duration::from_secs(3);
/// How often to look for retries that have come due.
const RETRY_POLL_INTERVAL: Duration = Duration::from_secs(1);
/// What happens within this time is looked at together.
const GATHER_INTERVAL: Duration = Duration::from_millis(20);
/// How much of the log is looked at in one go.
const POSITIONS_PER_LOOK: i64 = 1_000;
/// Progress without anything to send is written down this often.
const PROGRESS_INTERVAL: Duration = Duration::from_secs(30);
/// To how many pushers is sent at the same time.
const MAX_SENDING: usize = 64;
/// How many notifications are sent to one pusher before others have their turn.
const PUSHES_PER_TURN: i64 = 20;
/// After a failure, the first retry comes this soon; then each time twice as late.
const FIRST_RETRY_MS: i64 = 1_000;
const LAST_RETRY_MS: i64 = 60 * 60 * 1_000;
/// What could not be sent for so long is news no longer.
const OUTDATED_MS: i64 = 24 * 60 * 60 * 1_000;

/// Sends notifications.
#[derive(Clone, Debug)]
struct Worker {
    store: Store,
    rooms: Rooms,
    push: Push,
    clock: Arc<dyn Clock>,
    gateways: Gateways,
    mails: Option<Mails>,
    /// This replica, as the holder of the lease.
    holder: String,
}

/// Starts sending.
pub(crate) fn start(
    foundation: &Foundation,
    rooms: &Rooms,
    push: &Push,
    tls: ClientConfig,
) -> anyhow::Result<()> {
    let worker = Worker {
        store: foundation.store.clone(),
        rooms: rooms.clone(),
        push: push.clone(),
        clock: Arc::new(SystemClock),
        gateways: Gateways::new(Guard::new(foundation.config.push.allowed_private_ranges.clone()), tls)?,
        mails: Mails::new(&foundation.config)?,
        holder: format!("{:016x}", rand::rng().random::<u64>()),
    };
    foundation.tasks.supervise("push delivery", move || {
        let worker = worker.clone();
        async move { worker.run().await }
    });
    Ok(())
}

type Sending<'a> = FuturesUnordered<Pin<Box<dyn Future<Output = Result<i64, StorageError>> + Send + 'a>>>;

impl Worker {
    async fn run(&self) -> Result<(), StorageError> {
        loop {
            if self.store.reader().await?.has_pushers().await? && self.renew_lease().await? {
                tokio::select! {
                    ended = self.hold_lease() => ended?,
                    ended = self.serve() => ended?,
                }
            }
            // Running out of time is what usually happens.
            let _ = tokio::time::timeout(POLL_INTERVAL, self.push.pusher_set()).await;
        }
    }

    async fn renew_lease(&self) -> Result<bool, StorageError> {
        let mut txn = self.store.begin().await?;
        let is_ours = txn.acquire_lease(LEASE_NAME, &self.holder, LEASE).await?;
        txn.commit().await?;
        Ok(is_ours)
    }

    /// Ends when the lease is lost.
    async fn hold_lease(&self) -> Result<(), StorageError> {
        loop {
            tokio::time::sleep(RENEW_INTERVAL).await;
            if !self.renew_lease().await? {
                return Ok(());
            }
        }
    }

    /// Follows the log and sends, until progress is made elsewhere.
    async fn serve(&self) -> Result<(), StorageError> {
        let mut progress = Progress::new(self.store.reader().await?.find_push_progress().await?);
        let mut log = self.store.tail().watch();
        let mut sending = Sending::new();
        let mut busy = HashSet::new();
        loop {
            if !self.follow(&mut progress, &mut busy, &mut sending).await? {
                return Ok(());
            }
            gauge!("kith_log_lag", "follower" => "push")
                .set((self.store.applied().0 - progress.seen.0).max(0) as f64);
            let free = MAX_SENDING.saturating_sub(sending.len());
            let due = self
                .store
                .reader()
                .await?
                .list_due_pushers(self.clock.now_ms(), MAX_SENDING as i64 * 2)
                .await?;
            for pusher in due.into_iter().take(free) {
                if busy.insert(pusher.nid) {
                    sending.push(Box::pin(self.send(pusher)));
                }
            }
            tokio::select! {
                Some(sent) = sending.next() => {
                    busy.remove(&sent?);
                }
                _ = log.changed() => tokio::time::sleep(GATHER_INTERVAL).await,
                () = tokio::time::sleep(RETRY_POLL_INTERVAL) => {}
            }
        }
    }

    /// Puts what is new in the log into the queue; `false` when another replica has taken over.
    async fn follow<'a>(
        &'a self,
        progress: &mut Progress,
        busy: &mut HashSet<i64>,
        sending: &mut Sending<'a>,
    ) -> Result<bool, StorageError> {
        let head = self.store.applied();
        while progress.seen < head {
            let until = Position(head.0.min(progress.seen.0 + POSITIONS_PER_LOOK));
            let mut reader = self.store.reader().await?;
            let mut candidates = reader.list_push_candidates(progress.seen, until).await?;
            let readers = reader.list_users_who_read(progress.seen, until).await?;
            let badges = if readers.is_empty() {
                Vec::new()
            } else {
                reader.list_pushers_with_badge(&readers).await?
            };
            drop(reader);
            self.push.retain_wanted(&mut candidates).await?;
            if !candidates.is_empty() || progress.written_at.elapsed() > PROGRESS_INTERVAL {
                let mut txn = self.store.begin().await?;
                txn.insert_queued_pushes(&candidates, self.clock.now_ms()).await?;
                if !txn.move_push_progress(progress.written, until).await? {
                    return Ok(false);
                }
                txn.commit().await?;
                *progress = Progress::new(until);
            }
            progress.seen = until;
            for pusher in badges {
                if busy.insert(pusher.nid) {
                    sending.push(Box::pin(self.send_badge(pusher)));
                }
            }
        }
        Ok(true)
    }

    /// Sends what waits for a pusher. Returns the pusher.
    async fn send(&self, pusher: PusherRow) -> Result<i64, StorageError> {
        let nid = pusher.nid;
        if PusherKind::parse(&pusher.pusher.kind) == Some(PusherKind::Email) {
            self.send_mail(&pusher).await?;
            return Ok(nid);
        }
        let Some(target) = Target::of(&pusher) else {
            self.strike_off(nid, Position(i64::MAX)).await?;
            return Ok(nid);
        };
        let waiting = self.store.reader().await?.list_queued_pushes(nid, PUSHES_PER_TURN).await?;
        for push in waiting {
            if let Some((body, badge)) = self.compose(&pusher, &target, &push).await?
                && !self.post(&pusher, &target, &body, badge).await?
            {
                return Ok(nid);
            }
            self.strike_off(nid, push.position).await?;
        }
        Ok(nid)
    }

    /// Tells a new count of unread messages. Returns the pusher.
    async fn send_badge(&self, pusher: PusherRow) -> Result<i64, StorageError> {
        let badge = self.push.badge(pusher.user).await?;
        if pusher.badge != Some(badge as i64)
            && let Some(target) = Target::of(&pusher)
        {
            self.post(&pusher, &target, &target.badge(badge), badge).await?;
        }
        Ok(pusher.nid)
    }

    /// What is to be sent, with the count of unread messages; `None` when it is news no longer.
    async fn compose(
        &self,
        pusher: &PusherRow,
        target: &Target,
        push: &QueuedPush,
    ) -> Result<Option<(serde_json::Value, u64)>, StorageError> {
        if self.clock.now_ms() - push.queued_at > OUTDATED_MS {
            return Ok(None);
        }
        let Some(room) = self.rooms.find_by_nid(push.room).await? else { return Ok(None) };
        let event = self.store.find_events(&[push.event]).await?.remove(&push.event);
        let Some(event) = event.filter(|event| event.redacted_by.is_none()) else { return Ok(None) };
        let joined = JoinedRoom { room: room.nid, room_id: &room.room_id };
        if self.push.ignores(pusher.user, event.sender_nid).await? {
            return Ok(None);
        }
        if self.push.has_read(pusher.user, joined, push.event).await? {
            return Ok(None);
        }
        let badge = self.push.badge(pusher.user).await?;
        let user_id = self.store.user_id(pusher.user).await?;
        let body = target.event(&self.rooms, &room, &event, push, (&user_id, badge)).await?;
        Ok(Some((body, badge)))
    }

    /// Sends one notification; `false` when it has to wait, or when the pusher is gone.
    async fn post(
        &self,
        pusher: &PusherRow,
        target: &Target,
        body: &serde_json::Value,
        badge: u64,
    ) -> Result<bool, StorageError> {
        let outcome = self.gateways.notify(&target.url, body).await;
        let mut txn = self.store.begin().await?;
        let is_taken = match outcome {
            Ok(rejected) if rejected.contains(&pusher.pusher.pushkey) => {
                tracing::info!(app_id = pusher.pusher.app_id, "the gateway rejected a pusher: removing it");
                txn.delete_pusher(pusher.user, &pusher.pusher.app_id, &pusher.pusher.pushkey).await?;
                false
            }
            Ok(_) => {
                txn.note_pusher_success(pusher.nid, Some(badge as i64)).await?;
                true
            }
            Err(error) => {
                tracing::info!(%error, app_id = pusher.pusher.app_id, "could not send a notification");
                let (failures, retry_at) = self.next_retry(pusher);
                txn.set_pusher_retry(pusher.nid, failures, retry_at).await?;
                false
            }
        };
        txn.commit().await?;
        Ok(is_taken)
    }

    /// How often sending will have failed, and when to try again.
    fn next_retry(&self, pusher: &PusherRow) -> (i32, i64) {
        let delay = FIRST_RETRY_MS.saturating_mul(1 << pusher.failures.clamp(0, 20)).min(LAST_RETRY_MS);
        (pusher.failures.saturating_add(1), self.clock.now_ms() + delay)
    }

    async fn strike_off(&self, pusher: i64, up_to: Position) -> Result<(), StorageError> {
        let mut txn = self.store.begin().await?;
        txn.delete_queued_pushes(pusher, up_to).await?;
        txn.commit().await
    }
}

/// How far the log has been looked at.
#[derive(Debug)]
struct Progress {
    /// In fact.
    seen: Position,
    /// As written down, and when.
    written: Position,
    written_at: Instant,
}

impl Progress {
    fn new(position: Position) -> Self {
        Self { seen: position, written: position, written_at: Instant::now() }
    }
}
