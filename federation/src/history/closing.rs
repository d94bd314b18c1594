//! Holes in what happened since this server came into a room, closed without anybody asking.
//!
//! An event that was taken in on another server's word for the state before it leaves a hole behind. It is followed back to
//! what is here, so that state need not be asked for event by event, and then taken in from there on.

use std::{
    collections::{HashMap, HashSet, hash_map::Entry},
    sync::Arc,
    time::Duration,
};

use futures_util::FutureExt as _;
use hs_model::ids::RoomNid;
use hs_room_rules::pdu::Pdu;
use hs_rooms::Room;
use hs_storage::{StorageError, graph::MissingEvent};
use parking_lot::Mutex;
use ruma::{EventId, OwnedEventId, OwnedServerName};
use tokio::sync::{Notify, Semaphore};
use tokio_util::task::TaskTracker;

use super::{History, MAX_SERVERS, PATIENCE};
use crate::graph::in_order;

/// In how many rooms at once.
const ROOMS_AT_ONCE: usize = 2;
/// How often a hole is tried, the first pause between two attempts, and the longest: servers are away for a while.
const MAX_ATTEMPTS: u32 = 12;
const FIRST_PAUSE: Duration = Duration::from_secs(10);
const LAST_PAUSE: Duration = Duration::from_mins(30);
/// How many requests one pass over a room makes, and how many passes there are: so much is missing at most.
const MAX_REQUESTS: usize = 50;
const MAX_PASSES: usize = 4;
/// How large the events of one pass may be together.
const MAX_BYTES: usize = 16 * 1024 * 1024;
/// How many missing events are named in a request.
const NAMED_AT_ONCE: usize = 20;
/// How many events are written together.
const WRITTEN_AT_ONCE: usize = 200;

/// Closes holes in the background. Cloning is cheap.
#[derive(Clone, Debug)]
pub struct Closing {
    inner: Arc<Inner>,
}

#[derive(Debug)]
struct Inner {
    history: History,
    /// The rooms that are worked on, and how their workers hear that there is more to do.
    active: Mutex<HashMap<RoomNid, Arc<Notify>>>,
    permits: Semaphore,
    tasks: TaskTracker,
}

/// What one pass has found.
struct Found {
    events: HashMap<OwnedEventId, Arc<Pdu>>,
    /// Who gave the last of them.
    giver: Option<OwnedServerName>,
    /// Whether a server that might have had more did not answer.
    has_failed: bool,
}

impl Closing {
    /// Closes holes in the rooms of `history`.
    pub fn new(history: History) -> Self {
        let (active, permits, tasks) = (Mutex::default(), Semaphore::new(ROOMS_AT_ONCE), TaskTracker::new());
        Self { inner: Arc::new(Inner { history, active, permits, tasks }) }
    }

    /// Begins with what was left open before the start.
    pub async fn resume(&self) -> Result<(), StorageError> {
        let rooms = &self.inner.history.rooms;
        for nid in rooms.list_rooms_with_holes().await? {
            if let Some(room) = rooms.find_by_nid(nid).await? {
                self.wake(&room);
            }
        }
        Ok(())
    }

    /// There may be a hole in a room.
    pub(crate) fn wake(&self, room: &Arc<Room>) {
        let news = match self.inner.active.lock().entry(room.nid) {
            Entry::Occupied(active) => return active.get().notify_one(),
            Entry::Vacant(idle) => idle.insert(Arc::default()).clone(),
        };
        let (this, room) = (self.clone(), room.clone());
        self.inner.tasks.spawn(async move { this.work(&room, &news).await });
    }

    async fn work(&self, room: &Arc<Room>, news: &Notify) {
        let mut pause = FIRST_PAUSE;
        for attempt in 1..=MAX_ATTEMPTS {
            // What was asked for up to now is part of this attempt.
            let _ = news.notified().now_or_never();
            let is_closed = {
                // Nobody closes the semaphore.
                let _permit = self.inner.permits.acquire().await;
                self.inner.history.close(room).await.unwrap_or_else(|error| {
                    tracing::warn!(%error, room_id = %room.room_id, "could not close a hole in a room");
                    false
                })
            };
            {
                let mut active = self.inner.active.lock();
                let has_news = is_closed && news.notified().now_or_never().is_some();
                if !has_news && (is_closed || attempt == MAX_ATTEMPTS) {
                    active.remove(&room.nid);
                    return;
                }
            }
            let waited = tokio::time::timeout(pause, news.notified()).await;
            pause = if waited.is_ok() { FIRST_PAUSE } else { (pause * 2).min(LAST_PAUSE) };
        }
        self.inner.active.lock().remove(&room.nid);
    }
}

impl History {
    /// Fetches what is missing since this server came into a room. `false` when it is worth another attempt.
    async fn close(&self, room: &Arc<Room>) -> Result<bool, Box<dyn std::error::Error + Send + Sync>> {
        if !self.rooms.wait_whole(room, PATIENCE).await {
            return Ok(false);
        }
        let _turn = self.turn_of(room).lock_owned().await;
        let (mut in_vain, mut has_failed) = (Vec::new(), false);
        for _ in 0..MAX_PASSES {
            let missing = self.rooms.missing_since_entrance(room, &in_vain).await?;
            if missing.is_empty() {
                return Ok(!has_failed || in_vain.is_empty());
            }
            let found = self.follow_back(room, &missing).await?;
            has_failed |= found.has_failed;
            let mut taken = 0;
            if let Some(giver) = &found.giver {
                let events = in_order(found.events);
                tracing::debug!(room_id = %room.room_id, %giver, count = events.len(), "closing a hole");
                for events in events.chunks(WRITTEN_AT_ONCE) {
                    taken += self.take_in(room, giver, events.to_vec()).await?;
                }
            }
            if taken == 0 {
                in_vain.extend(missing.into_iter().map(|event| event.event_id));
            }
        }
        Ok(false)
    }

    /// Asks for missing events, and for what these name in their turn, until that is here.
    async fn follow_back(
        &self,
        room: &Arc<Room>,
        missing: &[MissingEvent],
    ) -> Result<Found, Box<dyn std::error::Error + Send + Sync>> {
        let entrance = self.rooms.entrance_depth(room).await?;
        let mut servers = self.servers(room, missing).into_iter().take(MAX_SERVERS);
        let mut found = Found { events: HashMap::new(), giver: None, has_failed: false };
        let mut wanted: Vec<OwnedEventId> = missing.iter().map(|event| event.event_id.clone()).collect();
        let (mut server, mut bytes) = (servers.next(), 0);
        for _ in 0..MAX_REQUESTS {
            let Some(asked) = &server else { break };
            wanted.truncate(NAMED_AT_ONCE);
            let count = found.events.len();
            match self.backfill(room, asked, wanted.clone()).await {
                Ok(events) => {
                    bytes += events.iter().map(|pdu| pdu.json().len()).sum::<usize>();
                    found.events.extend(events.into_iter().map(|pdu| (pdu.event_id().to_owned(), pdu)));
                }
                Err(error) => {
                    tracing::debug!(%error, server = %asked, room_id = %room.room_id, "no history from a server");
                    found.has_failed = true;
                }
            }
            if found.events.len() == count {
                server = servers.next();
                continue;
            }
            found.giver.clone_from(&server);
            wanted = self.ends_of(&found.events, entrance).await?;
            if wanted.is_empty() || bytes > MAX_BYTES {
                break;
            }
        }
        Ok(found)
    }

    /// What the events name as their predecessors that is neither among them nor here, those named by the deepest first. What
    /// was before the entrance is not followed.
    async fn ends_of(
        &self,
        events: &HashMap<OwnedEventId, Arc<Pdu>>,
        entrance: i64,
    ) -> Result<Vec<OwnedEventId>, StorageError> {
        let mut later: Vec<&Arc<Pdu>> = events.values().filter(|pdu| pdu.depth() > entrance).collect();
        later.sort_by_key(|pdu| std::cmp::Reverse(pdu.depth()));
        let mut seen: HashSet<&EventId> = HashSet::new();
        let prev = later.iter().flat_map(|pdu| pdu.prev_events()).map(|id| &**id);
        let mut ends: Vec<&EventId> =
            prev.filter(|id| !events.contains_key(*id) && seen.insert(id)).collect();
        let known = self.rooms.store().reader().await?.find_graph_nodes(&ends).await?;
        ends.retain(|id| known.get(*id).is_none_or(|node| node.state_before.is_none()));
        Ok(ends.into_iter().map(ToOwned::to_owned).collect())
    }
}
