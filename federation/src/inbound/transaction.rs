//! What other servers send: `PUT /_matrix/federation/v1/send/{txnId}`.
//!
//! Events are taken in room by room, rooms side by side. The answer is given once all of them are on disk: in the room, or,
//! when something before them has to be fetched first, written down to be worked off (see [`gaps`](super::gaps)).
//!
//! <https://spec.matrix.org/v1.19/server-server-api/#transactions>

use std::{
    collections::{BTreeMap, HashMap},
    sync::{Arc, Weak},
    time::Duration,
};

use futures_util::{StreamExt as _, stream};
use hs_model::{clock::Clock, records::Outcome};
use hs_room_rules::{
    event_id::parse_event_id,
    pdu::{Pdu, is_storable_name},
};
use hs_rooms::{
    Room, Rooms, WriteError,
    receive::{Incoming, PduOutcome, short_reason},
};
use hs_storage::{StorageError, staged_pdus::StagedPdu};
use metrics::{counter, describe_counter};
use moka::future::Cache;
use parking_lot::Mutex;
use ruma::{OwnedEventId, OwnedRoomId, OwnedServerName, RoomId, ServerName};
use serde::Deserialize;
use serde_json::value::RawValue;
use tokio::sync::Semaphore;

use super::gaps::Gaps;
use crate::{Keyring, inbound::edus::Edus};

/// How many events and EDUs a transaction may have.
///
/// <https://spec.matrix.org/v1.19/server-server-api/#transactions>
pub const MAX_PDUS: usize = 50;
/// See [`MAX_PDUS`].
pub const MAX_EDUS: usize = 100;
/// How many rooms of a transaction are worked on at the same time.
const MAX_ROOMS_AT_ONCE: usize = 8;
/// How many events may wait that one server has sent, and how many of these in one room.
const MAX_STAGED_OF_ORIGIN: i64 = 10_000;
const MAX_STAGED_IN_ROOM: i64 = 2_000;
/// How many may wait in a room that the server is not in, as far as is known here.
const MAX_STAGED_OF_STRANGER: i64 = 50;
/// How many transactions of one server may wait for their turn. One that keeps to the rules sends the next one when the one
/// before is answered.
const MAX_WAITING: usize = 3;
/// For how long the answer to a transaction is remembered. After that, repeating it does no harm either: events are known
/// by their ids, and messages to devices by theirs.
const REMEMBER: Duration = Duration::from_mins(10);
const MAX_REMEMBERED: u64 = 20_000;

/// What another server sends in one go.
#[derive(Debug)]
pub struct Transaction {
    /// The server.
    pub origin: OwnedServerName,
    /// The name it gave the transaction.
    pub txn_id: String,
    /// Events.
    pub pdus: Vec<Box<RawValue>>,
    /// What is no event.
    pub edus: Vec<Box<RawValue>>,
}

/// Why a transaction as a whole was not taken.
#[derive(Clone, Debug, thiserror::Error)]
pub enum TransactionError {
    /// More than a transaction may have.
    #[error("a transaction has at most {MAX_PDUS} PDUs and {MAX_EDUS} EDUs")]
    TooMany,
    /// Others of the same server wait already.
    #[error("transactions must be sent one at a time")]
    TooManyWaiting,
    /// The database failed.
    #[error("the transaction could not be written down")]
    Storage(#[source] Arc<StorageError>),
}

impl From<StorageError> for TransactionError {
    fn from(error: StorageError) -> Self {
        Self::Storage(Arc::new(error))
    }
}

/// What became of each event, by its id: `Err` with the reason when it was not taken.
pub type PduResults = BTreeMap<OwnedEventId, Result<(), String>>;

/// Takes what other servers send. Cloning is cheap.
#[derive(Clone, Debug)]
pub struct Transactions {
    inner: Arc<Inner>,
}

#[derive(Debug)]
struct Inner {
    rooms: Rooms,
    keyring: Keyring,
    gaps: Gaps,
    edus: Edus,
    clock: Arc<dyn Clock>,
    /// One transaction of a server at a time.
    turns: Mutex<HashMap<OwnedServerName, Weak<Turn>>>,
    answers: Cache<(OwnedServerName, String), Arc<PduResults>>,
}

/// Whose turn it is among the transactions of a server.
#[derive(Debug)]
struct Turn {
    /// One place for the one that is worked on, and the others for those that wait.
    places: Arc<Semaphore>,
    working: tokio::sync::Mutex<()>,
}

impl Transactions {
    /// A way in for what other servers send.
    pub fn new(rooms: Rooms, keyring: Keyring, gaps: Gaps, edus: Edus, clock: Arc<dyn Clock>) -> Self {
        describe_counter!(
            "kith_federation_pdus_received_total",
            "Events that other servers sent, by what became of them."
        );
        let answers = Cache::builder().max_capacity(MAX_REMEMBERED).time_to_live(REMEMBER).build();
        let turns = Mutex::default();
        Self { inner: Arc::new(Inner { rooms, keyring, gaps, edus, clock, turns, answers }) }
    }

    /// Takes a transaction. One that was taken before has the same answer.
    pub async fn receive(&self, transaction: Transaction) -> Result<Arc<PduResults>, TransactionError> {
        let Transaction { origin, txn_id, pdus, edus } = transaction;
        if pdus.len() > MAX_PDUS || edus.len() > MAX_EDUS {
            return Err(TransactionError::TooMany);
        }
        let key = (origin.clone(), txn_id);
        let (this, turn) = (self.clone(), self.turn(&origin));
        let places = turn.places.clone();
        // A task of its own: whoever asked may hang up, and what is begun is finished.
        let work = async move {
            let _working = turn.working.lock().await;
            let told = Edus::read(&origin, &edus);
            let (results, taken) =
                tokio::join!(this.take_pdus(&origin, pdus), this.inner.edus.take_lasting(&origin, &told));
            this.inner.edus.take_passing(&origin, told).await;
            let results = results?;
            taken?;
            Ok::<_, TransactionError>(Arc::new(results))
        };
        let answer = self.inner.answers.try_get_with(key, async move {
            let place = places.try_acquire_owned().map_err(|_| TransactionError::TooManyWaiting)?;
            let work = async move {
                let _place = place;
                work.await
            };
            #[expect(
                clippy::disallowed_methods,
                reason = "its end is awaited here, or by nobody if the caller hung up"
            )]
            let work = tokio::spawn(work);
            work.await.unwrap_or_else(|_| Err(StorageError::Closed.into()))
        });
        answer.await.map_err(|error| TransactionError::clone(&error))
    }

    fn turn(&self, origin: &ServerName) -> Arc<Turn> {
        let mut turns = self.inner.turns.lock();
        if let Some(turn) = turns.get(origin).and_then(Weak::upgrade) {
            return turn;
        }
        turns.retain(|_, turn| turn.strong_count() > 0);
        let places = Arc::new(Semaphore::new(1 + MAX_WAITING));
        let turn = Arc::new(Turn { places, working: tokio::sync::Mutex::default() });
        turns.insert(origin.to_owned(), Arc::downgrade(&turn));
        turn
    }

    async fn take_pdus(
        &self,
        origin: &ServerName,
        pdus: Vec<Box<RawValue>>,
    ) -> Result<PduResults, TransactionError> {
        let mut by_room: BTreeMap<OwnedRoomId, Vec<Box<RawValue>>> = BTreeMap::new();
        for pdu in pdus {
            // An event without a room has no id either by which it could be answered for.
            if let Some(room_id) = room_of(&pdu) {
                by_room.entry(room_id).or_default().push(pdu);
            }
        }
        let rooms = by_room.into_iter().map(|(room_id, pdus)| self.take_room(origin, room_id, pdus));
        let mut done = stream::iter(rooms).buffer_unordered(MAX_ROOMS_AT_ONCE);
        let mut results = PduResults::new();
        while let Some(of_room) = done.next().await {
            let short = |result: Result<(), String>| result.map_err(|why| short_reason(&why));
            results.extend(of_room?.into_iter().map(|(id, result)| (id, short(result))));
        }
        Ok(results)
    }

    async fn take_room(
        &self,
        origin: &ServerName,
        room_id: OwnedRoomId,
        pdus: Vec<Box<RawValue>>,
    ) -> Result<PduResults, TransactionError> {
        let Some(room) = self.inner.rooms.find(&room_id).await? else {
            count("unknown_room", pdus.len());
            return Ok(refuse(&pdus, None, "this server is not in the room"));
        };
        if !room.has_server(self.inner.rooms.server_name()) {
            return Ok(self.take_departures(&room, pdus).await?);
        }
        if !self.inner.rooms.allows_server(&room, origin).await? {
            count("acl", pdus.len());
            return Ok(refuse(
                &pdus,
                Some(&room),
                "the room's access control list does not let your server in",
            ));
        }
        let texts: Vec<String> = pdus.iter().map(|pdu| pdu.get().to_owned()).collect();
        let verified = self.inner.keyring.verify_pdus(texts, room.rules).await;
        let mut results = PduResults::new();
        let mut events: Vec<Arc<Pdu>> = Vec::with_capacity(pdus.len());
        for (raw, verified) in pdus.iter().zip(verified) {
            match verified {
                Ok(pdu) => events.push(pdu),
                Err(error) => {
                    count("invalid", 1);
                    tracing::debug!(%origin, %room_id, %error, "dropped an event");
                    results.extend(refuse(std::slice::from_ref(raw), Some(&room), &error.to_string()));
                }
            }
        }
        let incoming = events.iter().map(|pdu| Incoming { pdu: pdu.clone(), state_before: None }).collect();
        let outcomes = match self.inner.rooms.receive(&room, incoming).await {
            Ok(outcomes) => outcomes,
            Err(WriteError::Storage(error)) => return Err(TransactionError::Storage(error)),
            Err(error) => {
                let failed = events.iter().map(|pdu| (pdu.event_id().to_owned(), Err(error.to_string())));
                results.extend(failed);
                return Ok(results);
            }
        };
        let mut waiting = Vec::new();
        for (pdu, outcome) in events.into_iter().zip(outcomes) {
            let id = pdu.event_id().to_owned();
            match answer_to(&outcome) {
                Some(answer) => {
                    results.insert(id, answer);
                }
                None => waiting.push(pdu),
            }
        }
        if !waiting.is_empty() {
            results.extend(self.stage(origin, &room, waiting).await?);
        }
        Ok(results)
    }

    /// Takes what concerns the users of this server who are outside of a room that it is not in: that an invite was taken back,
    /// or a knock refused.
    async fn take_departures(
        &self,
        room: &Room,
        pdus: Vec<Box<RawValue>>,
    ) -> Result<PduResults, StorageError> {
        let mut results = refuse(&pdus, Some(room), "this server is not in the room");
        count("unknown_room", results.len());
        let own = self.inner.rooms.server_name();
        let texts: Vec<String> =
            pdus.iter().filter(|pdu| is_about_user_of(pdu, own)).map(|pdu| pdu.get().to_owned()).collect();
        for pdu in self.inner.keyring.verify_pdus(texts, room.rules).await.into_iter().flatten() {
            let event_id = pdu.event_id().to_owned();
            if self.inner.rooms.note_departure(room, pdu).await? {
                count("departure", 1);
                results.insert(event_id, Ok(()));
            }
        }
        Ok(results)
    }

    /// Writes down events that something is missing for.
    async fn stage(
        &self,
        origin: &ServerName,
        room: &Arc<Room>,
        pdus: Vec<Arc<Pdu>>,
    ) -> Result<PduResults, TransactionError> {
        let store = self.inner.rooms.store();
        let (of_origin, in_room) = store.reader().await?.count_staged_pdus(origin.as_str(), room.nid).await?;
        let max_in_room = if room.has_server(origin) { MAX_STAGED_IN_ROOM } else { MAX_STAGED_OF_STRANGER };
        if of_origin >= MAX_STAGED_OF_ORIGIN || in_room >= max_in_room {
            count("busy", pdus.len());
            let busy = || Err("too many events wait for those before them".to_owned());
            return Ok(pdus.into_iter().map(|pdu| (pdu.event_id().to_owned(), busy())).collect());
        }
        let staged: Vec<StagedPdu> = pdus
            .iter()
            .map(|pdu| StagedPdu {
                event_id: pdu.event_id().to_owned(),
                origin: origin.to_owned(),
                json: pdu.json().to_owned(),
                depth: pdu.depth(),
                attempts: 0,
            })
            .collect();
        let mut txn = store.begin().await?;
        txn.insert_staged_pdus(room.nid, &staged, Gaps::retry_at(&*self.inner.clock)).await?;
        txn.commit().await?;
        count("waiting", staged.len());
        self.inner.gaps.wake(room, origin);
        Ok(staged.into_iter().map(|pdu| (pdu.event_id, Ok(()))).collect())
    }
}

/// Whether an event sets the membership of a user of a server.
fn is_about_user_of(pdu: &RawValue, server: &ServerName) -> bool {
    #[derive(serde::Deserialize)]
    struct Member {
        r#type: String,
        state_key: ruma::OwnedUserId,
    }
    serde_json::from_str::<Member>(pdu.get())
        .is_ok_and(|member| member.r#type == "m.room.member" && member.state_key.server_name() == server)
}

/// The answer for an event; `None` when it has to wait.
fn answer_to(outcome: &PduOutcome) -> Option<Result<(), String>> {
    let (label, answer) = match outcome {
        PduOutcome::Accepted => ("accepted", Ok(())),
        PduOutcome::SoftFailed(_) => ("soft_failed", Ok(())),
        PduOutcome::Known(Outcome::Accepted | Outcome::SoftFailed) => ("known", Ok(())),
        PduOutcome::Known(Outcome::Rejected) => ("known", Err("the event was rejected before".to_owned())),
        PduOutcome::Rejected(why) => ("rejected", Err(why.clone())),
        PduOutcome::Dropped(why) => ("dropped", Err(why.clone())),
        PduOutcome::MissingPrev(_) | PduOutcome::MissingAuth(_) => return None,
    };
    count(label, 1);
    Some(answer)
}

fn count(outcome: &'static str, count: usize) {
    counter!("kith_federation_pdus_received_total", "outcome" => outcome).increment(count as u64);
}

/// Answers for events that are not taken, as far as they have ids.
fn refuse(pdus: &[Box<RawValue>], room: Option<&Room>, why: &str) -> PduResults {
    let id_of = |pdu: &RawValue| match room {
        Some(room) => {
            let pdu = Pdu::from_json(pdu.get(), None, room.rules).ok()?;
            Some(pdu.event_id().to_owned())
        }
        None => event_id_of(pdu),
    };
    pdus.iter().filter_map(|pdu| Some((id_of(pdu)?, Err(why.to_owned())))).collect()
}

#[derive(Deserialize)]
struct Names<'a> {
    #[serde(borrow)]
    room_id: Option<std::borrow::Cow<'a, str>>,
    #[serde(borrow)]
    event_id: Option<std::borrow::Cow<'a, str>>,
}

fn room_of(pdu: &RawValue) -> Option<OwnedRoomId> {
    let names: Names<'_> = serde_json::from_str(pdu.get()).ok()?;
    RoomId::parse(names.room_id?).ok().filter(|room_id| is_storable_name(room_id.as_str()))
}

/// The id that events of the first room versions carry.
fn event_id_of(pdu: &RawValue) -> Option<OwnedEventId> {
    let names: Names<'_> = serde_json::from_str(pdu.get()).ok()?;
    parse_event_id(&names.event_id?)
}
