//! Appending to rooms: one queue for each room, emptied in batches.
//!
//! While a batch of a room's events is on its way to disk, the next one gathers. Whoever finds the queue idle starts the
//! task that empties it; requests that are given up by their client are finished all the same. Nobody elsewhere is waited for
//! within a queue.

mod queue;
mod signed;

use std::sync::Arc;

use hs_model::{
    ids::{DeviceNid, RoomNid},
    records::{EventRecord, TransactionRef},
};
use hs_room_rules::{build::BuildError, client_content::ContentError};
use hs_storage::StorageError;
use ruma::OwnedEventId;
use tokio::sync::oneshot;

use crate::{
    Room, Rooms, WriteRequest,
    build::{Batch, Request},
    loading,
    policy::{Asking, Refusals},
    ports::RemoteError,
    receive::{Incoming, PduOutcome},
    visibility::note_visibilities,
};

use queue::{Job, receive_all};
pub(crate) use queue::{Queue, move_head};

/// How often a batch is built again because other replicas were faster.
const MAX_ATTEMPTS: usize = 20;

/// Names a transaction: the device, the room, and the id the client chose.
pub(crate) type TransactionKey = (DeviceNid, RoomNid, Arc<str>);

/// What became of one intent.
#[derive(Clone, Debug)]
pub enum Written {
    /// A new event.
    New(Arc<EventRecord>),
    /// Nothing new: the same transaction was sent before, or the state is already so.
    Existing(OwnedEventId),
}

impl Written {
    /// The event's id.
    pub fn event_id(&self) -> &OwnedEventId {
        match self {
            Self::New(event) => &event.event_id,
            Self::Existing(event_id) => event_id,
        }
    }
}

/// Why a request was refused.
#[derive(Clone, Debug, thiserror::Error)]
pub enum WriteError {
    /// The rules of the room do not allow it.
    #[error("{0}")]
    Forbidden(String),
    /// There is nothing to change: somebody is to be unbanned who is not banned.
    #[error("{0}")]
    BadState(&'static str),
    /// It cannot be made into an event.
    #[error(transparent)]
    Build(#[from] BuildError),
    /// The content is not what events of its type may hold.
    #[error(transparent)]
    Content(#[from] ContentError),
    /// The sender has reacted so to this event already.
    #[error("you have reacted with this to the event already")]
    DuplicateAnnotation,
    /// A thread was to be begun on an event that relates to another one.
    #[error("threads cannot be started from an event that relates to another event")]
    NestedThread,
    /// The event to be redacted is not in the room.
    #[error("the event to be redacted is not in this room")]
    UnknownRedactionTarget,
    /// Too many requests wait for this room.
    #[error("too much is happening in this room")]
    Busy,
    /// The room's policy server does not let it pass, or does not answer.
    #[error("{0}")]
    Policy(RemoteError),
    /// An alias that was to be made belongs to another room.
    #[error("the alias is taken")]
    AliasTaken,
    /// The database failed. Whether the events were written is unknown.
    #[error("the events could not be written")]
    Storage(#[source] Arc<StorageError>),
}

impl From<StorageError> for WriteError {
    fn from(error: StorageError) -> Self {
        Self::Storage(Arc::new(error))
    }
}

type Answer = Result<Vec<Written>, WriteError>;
type ReceiveAnswer = Result<Vec<PduOutcome>, WriteError>;

impl Rooms {
    /// Appends events to a room; returns when they are on disk.
    pub async fn write(&self, room: &Arc<Room>, request: WriteRequest) -> Answer {
        if let Some(event_id) = request.transaction.as_ref().and_then(|t| self.known_transaction(room, t)) {
            return Ok(vec![Written::Existing(event_id)]);
        }
        if room.read().state_event("m.room.create", "").is_none() {
            // A room that is known from an invite or a knock only.
            return Err(WriteError::Forbidden("This server is not in the room".to_owned()));
        }
        if self.policy_server(room).await?.is_none() {
            let (reply, answer) = oneshot::channel();
            self.enqueue(room, Job::Write { request: request.clone(), reply })?;
            // The task is gone without an answer only when it panicked.
            match answer.await.unwrap_or_else(|_| Err(StorageError::Closed.into())) {
                // The room has chosen one meanwhile, or does so by this request.
                Err(WriteError::Policy(_)) => drop(self.catch_up(room).await?),
                answer => return answer,
            }
        }
        self.write_signed(room, &request).await
    }

    /// Takes in events of other servers, in order; returns when they are on disk and those accepted are in the timeline.
    ///
    /// An event whose predecessors or auth events are missing stops those of the same call that build on it, since they
    /// then miss theirs; what came before it is written.
    pub async fn receive(&self, room: &Arc<Room>, events: Vec<Incoming>) -> ReceiveAnswer {
        self.take_in(room, events, None).await
    }

    /// Takes in events, with the signatures of the room's policy server as far as it gives them. The first one may be made for a
    /// client's request.
    async fn take_in(
        &self,
        room: &Arc<Room>,
        mut events: Vec<Incoming>,
        transaction: Option<&TransactionRef>,
    ) -> ReceiveAnswer {
        let mut outcomes = Vec::with_capacity(events.len());
        let mut asking = Asking::new();
        // Each round gets further by an event, unless the room changes its policy server all the time.
        for round in 0..events.len() + MAX_ATTEMPTS {
            self.ask_policy_server(room, &mut events, &mut asking, round > 0).await?;
            let asked = Arc::new(events);
            let (reply, answer) = oneshot::channel();
            let transaction = transaction.filter(|_| outcomes.is_empty()).cloned();
            let (sent, refusals) = (asked.clone(), asking.refusals.clone());
            self.enqueue(room, Job::Receive { events: sent, refusals, transaction, reply })?;
            let taken = answer.await.unwrap_or_else(|_| Err(StorageError::Closed.into()))?;
            let count = taken.len();
            outcomes.extend(taken);
            if count >= asked.len() {
                return Ok(outcomes);
            }
            // One of them, or somebody else, has changed which policy server the room has.
            events = asked[count..].to_vec();
            self.catch_up(room).await?;
        }
        Err(WriteError::Busy)
    }

    /// Takes in events of a room's past, oldest first: those that others already refer to as what came before.
    pub async fn receive_past(&self, room: &Arc<Room>, events: &[Incoming]) -> ReceiveAnswer {
        for _ in 0..MAX_ATTEMPTS {
            if room.read().head.is_none() {
                loading::load_head(&self.inner.store, room).await?;
            }
            let requests = std::iter::once(Request::Receive(events));
            let Some(mut batch) = Batch::prepare(self, room, requests).await? else { continue };
            batch.go_back();
            let outcomes = receive_all(&mut batch, events, &Refusals::default(), None).await?;
            if batch.is_empty() {
                return Ok(outcomes);
            }
            match self.inner.store.insert_past(&batch.into_unit()).await {
                Ok(true) => {
                    note_visibilities(room, events.iter().map(|incoming| &incoming.pdu));
                    return Ok(outcomes);
                }
                Ok(false) => {}
                Err(error) if error.is_deadlock() => {}
                Err(error) => return Err(error.into()),
            }
        }
        Err(WriteError::Busy)
    }

    /// Appends one event.
    pub async fn write_one(&self, room: &Arc<Room>, request: WriteRequest) -> Result<Written, WriteError> {
        debug_assert_eq!(request.intents.len(), 1, "one event is asked for");
        let mut written = self.write(room, request).await?;
        // Each intent has an answer.
        written.pop().ok_or(WriteError::Busy)
    }

    fn known_transaction(&self, room: &Room, transaction: &TransactionRef) -> Option<OwnedEventId> {
        self.inner.transactions.get(&(transaction.device, room.nid, transaction.txn_id.clone()))
    }

    fn remember_transaction(&self, room: &Room, request: &WriteRequest, written: &[Written]) {
        if let (Some(transaction), Some(first)) = (&request.transaction, written.first()) {
            let key = (transaction.device, room.nid, transaction.txn_id.clone());
            self.inner.transactions.insert(key, first.event_id().clone());
        }
    }

    /// Whether the database still has the version that a refusal was based on. Otherwise memory is brought up to date.
    async fn is_current(&self, room: &Arc<Room>, version: i64) -> Result<bool, WriteError> {
        let head = self.inner.store.reader().await?.find_room_head(room.nid).await?;
        if head.is_some_and(|head| head.version == version) {
            return Ok(true);
        }
        room.update(|state| state.head = None);
        Ok(false)
    }
}
