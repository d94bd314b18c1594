//! Appending to rooms: one queue for each room, emptied in batches.
//!
//! While a batch of a room's events is on its way to disk, the next one gathers. Whoever finds the queue idle starts the
//! task that empties it; requests that are given up by their client are finished all the same.

use std::{
    collections::{HashMap, HashSet, VecDeque},
    sync::Arc,
};

use hs_model::{
    ids::{DeviceNid, RoomNid},
    records::{EventRecord, TransactionRef},
};
use hs_room_rules::{build::BuildError, client_content::ContentError};
use hs_storage::{
    StorageError,
    append::{AppendError, AppendUnit, Appended},
};
use ruma::OwnedEventId;
use tokio::sync::oneshot;

use crate::{
    Room, Rooms, WriteRequest,
    build::{Batch, Built},
    loading,
    room::{Extremity, Head},
};

/// How many requests go into one batch of a room.
const MAX_REQUESTS: usize = 100;
/// How often a batch is built again because other replicas were faster.
const MAX_ATTEMPTS: usize = 20;
/// How many requests may wait for one room.
const MAX_QUEUE_LENGTH: usize = 10_000;

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

#[derive(Debug, Default)]
pub(crate) struct Queue {
    jobs: VecDeque<Job>,
    is_emptied: bool,
}

type Answer = Result<Vec<Written>, WriteError>;

#[derive(Debug)]
struct Job {
    request: WriteRequest,
    reply: oneshot::Sender<Answer>,
}

impl Rooms {
    /// Appends events to a room; returns when they are on disk.
    pub async fn write(&self, room: &Arc<Room>, request: WriteRequest) -> Answer {
        if let Some(event_id) = request.transaction.as_ref().and_then(|t| self.known_transaction(room, t)) {
            return Ok(vec![Written::Existing(event_id)]);
        }
        let (reply, answer) = oneshot::channel();
        let must_start = {
            let mut queue = room.queue.lock();
            if queue.jobs.len() >= MAX_QUEUE_LENGTH {
                return Err(WriteError::Busy);
            }
            queue.jobs.push_back(Job { request, reply });
            !std::mem::replace(&mut queue.is_emptied, true)
        };
        if must_start {
            let (rooms, room) = (self.clone(), room.clone());
            self.inner.tasks.spawn(async move { rooms.empty_queue(&room).await });
        }
        // The task is gone without an answer only when it panicked.
        answer.await.unwrap_or_else(|_| Err(StorageError::Closed.into()))
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

    async fn empty_queue(&self, room: &Arc<Room>) {
        /// Leaves the queue startable, however the task ends.
        struct Idle<'a>(&'a Room);
        impl Drop for Idle<'_> {
            fn drop(&mut self) {
                self.0.queue.lock().is_emptied = false;
            }
        }
        loop {
            let guard = Idle(room);
            let jobs: Vec<Job> = {
                let mut queue = room.queue.lock();
                if queue.jobs.is_empty() {
                    queue.is_emptied = false;
                    std::mem::forget(guard);
                    return;
                }
                let count = queue.jobs.len().min(MAX_REQUESTS);
                queue.jobs.drain(..count).collect()
            };
            self.process(room, jobs).await;
            std::mem::forget(guard);
        }
    }

    /// Writes a batch, building again until it fits.
    async fn process(&self, room: &Arc<Room>, jobs: Vec<Job>) {
        let mut jobs = self.unite_duplicates(room, jobs);
        for _ in 0..MAX_ATTEMPTS {
            if jobs.is_empty() {
                return;
            }
            match self.attempt(room, &mut jobs).await {
                Ok(Progress::Done) => return,
                Ok(Progress::Again) => {}
                Err(error) => {
                    room.update(|state| state.head = None);
                    return answer_all(jobs, &error);
                }
            }
        }
        answer_all(jobs, &WriteError::Busy);
    }

    /// One attempt; jobs that are answered are taken out.
    async fn attempt(&self, room: &Arc<Room>, jobs: &mut Vec<Job>) -> Result<Progress, WriteError> {
        let needs_head = room.read().head.is_none();
        if needs_head {
            loading::load_head(&self.inner.store, room).await?;
        }
        let requests = jobs.iter().map(|job| &job.request);
        let Some(mut batch) = Batch::prepare(self, room, requests).await? else { return Ok(Progress::Again) };
        let mut built = Vec::with_capacity(jobs.len());
        for job in jobs.iter() {
            built.push(batch.add(&job.request).await);
        }
        let version = batch.version();
        if built
            .iter()
            .any(|result| matches!(result, Err(WriteError::Forbidden(_) | WriteError::BadState(_))))
            && !self.is_current(room, version).await?
        {
            return Ok(Progress::Again);
        }
        if !batch.is_empty() {
            batch.notice().await?;
        }
        let unit = (!batch.is_empty()).then(|| batch.into_unit());
        let appended = match &unit {
            Some(unit) => match self.inner.appender.append(unit.clone()).await {
                Ok(appended) => Some(appended),
                Err(error) => return self.after_failure(room, jobs, error).await,
            },
            None => None,
        };
        if let (Some(unit), Some(appended)) = (unit, &appended) {
            move_head(room, &unit, appended);
        }
        let events: HashMap<_, _> =
            appended.iter().flat_map(|appended| &appended.events).map(|event| (event.nid, event)).collect();
        for (job, built) in std::mem::take(jobs).into_iter().zip(built) {
            let answer = built.map(|built| {
                let written = |built: &Built| match built {
                    Built::New(nid, event_id) => events.get(nid).map_or_else(
                        || Written::Existing(event_id.clone()),
                        |event| Written::New((*event).clone()),
                    ),
                    Built::Existing(event_id) => Written::Existing(event_id.clone()),
                };
                built.iter().map(written).collect::<Vec<_>>()
            });
            if let (Ok(written), Some(transaction)) = (&answer, &job.request.transaction)
                && let Some(first) = written.first()
            {
                let key = (transaction.device, room.nid, transaction.txn_id.clone());
                self.inner.transactions.insert(key, first.event_id().clone());
            }
            // Whoever asked may have gone; the event stands.
            let _ = job.reply.send(answer);
        }
        Ok(Progress::Done)
    }

    async fn after_failure(
        &self,
        room: &Arc<Room>,
        jobs: &mut Vec<Job>,
        error: AppendError,
    ) -> Result<Progress, WriteError> {
        room.update(|state| state.head = None);
        match error {
            // Two replicas that build the same event on the same head in the same millisecond give it the same id: the
            // slower one meets the event itself before it meets the new version of the head.
            AppendError::Conflict | AppendError::Duplicate => Ok(Progress::Again),
            AppendError::DuplicateTransaction => {
                let mut reader = self.inner.store.reader().await?;
                for job in std::mem::take(jobs) {
                    let known = match &job.request.transaction {
                        Some(t) => reader.find_event_by_transaction(room.nid, t.device, &t.txn_id).await?,
                        None => None,
                    };
                    match known {
                        Some(event_id) => {
                            let _ = job.reply.send(Ok(vec![Written::Existing(event_id)]));
                        }
                        None => jobs.push(job),
                    }
                }
                Ok(Progress::Again)
            }
            AppendError::AliasTaken => Err(WriteError::AliasTaken),
            AppendError::Storage(error) => Err(WriteError::Storage(error)),
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

    /// The same transaction twice in one batch is one job with two receivers; the later ones are answered by a look-up
    /// once the first is written.
    fn unite_duplicates(&self, room: &Arc<Room>, jobs: Vec<Job>) -> Vec<Job> {
        let mut seen = HashSet::new();
        let mut unique: Vec<Job> = Vec::with_capacity(jobs.len());
        let mut later = Vec::new();
        for job in jobs {
            if let Some(transaction) = &job.request.transaction {
                let key = (transaction.device, transaction.txn_id.clone());
                if !seen.insert(key) {
                    later.push(job);
                    continue;
                }
            }
            unique.push(job);
        }
        if !later.is_empty() {
            // They go round once more, and then find the transaction among those known.
            let (rooms, room) = (self.clone(), room.clone());
            self.inner.tasks.spawn(async move {
                for job in later {
                    let answer = Box::pin(rooms.write(&room, job.request)).await;
                    let _ = job.reply.send(answer);
                }
            });
        }
        unique
    }
}

enum Progress {
    Done,
    Again,
}

fn answer_all(jobs: Vec<Job>, error: &WriteError) {
    for job in jobs {
        let _ = job.reply.send(Err(error.clone()));
    }
}

/// The batch is on disk and applied: the room stands where the batch ends.
pub(crate) fn move_head(room: &Room, unit: &AppendUnit, appended: &Appended) {
    let ids: HashMap<_, _> =
        unit.events.iter().map(|event| (event.record.nid, &event.record.event_id)).collect();
    let extremities = unit
        .head
        .forward_extremities
        .iter()
        .filter_map(|nid| Some(Extremity { nid: *nid, event_id: (*ids.get(nid)?).clone() }))
        .collect();
    room.update(|state| {
        if let Some(head) = &mut state.head
            && head.version == unit.expected_version
        {
            let line = std::mem::take(&mut head.line).extended(&unit.state_groups);
            *head = Head { version: appended.version, line, extremities, depth: unit.head.depth };
        }
    });
}
