//! Writing events: units of work are gathered while the previous batch commits, and go to disk in one transaction.
//!
//! A unit belongs to one room and names the version of the room's head that it was built on. When another replica was
//! faster, the unit fails with [`AppendError::Conflict`] and its builder builds again. All units of a batch share the
//! log's lock and the flush to disk, and each stands or falls on its own.

mod completeness;
mod past;
mod statements;

use std::{fmt::Write as _, sync::Arc};

use hs_model::{
    clock::{Clock as _, SystemClock},
    ids::{EventNid, RoomNid, SlotNid, StateGroupNid, TypeNid, UserNid},
    membership::Membership,
    records::{EventRecord, Outcome},
};
use ruma::{OwnedEventId, OwnedRoomAliasId, OwnedRoomId, RoomVersionId};
use tokio::sync::{mpsc, oneshot};
use tokio_util::sync::CancellationToken;

pub use self::completeness::{Completeness, RejudgedEvent};
use crate::{
    Store,
    error::StorageError,
    sticky_events::{StickyEvent, sticky_until},
};

/// How many units may share a transaction.
const MAX_UNITS: usize = 256;
/// How many units may wait; beyond it, senders wait to hand theirs in.
const QUEUE_LENGTH: usize = 4096;

/// A new event, and what is kept beside it.
#[derive(Clone, Debug)]
pub struct NewEvent {
    /// The event. Its position is filled in when it is written.
    pub record: EventRecord,
    /// Its type's number.
    pub type_nid: TypeNid,
    /// The state after it, when it changes the state.
    pub state_after: Option<StateGroupNid>,
    /// Why it is soft-failed or rejected.
    pub reason: Option<String>,
    /// Its predecessors that are stored.
    pub prev: Vec<EventNid>,
    /// Its predecessors that are not.
    pub missing_prev: Vec<OwnedEventId>,
    /// Its auth events.
    pub auth: Vec<EventNid>,
    /// What it relates to.
    pub relation: Option<Relation>,
    /// For a redaction, the event it names.
    pub redacts_id: Option<OwnedEventId>,
}

/// `m.relates_to` of an event.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Relation {
    /// The parent.
    pub parent: OwnedEventId,
    /// `rel_type`.
    pub rel_type: String,
    /// `key` of an annotation.
    pub key: Option<String>,
}

/// A new state group.
#[derive(Clone, Debug)]
pub struct NewStateGroup {
    /// Its number.
    pub nid: StateGroupNid,
    /// The group it differs from; `None` for the first of a room.
    pub parent: Option<StateGroupNid>,
    /// Its number in its line.
    pub height: i64,
    /// What differs.
    pub delta: Vec<(SlotNid, EventNid)>,
}

/// A room that begins with this unit.
#[derive(Clone, Debug)]
pub struct NewRoom {
    /// Its id.
    pub room_id: OwnedRoomId,
    /// Its version.
    pub version: RoomVersionId,
    /// Whether it is listed in the directory.
    pub is_published: bool,
    /// An alias that must be free.
    pub alias: Option<(OwnedRoomAliasId, UserNid)>,
    /// Now, in milliseconds.
    pub created_at: i64,
}

/// Where the room stands after the unit.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct NewHead {
    /// The current state.
    pub state_group: StateGroupNid,
    /// The events without successors.
    pub forward_extremities: Vec<EventNid>,
    /// The greatest depth of those.
    pub depth: i64,
}

/// A change of one user's membership.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct MembershipChange {
    /// The user.
    pub user: UserNid,
    /// The new membership.
    pub membership: Membership,
    /// The event that says so: one of the unit's, or one that its corrections bring back.
    pub event: EventNid,
}

/// A change of the current state that is not simply the next state event of the timeline.
#[derive(Clone, Debug)]
pub struct StateCorrection {
    /// The slot.
    pub slot: SlotNid,
    /// What fills it now; `None` when nothing does.
    pub event: Option<Arc<EventRecord>>,
    /// What filled it before, the unit's own events included.
    pub replaces: Option<EventNid>,
}

/// One room's part of a batch: all of it is written, or nothing.
#[derive(Clone, Debug)]
pub struct AppendUnit {
    /// The room.
    pub room: RoomNid,
    /// The version of the head it was built on; 0 for a new room.
    pub expected_version: i64,
    /// Set when the room begins here.
    pub create: Option<NewRoom>,
    /// The new head.
    pub head: NewHead,
    /// The events, in order.
    pub events: Vec<NewEvent>,
    /// State groups that the events refer to.
    pub state_groups: Vec<NewStateGroup>,
    /// Changes of the current state; `None` empties a slot.
    pub state_changes: Vec<(SlotNid, Option<EventNid>)>,
    /// Changes of memberships, at most one for each user.
    pub memberships: Vec<MembershipChange>,
    /// What state resolution made of the current state, where that differs from what the events themselves say, in order.
    pub corrections: Vec<StateCorrection>,
    /// Whether caches must read the room again, since much else has changed.
    pub replaces_room: bool,
    /// Events among `events` that were stored as outliers and now find their place, under the same numbers.
    pub former_outliers: Vec<EventNid>,
    /// Events among `events` that others named as predecessors before they came.
    pub found: Vec<OwnedEventId>,
    /// Whether all of the room's members are known from here on, where that changes.
    pub completeness: Option<Completeness>,
    /// Events that were written before and are judged anew.
    pub rejudged: Vec<RejudgedEvent>,
}

/// What was written.
#[derive(Clone, Debug)]
pub struct Appended {
    /// The events with their positions.
    pub events: Vec<Arc<EventRecord>>,
    /// The room's version now.
    pub version: i64,
}

/// Why a unit was not written.
#[derive(Clone, Debug, thiserror::Error)]
pub enum AppendError {
    /// The room has moved on since the unit was built.
    #[error("the room has changed meanwhile")]
    Conflict,
    /// One of the transaction ids was used before.
    #[error("a transaction id was used before")]
    DuplicateTransaction,
    /// The alias belongs to another room.
    #[error("the alias is taken")]
    AliasTaken,
    /// One of the events is stored already, or the room exists.
    #[error("the event or the room exists already")]
    Duplicate,
    /// The database failed. Whether the unit was written is unknown.
    #[error("the unit could not be written")]
    Storage(#[source] Arc<StorageError>),
}

type Waiting = (AppendUnit, oneshot::Sender<Result<Appended, AppendError>>);

/// The way to the batching writer.
#[derive(Clone, Debug)]
pub struct Appender {
    queue: mpsc::Sender<Waiting>,
}

/// The batching writer; one for each process.
#[derive(Debug)]
pub struct AppendWorker {
    store: Store,
    queue: mpsc::Receiver<Waiting>,
}

/// A writer for `store` and the way to it.
pub fn appender(store: Store) -> (Appender, AppendWorker) {
    let (sender, receiver) = mpsc::channel(QUEUE_LENGTH);
    (Appender { queue: sender }, AppendWorker { store, queue: receiver })
}

impl Appender {
    /// Writes a unit; returns when it is on disk and this process's caches know of it.
    ///
    /// # Errors
    /// See [`AppendError`]; nothing was written unless it is [`AppendError::Storage`], where that is unknown.
    pub async fn append(&self, unit: AppendUnit) -> Result<Appended, AppendError> {
        let closed = || AppendError::Storage(Arc::new(StorageError::Closed));
        let (reply, outcome) = oneshot::channel();
        self.queue.send((unit, reply)).await.map_err(|_| closed())?;
        outcome.await.unwrap_or_else(|_| Err(closed()))
    }
}

impl AppendWorker {
    /// Works until `stop` is cancelled or every [`Appender`] is gone; finishes what is in the queue.
    pub async fn run(mut self, stop: CancellationToken) {
        let mut batch = Vec::with_capacity(MAX_UNITS);
        loop {
            let count = tokio::select! {
                count = self.queue.recv_many(&mut batch, MAX_UNITS) => count,
                () = stop.cancelled(), if !self.queue.is_closed() => {
                    self.queue.close();
                    continue;
                }
            };
            if count == 0 {
                return;
            }
            self.write(std::mem::take(&mut batch)).await;
        }
    }

    async fn write(&self, batch: Vec<Waiting>) {
        let (mut units, mut replies): (Vec<_>, Vec<_>) = batch.into_iter().unzip();
        loop {
            match statements::write_batch(&self.store, &units).await {
                Ok(statements::Written::All(appended)) => {
                    for (appended, reply) in appended.into_iter().zip(replies) {
                        // The receiver is gone when the client hung up; the event stands all the same.
                        let _ = reply.send(Ok(appended));
                    }
                    return;
                }
                Ok(statements::Written::Lost(losers)) => {
                    let mut kept = (Vec::new(), Vec::new());
                    for (unit, reply) in units.into_iter().zip(replies) {
                        if losers.contains(&unit.room) {
                            let _ = reply.send(Err(AppendError::Conflict));
                        } else {
                            kept.0.push(unit);
                            kept.1.push(reply);
                        }
                    }
                    (units, replies) = kept;
                    if units.is_empty() {
                        return;
                    }
                }
                Err(error) if units.len() == 1 || error.is_transient() => {
                    let error = classify(error);
                    for reply in replies {
                        let _ = reply.send(Err(error.clone()));
                    }
                    return;
                }
                Err(_) => return self.write_one_by_one(units, replies).await,
            }
        }
    }

    /// One unit of the batch breaks it: each for itself, so that only that one fails.
    async fn write_one_by_one(
        &self,
        units: Vec<AppendUnit>,
        replies: Vec<oneshot::Sender<Result<Appended, AppendError>>>,
    ) {
        for (unit, reply) in units.into_iter().zip(replies) {
            let outcome = match statements::write_batch(&self.store, std::slice::from_ref(&unit)).await {
                Ok(statements::Written::All(mut appended)) => appended.pop().ok_or(AppendError::Conflict),
                Ok(statements::Written::Lost(_)) => Err(AppendError::Conflict),
                Err(error) => Err(classify(error)),
            };
            let _ = reply.send(outcome);
        }
    }
}

/// Whether an event that is about to be written is sticky, and until when.
fn sticky(record: &EventRecord) -> Option<StickyEvent> {
    let expires_at = sticky_until(record, SystemClock.now_ms())?;
    let position = record.position.filter(|_| record.outcome == Outcome::Accepted)?;
    Some(StickyEvent { event: record.nid, room: record.room, position, expires_at })
}

/// Finds out from the broken constraint what the unit did wrong.
fn classify(error: StorageError) -> AppendError {
    if let StorageError::Driver(sqlx::Error::Database(database)) = &error {
        match database.constraint() {
            Some("events_by_transaction") => return AppendError::DuplicateTransaction,
            Some("room_aliases_pkey") => return AppendError::AliasTaken,
            Some(
                "events_pkey"
                | "events_event_id_key"
                | "rooms_room_id_key"
                | "rooms_pkey"
                | "room_heads_pkey",
            ) => {
                return AppendError::Duplicate;
            }
            _ => {}
        }
    }
    AppendError::Storage(Arc::new(error))
}

/// An array literal: arrays of arrays of unequal length cannot be bound as such.
pub(crate) fn array_literal(values: impl Iterator<Item = i64>) -> String {
    let mut text = String::from("{");
    for (i, value) in values.enumerate() {
        if i > 0 {
            text.push(',');
        }
        // Writing to a String cannot fail.
        let _ = write!(text, "{value}");
    }
    text.push('}');
    text
}
