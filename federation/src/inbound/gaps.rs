//! Events whose predecessors are missing: these are fetched, first the events themselves, then, where the gap is too wide,
//! the state before what is on this side of it.
//!
//! A server is asked for no more than the bounds below, whatever it sends: rubbish costs only who sent it.
//!
//! <https://spec.matrix.org/v1.19/server-server-api/#backfilling-and-retrieving-missing-events>

use std::{
    collections::{HashMap, HashSet, hash_map::Entry},
    sync::Arc,
    time::Duration,
};

use hs_model::{clock::Clock, ids::RoomNid};
use hs_room_rules::pdu::{Pdu, Stored};
use hs_rooms::{
    Room, Rooms, WriteError,
    receive::{Incoming, PduOutcome},
};
use hs_storage::{StorageError, staged_pdus::StagedPdu};
use parking_lot::Mutex;
use ruma::{
    EventId, OwnedEventId, OwnedServerName, ServerName, UInt, api::federation::event::get_missing_events,
};
use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tokio_util::task::TaskTracker;

use super::fetch::{Fetch, FetchError};
use crate::{Limits, RequestError, graph::in_order, history::Closing};

/// Whoever takes up waiting events has this long before somebody else may.
const WORKING_TIME_MS: i64 = 120_000;
/// How many waiting events of a server in a room are taken up at once.
const AT_ONCE: i64 = 100;
/// How often a gap is tried: for most of a day, since the event was acknowledged, and an outage must not lose it.
const MAX_ATTEMPTS: i32 = 18;
/// How long after a failure it is tried again: so often after this time, then each time after twice as long.
const FIRST_RETRY_MS: i64 = 15_000;
const EARLY_ATTEMPTS: i32 = 6;
/// How long an event is left alone in a room whose members are not known yet.
const NOT_WHOLE_MS: i64 = 60_000;
/// How many gaps of one server are worked on at the same time, over all rooms: each may hold the state of a large room.
const GAPS_OF_ORIGIN: usize = 2;
/// How many events of a gap are asked for in one go, and how often.
const MISSING_PER_ROUND: u32 = 50;
const MAX_ROUNDS: usize = 10;
/// For how many events of a gap, the newest aside, another server is asked for the state before them, or what authorises them.
const MAX_HELPED: usize = 5;
/// How often waiting events are looked for that nobody works on, and in how many rooms, times servers, at once.
const LOOK_INTERVAL: Duration = Duration::from_secs(10);
const IDLE_PER_LOOK: i64 = 50;

/// Closes gaps. Cloning is cheap.
#[derive(Clone, Debug)]
pub struct Gaps {
    inner: Arc<Inner>,
}

#[derive(Debug)]
struct Inner {
    rooms: Rooms,
    fetch: Fetch,
    closing: Closing,
    clock: Arc<dyn Clock>,
    /// Whose events are worked on in which rooms, and whether something has come since these were looked at. Each server's
    /// events have their own worker: who answers slowly holds up nobody else's.
    active: Mutex<HashMap<(RoomNid, OwnedServerName), bool>>,
    /// How many gaps of each server may be worked on at the same time.
    permits: Mutex<HashMap<OwnedServerName, Arc<Semaphore>>>,
    tasks: TaskTracker,
}

/// Why a gap was not closed.
#[derive(Debug, thiserror::Error)]
enum GapError {
    #[error("the other server does not help: {0}")]
    Fetch(#[from] FetchError),
    #[error("something is still missing")]
    Incomplete,
    #[error("{0}")]
    Refused(String),
    #[error("most of the room's members are not known yet")]
    NotWhole,
    #[error(transparent)]
    Write(#[from] WriteError),
    #[error(transparent)]
    Storage(#[from] StorageError),
}

impl Gaps {
    /// Closes gaps in `rooms`.
    pub fn new(rooms: Rooms, fetch: Fetch, closing: Closing, clock: Arc<dyn Clock>) -> Self {
        let (active, permits, tasks) = (Mutex::default(), Mutex::default(), TaskTracker::new());
        Self { inner: Arc::new(Inner { rooms, fetch, closing, clock, active, permits, tasks }) }
    }

    /// Until when events that are written down now are left to who wrote them.
    pub(crate) fn retry_at(clock: &dyn Clock) -> i64 {
        clock.now_ms() + WORKING_TIME_MS
    }

    /// Looks after events that nobody works on any more, until the future is dropped.
    pub async fn run(&self) -> Result<(), StorageError> {
        self.inner.closing.resume().await?;
        loop {
            let now = self.inner.clock.now_ms();
            let idle = self.inner.rooms.store().reader().await?.list_idle_staged(now, IDLE_PER_LOOK).await?;
            for (nid, origin) in idle {
                if let Some(room) = self.inner.rooms.find_by_nid(nid).await? {
                    self.wake(&room, &origin);
                }
            }
            tokio::time::sleep(LOOK_INTERVAL).await;
        }
    }

    /// What waits in a room may have what it waits for.
    pub(crate) async fn wake_all(&self, room: &Arc<Room>) -> Result<(), StorageError> {
        let mut txn = self.inner.rooms.store().begin().await?;
        let origins = txn.renew_staged_pdus(room.nid, self.inner.clock.now_ms()).await?;
        txn.commit().await?;
        for origin in origins {
            self.wake(room, &origin);
        }
        Ok(())
    }

    /// Something waits in a room that a server has sent.
    pub(crate) fn wake(&self, room: &Arc<Room>, origin: &ServerName) {
        let key = (room.nid, origin.to_owned());
        // Under one lock, so that there are never two at work on the same events.
        match self.inner.active.lock().entry(key.clone()) {
            Entry::Occupied(mut has_news) => {
                has_news.insert(true);
                return;
            }
            Entry::Vacant(idle) => {
                idle.insert(false);
            }
        }
        let (this, room) = (self.clone(), room.clone());
        self.inner.tasks.spawn(async move {
            loop {
                if let Err(error) = this.work_off(&room, &key.1).await {
                    tracing::warn!(%error, room_id = %room.room_id, "could not work off what waits in a room");
                    this.inner.active.lock().remove(&key);
                    return;
                }
                let mut active = this.inner.active.lock();
                if active.insert(key.clone(), false) != Some(true) {
                    active.remove(&key);
                    return;
                }
            }
        });
    }

    /// Waits until fewer gaps of a server are worked on than may be at once.
    async fn permit(&self, origin: &ServerName) -> Option<OwnedSemaphorePermit> {
        let semaphore = {
            let mut permits = self.inner.permits.lock();
            permits.retain(|server, semaphore| server == origin || Arc::strong_count(semaphore) > 1);
            let new = || Arc::new(Semaphore::new(GAPS_OF_ORIGIN));
            permits.entry(origin.to_owned()).or_insert_with(new).clone()
        };
        // It is never closed.
        semaphore.acquire_owned().await.ok()
    }

    async fn work_off(&self, room: &Arc<Room>, origin: &ServerName) -> Result<(), StorageError> {
        let store = self.inner.rooms.store();
        loop {
            let now = self.inner.clock.now_ms();
            let mut txn = store.begin().await?;
            let times = (now, now + WORKING_TIME_MS);
            let staged = txn.take_staged_pdus((room.nid, origin), times, AT_ONCE).await?;
            txn.commit().await?;
            if staged.is_empty() {
                return Ok(());
            }
            // Servers found to be down, so that what they sent does not wait for each of their timeouts.
            let mut down: HashSet<OwnedServerName> = HashSet::new();
            for pdu in staged {
                let helper = self.helper(room, &pdu);
                let settled = if down.contains(&helper) {
                    Err(GapError::Fetch(RequestError::BackingOff.into()))
                } else {
                    let _permit = self.permit(origin).await;
                    self.settle(room, &pdu, &helper).await
                };
                if matches!(&settled, Err(GapError::Fetch(FetchError::Request(error))) if error.is_outage()) {
                    down.insert(helper);
                }
                let now = self.inner.clock.now_ms();
                let mut txn = store.begin().await?;
                match settled {
                    // Waiting is no failure; whoever makes the room whole has this looked at again.
                    Err(GapError::NotWhole) => {
                        txn.postpone_staged_pdu(&pdu.event_id, now + NOT_WHOLE_MS, i32::MAX).await?;
                    }
                    Ok(()) => txn.delete_staged_pdus(std::slice::from_ref(&pdu.event_id)).await?,
                    Err(error) => {
                        tracing::debug!(%error, event_id = %pdu.event_id, origin = %pdu.origin, "a gap stays open");
                        let late = (pdu.attempts - EARLY_ATTEMPTS).clamp(0, 20);
                        let retry_at = now + (FIRST_RETRY_MS << late);
                        let is_kept = txn.postpone_staged_pdu(&pdu.event_id, retry_at, MAX_ATTEMPTS).await?;
                        if !is_kept {
                            tracing::info!(
                                event_id = %pdu.event_id, room_id = %room.room_id, origin = %pdu.origin, %error,
                                "gave up an event whose predecessors cannot be had"
                            );
                        }
                    }
                }
                txn.commit().await?;
            }
        }
    }

    /// Who is asked for what is missing before an event: the server that sent it, and, where that did not help, in turn with
    /// others that are in the room and have been answering.
    fn helper(&self, room: &Room, staged: &StagedPdu) -> OwnedServerName {
        let attempts = usize::try_from(staged.attempts).unwrap_or_default();
        let client = self.inner.fetch.client();
        let is_away = client.is_away(&staged.origin);
        if attempts % 2 == 0 && !is_away {
            return staged.origin.clone();
        }
        let turn = if is_away { attempts } else { attempts / 2 };
        let own = self.inner.rooms.server_name();
        let is_able =
            |server: &OwnedServerName| *server != *own && *server != staged.origin && !client.is_away(server);
        let mut others: Vec<_> = room.servers().into_iter().filter(is_able).collect();
        if others.is_empty() {
            return staged.origin.clone();
        }
        others.sort();
        others.swap_remove(turn % others.len())
    }

    /// Brings one event into the room, with whatever is missing before it, which `helper` is asked for.
    async fn settle(
        &self,
        room: &Arc<Room>,
        staged: &StagedPdu,
        helper: &OwnedServerName,
    ) -> Result<(), GapError> {
        let stored = Stored {
            json: staged.json.clone().into(),
            event_id: staged.event_id.clone(),
            room_id: room.room_id.clone(),
            is_rejected: false,
        };
        // It was read once before it was written down.
        let Ok(pdu) = Pdu::from_stored(stored, room.rules) else { return Ok(()) };
        let pdu = Arc::new(pdu);
        let incoming = Incoming { pdu: pdu.clone(), state_before: None };
        let outcome = self.inner.rooms.receive(room, vec![incoming]).await?.pop();
        match outcome {
            Some(PduOutcome::MissingPrev(_)) => {
                let mut events = self.fetch_missing(room, helper, &pdu).await;
                events.push(pdu);
                self.take_in(room, helper, events).await
            }
            Some(PduOutcome::MissingAuth(_)) => self.take_in(room, helper, vec![pdu]).await,
            _ => Ok(()),
        }
    }

    /// The events between what is here and an event, as far as the server gives them. None when it does not: then the state
    /// has to do.
    async fn fetch_missing(
        &self,
        room: &Arc<Room>,
        origin: &OwnedServerName,
        pdu: &Arc<Pdu>,
    ) -> Vec<Arc<Pdu>> {
        let mut found: HashMap<OwnedEventId, Arc<Pdu>> = HashMap::new();
        let mut latest = vec![pdu.event_id().to_owned()];
        for _ in 0..MAX_ROUNDS {
            let Ok(earliest) = self.inner.rooms.list_extremities(room).await else { break };
            let mut request = get_missing_events::v1::Request::new(room.room_id.clone(), earliest, latest);
            request.limit = UInt::from(MISSING_PER_ROUND);
            let answer = self.inner.fetch.client().send(origin, request, Limits::default()).await;
            let Ok(answer) = answer else { break };
            let texts =
                answer.events.iter().take(MISSING_PER_ROUND as usize).map(|event| event.get().to_owned());
            let new: Vec<_> = self.inner.fetch.verify(room, texts.collect()).await;
            let count = found.len();
            found.extend(new.into_iter().map(|pdu| (pdu.event_id().to_owned(), pdu)));
            if found.len() == count {
                break;
            }
            match self.frontier(&found).await {
                Ok(frontier) if !frontier.is_empty() => latest = frontier,
                _ => break,
            }
        }
        found.remove(pdu.event_id());
        in_order(found)
    }

    /// Those of the events that have predecessors which are neither among them nor here.
    async fn frontier(
        &self,
        found: &HashMap<OwnedEventId, Arc<Pdu>>,
    ) -> Result<Vec<OwnedEventId>, StorageError> {
        let prev: HashSet<&EventId> =
            found.values().flat_map(|pdu| pdu.prev_events()).map(|id| &**id).collect();
        let prev: Vec<&EventId> = prev.into_iter().filter(|id| !found.contains_key(*id)).collect();
        let known = self.inner.rooms.store().reader().await?.find_graph_nodes(&prev).await?;
        let is_known = |id: &OwnedEventId| {
            found.contains_key(id) || known.get(id).is_some_and(|node| node.state_before.is_some())
        };
        let mut frontier: Vec<_> =
            found.values().filter(|pdu| !pdu.prev_events().iter().all(is_known)).collect();
        frontier.sort_by_key(|pdu| pdu.depth());
        Ok(frontier.into_iter().take(20).map(|pdu| pdu.event_id().to_owned()).collect())
    }

    /// Takes in events, oldest first, fetching the state before those whose predecessors stay missing. It is the last one that
    /// counts: the server that sent it must know the state before that, but need not for each of those before it.
    async fn take_in(
        &self,
        room: &Arc<Room>,
        helper: &OwnedServerName,
        events: Vec<Arc<Pdu>>,
    ) -> Result<(), GapError> {
        let Some(last) = events.last().map(|pdu| pdu.event_id().to_owned()) else { return Ok(()) };
        let (mut queue, mut helped, mut is_last_authorised) = (events, 0, false);
        loop {
            let incoming =
                queue.iter().map(|pdu| Incoming { pdu: pdu.clone(), state_before: None }).collect();
            let outcomes = self.inner.rooms.receive(room, incoming).await?;
            let waiting: Vec<_> =
                queue.into_iter().zip(outcomes).filter(|(_, outcome)| is_stuck(outcome)).collect();
            if waiting.iter().all(|(pdu, _)| pdu.event_id() != last) {
                return Ok(());
            }
            // Those before the first that could be helped are left out: nothing has changed for them.
            let mut rest = waiting.into_iter();
            queue = loop {
                let Some((pdu, outcome)) = rest.next() else { return Err(GapError::Incomplete) };
                let is_last = pdu.event_id() == last;
                let is_hopeless = if is_last {
                    is_last_authorised && matches!(outcome, PduOutcome::MissingAuth(_))
                } else {
                    helped >= MAX_HELPED
                };
                if is_hopeless {
                    continue;
                }
                helped += 1;
                match self.help(room, helper, &pdu, outcome).await {
                    Ok(Helped::TakenIn) if is_last => return Ok(()),
                    Ok(Helped::TakenIn) => break rest.map(|(pdu, _)| pdu).collect(),
                    Ok(Helped::KnowsAuth) => {
                        is_last_authorised |= is_last;
                        break std::iter::once(pdu).chain(rest.map(|(pdu, _)| pdu)).collect();
                    }
                    Err(GapError::Fetch(_) | GapError::Incomplete | GapError::Refused(_)) if !is_last => {}
                    Err(error) => return Err(error),
                }
            };
        }
    }

    /// Does what an event waits for.
    async fn help(
        &self,
        room: &Arc<Room>,
        helper: &OwnedServerName,
        pdu: &Arc<Pdu>,
        outcome: PduOutcome,
    ) -> Result<Helped, GapError> {
        match outcome {
            PduOutcome::MissingAuth(missing) => {
                self.inner.fetch.auth_events(room, helper, pdu, &missing).await?;
                Ok(Helped::KnowsAuth)
            }
            _ if room.read().is_partial() => Err(GapError::NotWhole),
            _ => self.take_told(room, helper, pdu).await.map(|()| Helped::TakenIn),
        }
    }

    /// Takes in an event upon another server's word for the state before it.
    async fn take_told(
        &self,
        room: &Arc<Room>,
        helper: &OwnedServerName,
        pdu: &Arc<Pdu>,
    ) -> Result<(), GapError> {
        let state = self.inner.fetch.state_before(room, helper, pdu.event_id()).await?;
        let incoming = Incoming { pdu: pdu.clone(), state_before: Some(state) };
        match self.inner.rooms.receive(room, vec![incoming]).await?.pop() {
            Some(outcome) if is_stuck(&outcome) => Err(GapError::Incomplete),
            // The word may be wrong, and another server's better.
            Some(PduOutcome::Dropped(why)) => Err(GapError::Refused(why)),
            outcome => {
                if outcome == Some(PduOutcome::Accepted) {
                    self.inner.closing.wake(room);
                }
                Ok(())
            }
        }
    }
}

/// What was done for an event that waited.
enum Helped {
    /// It is part of the room now, or refused for good.
    TakenIn,
    /// What authorises it is here, as far as the other server gave it.
    KnowsAuth,
}

/// Whether an event waits for others.
fn is_stuck(outcome: &PduOutcome) -> bool {
    matches!(outcome, PduOutcome::MissingPrev(_) | PduOutcome::MissingAuth(_))
}
