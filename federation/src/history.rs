//! A room's past that this server does not have, fetched when somebody asks for it.
//!
//! <https://spec.matrix.org/v1.19/server-server-api/#backfilling-and-retrieving-missing-events>

mod by_time;
mod closing;

use std::{
    collections::{HashMap, HashSet},
    sync::Arc,
    time::Duration,
};

use hs_model::ids::RoomNid;
use hs_room_rules::pdu::Pdu;
use hs_rooms::{
    Room, Rooms, WriteError,
    access::Access,
    client_event::Viewer,
    paginate::{Page, PageRequest},
    receive::{Incoming, PduOutcome},
};
use hs_storage::{StorageError, events::Order, graph::MissingEvent};
use parking_lot::Mutex;
use ruma::{OwnedEventId, OwnedServerName, ServerName, UInt, api::federation::backfill::get_backfill};
use tokio::{
    sync::Mutex as AsyncMutex,
    time::{Instant, timeout_at},
};
use tokio_util::task::TaskTracker;

pub use closing::Closing;

use crate::{FederationClient, Limits, RequestError, graph::in_order, inbound::fetch::Fetch};

/// How many events are asked for in one go.
const PER_REQUEST: u32 = 100;
/// How often a page is read again after something was fetched.
const MAX_ROUNDS: usize = 10;
/// How often something is asked for in vain before a page is given as it is.
const MAX_VAIN_ROUNDS: usize = 2;
/// How many servers are asked.
const MAX_SERVERS: usize = 4;
/// How long whoever asked for a page is kept waiting for other servers.
const PATIENCE: Duration = Duration::from_secs(15);
/// How long one server may take with everything: the state of a large room takes its time.
const LIMIT: Duration = Duration::from_mins(3);
/// For how many of the fetched events the state before them is asked for: each open end of what was fetched needs one.
const MAX_STATES: usize = 5;

/// Pages of rooms, with what other servers have of them. Cloning is cheap.
#[derive(Clone, Debug)]
pub struct History {
    rooms: Rooms,
    client: FederationClient,
    fetch: Fetch,
    turns: Arc<Mutex<HashMap<RoomNid, Arc<AsyncMutex<()>>>>>,
    tasks: TaskTracker,
}

impl History {
    /// The history of `rooms`.
    pub fn new(rooms: Rooms, client: FederationClient, fetch: Fetch) -> Self {
        Self { rooms, client, fetch, turns: Arc::default(), tasks: TaskTracker::new() }
    }

    /// A page of a room's history; where it reaches what this server does not have, other servers are asked first.
    pub async fn page(
        &self,
        room: &Arc<Room>,
        viewer: &Viewer<'_>,
        access: &Access,
        request: PageRequest<'_>,
    ) -> Result<Page, StorageError> {
        if request.order == Order::Forward {
            return self.rooms.page(room, viewer, access, request).await;
        }
        let deadline = Instant::now() + PATIENCE;
        // What was asked for in vain makes place for others.
        let (mut in_vain, mut vain_rounds): (Vec<OwnedEventId>, usize) = (Vec::new(), 0);
        let read = async |in_vain: &[OwnedEventId]| {
            self.rooms.page_and_missing(room, viewer, access, request, in_vain).await
        };
        let (mut page, mut missing) = read(&in_vain).await?;
        let mut rounds = 0;
        while rounds < MAX_ROUNDS {
            let left = deadline.saturating_duration_since(Instant::now());
            // What comes before needs a state before it, which may be on its way.
            if missing.is_empty()
                || vain_rounds == MAX_VAIN_ROUNDS
                || left.is_zero()
                || !self.rooms.wait_whole(room, left).await
            {
                break;
            }
            match self.fetch_missing(room, &missing, deadline).await? {
                Fetched::Late => break,
                Fetched::Nothing => {
                    (rounds, vain_rounds) = (rounds + 1, vain_rounds + 1);
                    in_vain.extend(missing.into_iter().map(|event| event.event_id));
                }
                Fetched::Some => rounds += 1,
                // Others take in what is far from here in many steps, and none of them is a round.
                Fetched::ByOthers => {}
            }
            (page, missing) = read(&in_vain).await?;
        }
        // More there is, though nobody gives it now: whoever asks again from there may get it.
        if page.end.is_none() && !self.rooms.missing_in_page(room, &page, request.to, &[]).await?.is_empty() {
            page.end = Some(page.beyond);
        }
        Ok(page)
    }

    /// Fetches missing events and what comes before them, for as long as somebody may be kept waiting; what takes longer
    /// goes on meanwhile, and those who ask then wait for the same.
    async fn fetch_missing(
        &self,
        room: &Arc<Room>,
        missing: &[MissingEvent],
        deadline: Instant,
    ) -> Result<Fetched, StorageError> {
        let turn = self.turn_of(room);
        let Ok(guard) = turn.clone().try_lock_owned() else {
            let is_over = timeout_at(deadline, turn.lock()).await.is_ok();
            return Ok(if is_over { Fetched::ByOthers } else { Fetched::Late });
        };
        let (this, room, missing) = (self.clone(), room.clone(), missing.to_vec());
        let fetching = self.tasks.spawn(async move {
            let fetched = this.ask_around(&room, &missing).await;
            drop(guard);
            fetched
        });
        match timeout_at(deadline, fetching).await {
            Ok(Ok(fetched)) => fetched,
            // It goes on, or has panicked.
            Ok(Err(_)) | Err(_) => Ok(Fetched::Late),
        }
    }

    /// One at a time fetches what a room lacks.
    fn turn_of(&self, room: &Room) -> Arc<AsyncMutex<()>> {
        let mut turns = self.turns.lock();
        turns.retain(|nid, turn| *nid == room.nid || Arc::strong_count(turn) > 1);
        turns.entry(room.nid).or_default().clone()
    }

    async fn ask_around(&self, room: &Arc<Room>, missing: &[MissingEvent]) -> Result<Fetched, StorageError> {
        for server in self.servers(room, missing).into_iter().take(MAX_SERVERS) {
            match tokio::time::timeout(LIMIT, self.fetch_from(room, &server, missing)).await {
                Ok(Ok(0)) => {}
                Ok(Ok(_)) => return Ok(Fetched::Some),
                Ok(Err(error)) => {
                    tracing::debug!(%error, %server, room_id = %room.room_id, "no history from a server");
                }
                Err(_) => tracing::debug!(%server, room_id = %room.room_id, "a server is slow with history"),
            }
        }
        Ok(Fetched::Nothing)
    }

    /// Whom of the servers in the room to ask: first those of who names what is missing, and last those that did not answer
    /// lately.
    fn servers(&self, room: &Arc<Room>, missing: &[MissingEvent]) -> Vec<OwnedServerName> {
        let own = self.rooms.server_name();
        let mut servers: Vec<OwnedServerName> =
            missing.iter().map(|event| event.named_by.server_name().to_owned()).collect();
        servers.extend(room.servers());
        let mut seen: HashSet<OwnedServerName> = HashSet::new();
        servers.retain(|server| server != own && room.has_server(server) && seen.insert(server.clone()));
        servers.sort_by_key(|server| self.client.is_away(server));
        servers
    }

    /// Fetches from one server; how many events were new.
    async fn fetch_from(
        &self,
        room: &Arc<Room>,
        server: &ServerName,
        missing: &[MissingEvent],
    ) -> Result<usize, Box<dyn std::error::Error + Send + Sync>> {
        let ids = missing.iter().map(|event| event.event_id.clone()).collect();
        let events = self.backfill(room, server, ids).await?;
        let events = events.into_iter().map(|pdu| (pdu.event_id().to_owned(), pdu)).collect();
        self.take_in(room, server, in_order(events)).await
    }

    /// Events and what comes before them, from one server.
    async fn backfill(
        &self,
        room: &Arc<Room>,
        server: &ServerName,
        ids: Vec<OwnedEventId>,
    ) -> Result<Vec<Arc<Pdu>>, RequestError> {
        let request = get_backfill::v1::Request::new(room.room_id.clone(), ids, UInt::from(PER_REQUEST));
        let answer = self.client.send(server, request, Limits::within(PATIENCE)).await?;
        let texts = answer.pdus.iter().take(PER_REQUEST as usize).map(|pdu| pdu.get().to_owned()).collect();
        Ok(self.fetch.verify_past(room, texts).await)
    }

    /// Takes in events of the past, oldest first, with the state before those whose own past is missing.
    async fn take_in(
        &self,
        room: &Arc<Room>,
        server: &ServerName,
        mut queue: Vec<Arc<Pdu>>,
    ) -> Result<usize, Box<dyn std::error::Error + Send + Sync>> {
        let (mut taken, mut states) = (0, 0);
        while !queue.is_empty() {
            let incoming: Vec<Incoming> =
                queue.iter().map(|pdu| Incoming { pdu: pdu.clone(), state_before: None }).collect();
            let outcomes = self.rooms.receive_past(room, &incoming).await?;
            taken += outcomes.iter().filter(|outcome| is_new(outcome)).count();
            let mut waiting = queue.into_iter().zip(outcomes).filter(|(_, outcome)| is_waiting(outcome));
            let Some((first, outcome)) = waiting.next() else { break };
            let rest: Vec<Arc<Pdu>> = waiting.map(|(pdu, _)| pdu).collect();
            if states == MAX_STATES {
                break;
            }
            states += 1;
            if let PduOutcome::MissingAuth(missing) = &outcome {
                self.fetch.auth_events(room, server, &first, missing).await?;
            }
            let state = self.fetch.state_before(room, server, first.event_id()).await?;
            let incoming = [Incoming { pdu: first, state_before: Some(state) }];
            let outcomes: Result<Vec<PduOutcome>, WriteError> =
                self.rooms.receive_past(room, &incoming).await;
            taken += outcomes?.iter().filter(|outcome| is_new(outcome)).count();
            queue = rest;
        }
        Ok(taken)
    }
}

/// What came of asking for missing events.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Fetched {
    /// Something has come, perhaps not all.
    Some,
    /// Somebody else was at it in this room, and has taken in something.
    ByOthers,
    /// Nobody who was asked has it.
    Nothing,
    /// It takes longer than anybody is kept waiting.
    Late,
}

fn is_new(outcome: &PduOutcome) -> bool {
    matches!(outcome, PduOutcome::Accepted | PduOutcome::SoftFailed(_) | PduOutcome::Rejected(_))
}

fn is_waiting(outcome: &PduOutcome) -> bool {
    matches!(outcome, PduOutcome::MissingPrev(_) | PduOutcome::MissingAuth(_))
}
