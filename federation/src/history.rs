//! A room's past that this server does not have, fetched when somebody asks for it.
//!
//! <https://spec.matrix.org/v1.19/server-server-api/#backfilling-and-retrieving-missing-events>

mod by_time;

use std::{collections::HashSet, sync::Arc, time::Duration};

use hs_room_rules::pdu::Pdu;
use hs_rooms::{
    Room, Rooms, WriteError,
    access::Access,
    client_event::Viewer,
    paginate::{Page, PageRequest},
    receive::{Incoming, PduOutcome},
};
use hs_storage::{StorageError, events::Order};
use ruma::{OwnedEventId, OwnedServerName, ServerName, UInt, api::federation::backfill::get_backfill};

use crate::{FederationClient, Limits, inbound::fetch::Fetch};

/// How many events are asked for in one go.
const PER_REQUEST: u32 = 100;
/// How often a page is read again after something was fetched.
const MAX_ROUNDS: usize = 3;
/// How many servers are asked.
const MAX_SERVERS: usize = 4;
/// How long one server may take, so that whoever asked for the page is not kept waiting for ever.
const PATIENCE: Duration = Duration::from_secs(15);
/// For how many of the fetched events the state before them is asked for: each open end of what was fetched needs one.
const MAX_STATES: usize = 5;

/// Pages of rooms, with what other servers have of them. Cloning is cheap.
#[derive(Clone, Debug)]
pub struct History {
    rooms: Rooms,
    client: FederationClient,
    fetch: Fetch,
}

impl History {
    /// The history of `rooms`.
    pub fn new(rooms: Rooms, client: FederationClient, fetch: Fetch) -> Self {
        Self { rooms, client, fetch }
    }

    /// A page of a room's history; where it reaches what this server does not have, other servers are asked first.
    pub async fn page(
        &self,
        room: &Arc<Room>,
        viewer: &Viewer<'_>,
        access: &Access,
        request: PageRequest<'_>,
    ) -> Result<Page, StorageError> {
        let mut page = self.rooms.page(room, viewer, access, request).await?;
        if request.order == Order::Forward {
            return Ok(page);
        }
        for _ in 0..MAX_ROUNDS {
            let ends = self.rooms.gaps_of_page(room, &page).await?;
            // What comes before needs a state before it, which may be on its way.
            if ends.is_empty() || !self.rooms.wait_whole(room, PATIENCE).await {
                break;
            }
            if !self.fetch_before(room, &ends).await? {
                break;
            }
            page = self.rooms.page(room, viewer, access, request).await?;
        }
        Ok(page)
    }

    /// Fetches what comes before some events. Whether anything came.
    async fn fetch_before(&self, room: &Arc<Room>, ends: &[OwnedEventId]) -> Result<bool, StorageError> {
        for server in self.servers(room, ends).await?.into_iter().take(MAX_SERVERS) {
            let asked = tokio::time::timeout(PATIENCE, self.fetch_from(room, &server, ends)).await;
            match asked {
                Ok(Ok(0)) => {}
                Ok(Ok(_)) => return Ok(true),
                Ok(Err(error)) => {
                    tracing::debug!(%error, %server, room_id = %room.room_id, "no history from a server");
                }
                Err(_) => tracing::debug!(%server, room_id = %room.room_id, "a server is slow with history"),
            }
        }
        Ok(false)
    }

    /// Whom to ask: first the servers of those who sent what is here.
    async fn servers(
        &self,
        room: &Arc<Room>,
        ends: &[OwnedEventId],
    ) -> Result<Vec<OwnedServerName>, StorageError> {
        let own = self.rooms.server_name();
        let mut servers: Vec<OwnedServerName> = Vec::new();
        let mut reader = self.rooms.store().reader().await?;
        for end in ends {
            if let Some(event) = reader.find_event(end).await? {
                servers.push(event.sender.server_name().to_owned());
            }
        }
        drop(reader);
        servers.extend(room.servers());
        let mut seen: HashSet<OwnedServerName> = HashSet::new();
        servers.retain(|server| server != own && seen.insert(server.clone()));
        Ok(servers)
    }

    async fn fetch_from(
        &self,
        room: &Arc<Room>,
        server: &ServerName,
        ends: &[OwnedEventId],
    ) -> Result<usize, Box<dyn std::error::Error + Send + Sync>> {
        let request =
            get_backfill::v1::Request::new(room.room_id.clone(), ends.to_vec(), UInt::from(PER_REQUEST));
        let answer = self.client.send(server, request, Limits::within(PATIENCE)).await?;
        let texts = answer.pdus.iter().take(PER_REQUEST as usize).map(|pdu| pdu.get().to_owned()).collect();
        let mut events = self.fetch.verify(room, texts).await;
        events.sort_by(|a, b| (a.depth(), a.event_id()).cmp(&(b.depth(), b.event_id())));
        self.take_in(room, server, events).await
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

fn is_new(outcome: &PduOutcome) -> bool {
    matches!(outcome, PduOutcome::Accepted | PduOutcome::SoftFailed(_) | PduOutcome::Rejected(_))
}

fn is_waiting(outcome: &PduOutcome) -> bool {
    matches!(outcome, PduOutcome::MissingPrev(_) | PduOutcome::MissingAuth(_))
}
