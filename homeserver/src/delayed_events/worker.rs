//! Sending what is due.

use std::{collections::HashMap, time::Duration};

use futures_util::{StreamExt as _, TryStreamExt as _, stream};
use hs_model::ids::RoomNid;
use hs_storage::{StorageError, delayed_events::DelayedOutcome};
use tokio::time::Instant;

use super::{DelayedEvents, MAX_SENDING, Undelivered, overwritten};

/// How often to look for what other replicas have scheduled, and may not live to send.
const POLL_INTERVAL: Duration = Duration::from_secs(5);
/// How long to wait when others are at it, or after a failure.
const PAUSE: Duration = Duration::from_millis(200);
/// How many events are looked up at once.
const EVENTS_PER_LOOK: i64 = 200;
/// How long finalised events are kept, and how many of each user.
const KEPT_FOR_MS: i64 = 7 * 24 * 60 * 60 * 1_000;
const KEPT_PER_USER: i64 = 1_000;
const PRUNE_INTERVAL: Duration = Duration::from_hours(1);

impl DelayedEvents {
    /// Sends what is due, for as long as the server runs.
    pub(crate) async fn run(&self) -> Result<(), StorageError> {
        let mut pruned_at = None::<Instant>;
        loop {
            let is_held_up = !self.send_due().await?;
            if pruned_at.is_none_or(|at| at.elapsed() > PRUNE_INTERVAL) {
                self.prune().await?;
                pruned_at = Some(Instant::now());
            }
            let next = self.inner.store.reader().await?.find_next_delayed().await?;
            let wait = next.map_or(POLL_INTERVAL, |at| {
                Duration::from_millis(u64::try_from(at - self.now()).unwrap_or(0)).min(POLL_INTERVAL)
            });
            if is_held_up {
                tokio::time::sleep(PAUSE).await;
            } else if !wait.is_zero() {
                // Running out of time is what usually happens.
                let _ = tokio::time::timeout(wait, self.inner.wake.notified()).await;
            }
        }
    }

    /// Sends what is due: in each room one after the other, in the order of their times. `false` when others hold
    /// something up.
    async fn send_due(&self) -> Result<bool, StorageError> {
        let due = self.inner.store.reader().await?.list_due_delayed(self.now(), EVENTS_PER_LOOK).await?;
        let mut order = Vec::new();
        let mut by_room: HashMap<RoomNid, Vec<i64>> = HashMap::new();
        for (nid, room) in due {
            by_room
                .entry(room)
                .or_insert_with(|| {
                    order.push(room);
                    Vec::new()
                })
                .push(nid);
        }
        let rooms = order.into_iter().filter_map(|room| by_room.remove(&room));
        stream::iter(rooms)
            .map(|nids| self.send_in_room(nids))
            .buffer_unordered(MAX_SENDING)
            .try_fold(true, async |all, sent| Ok(all && sent))
            .await
    }

    /// Stops at the first event that somebody else is about to send, or that could not be sent this time: what comes
    /// after it waits for it.
    async fn send_in_room(&self, nids: Vec<i64>) -> Result<bool, StorageError> {
        for nid in nids {
            if !self.send_one(nid).await? {
                return Ok(false);
            }
        }
        Ok(true)
    }

    async fn send_one(&self, nid: i64) -> Result<bool, StorageError> {
        let _permit = self.permit().await;
        let mut txn = self.inner.store.begin().await?;
        if !txn.take_due_delayed(nid, self.now()).await? {
            return Ok(false);
        }
        txn.end_overwritten_delayed((None, Some(nid)), &overwritten(), self.now()).await?;
        let event = txn.find_delayed_event(nid).await?;
        if let Some(event) = event.filter(|event| event.finalised_at.is_none()) {
            match self.deliver(&event).await {
                Ok(event_id) => {
                    let outcome = DelayedOutcome::Sent(event_id.as_str());
                    txn.finalise_delayed(nid, outcome, self.now()).await?;
                }
                Err(Undelivered::Refused(error)) => {
                    let body = error.body().to_string();
                    txn.finalise_delayed(nid, DelayedOutcome::Failed(&body), self.now()).await?;
                }
                Err(Undelivered::Failed(error)) => {
                    tracing::warn!(%error, room_id = %event.room_id, "could not send a delayed event; trying again");
                    return Ok(false);
                }
            }
        }
        txn.commit().await?;
        Ok(true)
    }

    async fn prune(&self) -> Result<(), StorageError> {
        let mut txn = self.inner.store.begin().await?;
        txn.delete_finalised_delayed(self.now() - KEPT_FOR_MS, KEPT_PER_USER).await?;
        txn.commit().await
    }
}
