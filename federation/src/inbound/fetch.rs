//! Fetching single events, what authorises events, and the state before them, from other servers.

use std::{collections::HashSet, sync::Arc};

use futures_util::{StreamExt as _, stream};
use hs_room_rules::pdu::Pdu;
use hs_rooms::{Room, Rooms};
use hs_storage::StorageError;
use ruma::{
    EventId, OwnedEventId, ServerName,
    api::federation::{
        authorization::get_event_authorization,
        event::{get_event, get_room_state, get_room_state_ids},
    },
};

use crate::{FederationClient, Keyring, Limits, PduError, RequestError};

/// The longest answer about the state of a room, and how long it may take.
const STATE_LIMITS: Limits =
    Limits { timeout: std::time::Duration::from_mins(2), max_response_bytes: 256 * 1024 * 1024 };
/// Up to this many missing events are fetched one by one; beyond it the whole state is.
const MAX_SINGLE: usize = 50;
/// How many events are fetched at the same time.
const AT_ONCE: usize = 8;
/// How many events the state of a room and its auth chain may have.
const MAX_STATE: usize = 500_000;

/// Why something was not fetched.
#[derive(Debug, thiserror::Error)]
pub enum FetchError {
    /// The server does not answer, or with an error.
    #[error(transparent)]
    Request(#[from] RequestError),
    /// The answer makes no sense.
    #[error("{0}")]
    Nonsense(&'static str),
    /// The database failed.
    #[error(transparent)]
    Storage(#[from] StorageError),
}

/// A state as another server has told it.
#[derive(Debug)]
pub(crate) struct ToldState {
    /// The events that are valid, and stored.
    pub(crate) ids: Vec<OwnedEventId>,
    /// How many events of it, or of what authorises it, could not be checked: the keys of their servers could not be had.
    pub(crate) without_keys: usize,
}

/// Fetches what is missing of rooms. Cloning is cheap.
#[derive(Clone, Debug)]
pub struct Fetch {
    rooms: Rooms,
    client: FederationClient,
    keyring: Keyring,
}

impl Fetch {
    /// Fetches for `rooms`.
    pub fn new(rooms: Rooms, client: FederationClient, keyring: Keyring) -> Self {
        Self { rooms, client, keyring }
    }

    pub(crate) fn client(&self) -> &FederationClient {
        &self.client
    }

    /// Those of the events that are signed and belong to the room.
    pub(crate) async fn verify(&self, room: &Room, texts: Vec<String>) -> Vec<Arc<Pdu>> {
        self.check(room, texts).await.0
    }

    /// As [`verify`](Self::verify), for answers to `/backfill`.
    pub(crate) async fn verify_past(&self, room: &Room, texts: Vec<String>) -> Vec<Arc<Pdu>> {
        of_room(room, self.keyring.verify_past_pdus(texts, room.rules).await)
    }

    /// As [`verify`](Self::verify), and how many more there are that could not be checked for want of keys.
    async fn check(&self, room: &Room, texts: Vec<String>) -> (Vec<Arc<Pdu>>, usize) {
        let verified = self.keyring.verify_pdus(texts, room.rules).await;
        let without_keys = verified.iter().filter(|pdu| matches!(pdu, Err(PduError::NoKeys(_)))).count();
        (of_room(room, verified), without_keys)
    }

    /// One event of a room, if the server has it and it is signed as it must be. It is not stored.
    pub(crate) async fn event(
        &self,
        room: &Room,
        server: &ServerName,
        event_id: &EventId,
    ) -> Result<Option<Arc<Pdu>>, FetchError> {
        let request = get_event::v1::Request::new(event_id.to_owned());
        let answer = self.client.send(server, request, Limits::default()).await?;
        let events = self.verify(room, vec![answer.pdu.get().to_owned()]).await;
        Ok(events.into_iter().find(|pdu| pdu.event_id() == event_id))
    }

    /// Stores what authorises an event.
    pub(crate) async fn auth_events(
        &self,
        room: &Room,
        server: &ServerName,
        pdu: &Pdu,
        missing: &[OwnedEventId],
    ) -> Result<(), FetchError> {
        let request =
            get_event_authorization::v1::Request::new(room.room_id.clone(), pdu.event_id().to_owned());
        match self.client.send(server, request, STATE_LIMITS).await {
            Ok(answer) => {
                let texts = answer.auth_chain.iter().take(MAX_STATE).map(|event| event.get().to_owned());
                let chain = self.verify(room, texts.collect()).await;
                self.rooms.store_outliers(room, &chain).await?;
            }
            Err(error) => {
                // A server need not know the chain of an event of which it knows the single events.
                tracing::debug!(%error, event_id = %pdu.event_id(), "no auth chain; trying single events");
                self.single_events(room, server, missing).await?;
            }
        }
        Ok(())
    }

    /// The state before an event, which is all stored afterwards.
    pub(crate) async fn state_before(
        &self,
        room: &Room,
        server: &ServerName,
        event: &EventId,
    ) -> Result<Vec<OwnedEventId>, FetchError> {
        Ok(self.told_state_before(room, server, event).await?.ids)
    }

    /// As [`state_before`](Self::state_before), with what is missing of it.
    pub(crate) async fn told_state_before(
        &self,
        room: &Room,
        server: &ServerName,
        event: &EventId,
    ) -> Result<ToldState, FetchError> {
        let request = get_room_state_ids::v1::Request::new(event.to_owned(), room.room_id.clone());
        let answer = self.client.send(server, request, STATE_LIMITS).await?;
        if answer.pdu_ids.len() + answer.auth_chain_ids.len() > MAX_STATE {
            return Err(FetchError::Nonsense("the state of the room is too large"));
        }
        let all: HashSet<OwnedEventId> =
            answer.pdu_ids.iter().chain(&answer.auth_chain_ids).cloned().collect();
        let missing = self.unknown(&all).await?;
        let without_keys = if missing.len() > MAX_SINGLE {
            let request = get_room_state::v1::Request::new(event.to_owned(), room.room_id.clone());
            let answer = self.client.send(server, request, STATE_LIMITS).await?;
            let texts = answer.pdus.iter().chain(&answer.auth_chain).take(MAX_STATE);
            let texts = texts.map(|event| event.get().to_owned()).collect();
            let (events, without_keys) = self.check(room, texts).await;
            self.rooms.store_outliers(room, &events).await?;
            without_keys
        } else if missing.is_empty() {
            0
        } else {
            self.single_events(room, server, &missing).await?
        };
        let missing: HashSet<OwnedEventId> = self.unknown(&all).await?.into_iter().collect();
        let ids: Vec<_> = answer.pdu_ids.into_iter().filter(|id| !missing.contains(id)).collect();
        if ids.is_empty() {
            return Err(FetchError::Nonsense("the state that the server told has no valid event"));
        }
        // What was known before has been checked before.
        Ok(ToldState { ids, without_keys: without_keys.min(missing.len()) })
    }

    async fn unknown(&self, ids: &HashSet<OwnedEventId>) -> Result<Vec<OwnedEventId>, StorageError> {
        let asked: Vec<&EventId> = ids.iter().map(|id| &**id).collect();
        let known = self.rooms.store().reader().await?.find_graph_nodes(&asked).await?;
        Ok(ids.iter().filter(|id| !known.contains_key(*id)).cloned().collect())
    }

    /// Stores single events, as far as the server has them; returns how many could not be checked for want of keys.
    async fn single_events(
        &self,
        room: &Room,
        server: &ServerName,
        ids: &[OwnedEventId],
    ) -> Result<usize, FetchError> {
        let requests = ids.iter().take(MAX_SINGLE).map(|id| {
            let request = get_event::v1::Request::new(id.clone());
            self.client.send(server, request, Limits::default())
        });
        // In a list first: the compiler cannot see that a stream over borrowed ids may change threads.
        let requests: Vec<_> = requests.collect();
        let answers: Vec<_> = stream::iter(requests).buffer_unordered(AT_ONCE).collect().await;
        let mut texts = Vec::with_capacity(answers.len());
        for answer in answers {
            match answer {
                Ok(answer) => texts.push(answer.pdu.get().to_owned()),
                // What can be had later must not be taken for what cannot.
                Err(error) if error.is_transient() => return Err(error.into()),
                Err(error) => tracing::debug!(%error, %server, "a server does not have an event"),
            }
        }
        let (events, without_keys) = self.check(room, texts).await;
        self.rooms.store_outliers(room, &events).await?;
        Ok(without_keys)
    }
}

fn of_room(room: &Room, verified: Vec<Result<Arc<Pdu>, PduError>>) -> Vec<Arc<Pdu>> {
    verified.into_iter().flatten().filter(|pdu| *pdu.room_id() == *room.room_id).collect()
}
