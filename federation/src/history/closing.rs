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
use tokio::{
    sync::{Notify, Semaphore},
    time::{Instant, sleep, timeout},
};
use tokio_util::task::TaskTracker;

use super::{History, LIMIT, MAX_SERVERS, PATIENCE};
use crate::graph::in_order;

/// In how many rooms at once.
const ROOMS_AT_ONCE: usize = 4;
/// How often a worker tries, how long it waits before it does so first, and at most: servers are away for a while, and what is
/// on its way is better had from who sends it, since it is news then.
const MAX_ATTEMPTS: usize = 12;
const FIRST_PAUSE: Duration = Duration::from_secs(5);
const LAST_PAUSE: Duration = Duration::from_mins(30);
/// So many attempts are put off while anything waits in the room: no more, since an event that nobody can place waits for most
/// of a day.
const PATIENT_ATTEMPTS: usize = 2;
/// How often one attempt follows holes back, and with how many requests each time.
const MAX_PASSES: usize = 4;
const MAX_REQUESTS: usize = 50;
/// How large the events of one pass may be together, and how long it asks.
const MAX_BYTES: usize = 16 * 1024 * 1024;
const MAX_TIME: Duration = Duration::from_mins(1);
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

/// Leaves a room to the next worker, however this one ends.
struct Active<'a> {
    inner: &'a Inner,
    room: RoomNid,
    news: Arc<Notify>,
}

impl Active<'_> {
    /// Ends the work, unless there is more to do.
    fn ends(&self) -> bool {
        let mut active = self.inner.active.lock();
        if self.news.notified().now_or_never().is_some() {
            return false;
        }
        active.remove(&self.room);
        true
    }
}

impl Drop for Active<'_> {
    fn drop(&mut self) {
        let mut active = self.inner.active.lock();
        if active.get(&self.room).is_some_and(|news| Arc::ptr_eq(news, &self.news)) {
            active.remove(&self.room);
        }
    }
}

/// What one pass has found.
#[derive(Default)]
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
        self.inner.tasks.spawn(async move {
            let active = Active { inner: &this.inner, room: room.nid, news };
            loop {
                this.work(&room).await;
                if active.ends() {
                    return;
                }
            }
        });
    }

    /// Tries until nothing is left that could be had, or too often.
    async fn work(&self, room: &Arc<Room>) {
        let history = &self.inner.history;
        let (mut pause, mut in_vain) = (FIRST_PAUSE, Vec::new());
        for attempt in 0..MAX_ATTEMPTS {
            sleep(pause).await;
            pause = (pause * 2).min(LAST_PAUSE);
            if !history.rooms.wait_whole(room, PATIENCE).await {
                continue;
            }
            // Nobody closes the semaphore.
            let _permit = self.inner.permits.acquire().await;
            match history.close(room, attempt, &mut in_vain).await {
                Ok(true) => return,
                Ok(false) => {}
                Err(error) => {
                    tracing::warn!(%error, room_id = %room.room_id, "could not close a hole in a room");
                }
            }
        }
    }
}

impl History {
    /// Fetches what is missing since this server came into a room, from one server after the other, in another order at each
    /// attempt. What nobody has is noted in `in_vain`. `false` when it is worth another attempt.
    async fn close(
        &self,
        room: &Arc<Room>,
        attempt: usize,
        in_vain: &mut Vec<OwnedEventId>,
    ) -> Result<bool, StorageError> {
        if attempt < PATIENT_ATTEMPTS && self.rooms.store().reader().await?.has_staged_pdus(room.nid).await? {
            return Ok(false);
        }
        let mut has_failed = false;
        for _ in 0..MAX_PASSES {
            let missing = self.rooms.missing_since_entrance(room, in_vain).await?;
            if missing.is_empty() {
                return Ok(!has_failed);
            }
            let mut servers = self.servers(room, &missing);
            let turn = attempt % servers.len().max(1);
            servers.rotate_left(turn);
            let found = self.follow_back(room, &missing, servers).await?;
            let is_cut_short = found.has_failed;
            let (taken, is_refused) = self.take_in_found(room, found).await;
            has_failed |= is_cut_short || is_refused;
            if taken == 0 {
                if is_cut_short || is_refused {
                    return Ok(false);
                }
                in_vain.extend(missing.into_iter().map(|event| event.event_id));
            }
        }
        Ok(false)
    }

    /// Takes in what was found, oldest first: how many events were new, and whether some of it could not be taken.
    async fn take_in_found(&self, room: &Arc<Room>, found: Found) -> (usize, bool) {
        let (mut taken, mut is_refused) = (0, false);
        let Some(giver) = found.giver else { return (taken, is_refused) };
        let events = in_order(found.events);
        tracing::debug!(room_id = %room.room_id, %giver, count = events.len(), "closing a hole");
        for events in events.chunks(WRITTEN_AT_ONCE) {
            let _turn = self.turn_of(room).lock_owned().await;
            match timeout(LIMIT, self.take_in(room, &giver, events.to_vec())).await {
                Ok(Ok(count)) => taken += count,
                Ok(Err(error)) => {
                    tracing::debug!(%error, %giver, room_id = %room.room_id, "a hole stays open");
                    is_refused = true;
                }
                Err(_) => is_refused = true,
            }
        }
        (taken, is_refused)
    }

    /// Asks for missing events, and for what these name in their turn, until that is here.
    async fn follow_back(
        &self,
        room: &Arc<Room>,
        missing: &[MissingEvent],
        servers: Vec<OwnedServerName>,
    ) -> Result<Found, StorageError> {
        let entrance = self.rooms.entrance_depth(room).await?;
        let mut servers = servers.into_iter().take(MAX_SERVERS);
        let mut found = Found::default();
        let mut wanted: Vec<OwnedEventId> = missing.iter().map(|event| event.event_id.clone()).collect();
        let (mut server, mut bytes, begun_at) = (servers.next(), 0, Instant::now());
        for _ in 0..MAX_REQUESTS {
            let Some(asked) = &server else { break };
            wanted.truncate(NAMED_AT_ONCE);
            let count = found.events.len();
            match self.backfill(room, asked, wanted.clone()).await {
                Ok(events) => {
                    let ids: Vec<&EventId> = events.iter().map(|pdu| pdu.event_id()).collect();
                    let placed = self.list_placed(&ids).await?;
                    for pdu in events.into_iter().filter(|pdu| !placed.contains(pdu.event_id())) {
                        bytes += pdu.json().len();
                        found.events.insert(pdu.event_id().to_owned(), pdu);
                    }
                }
                Err(error) => {
                    tracing::debug!(%error, server = %asked, room_id = %room.room_id, "no history from a server");
                    found.has_failed = true;
                }
            }
            if found.events.len() == count {
                server = servers.next();
            } else {
                found.giver.clone_from(&server);
                wanted = self.ends_of(&found.events, entrance).await?;
            }
            if wanted.is_empty() || bytes > MAX_BYTES || begun_at.elapsed() > MAX_TIME {
                break;
            }
        }
        Ok(found)
    }

    /// Which of some events have a place here.
    async fn list_placed(&self, ids: &[&EventId]) -> Result<HashSet<OwnedEventId>, StorageError> {
        let known = self.rooms.store().reader().await?.find_graph_nodes(ids).await?;
        let placed = known.into_iter().filter(|(_, node)| node.state_before.is_some());
        Ok(placed.map(|(id, _)| id).collect())
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
        let placed = self.list_placed(&ends).await?;
        ends.retain(|id| !placed.contains(*id));
        Ok(ends.into_iter().map(ToOwned::to_owned).collect())
    }
}
