//! The queue of a room: what is in it is written in batches, each built upon what the one before has left.

use std::{
    collections::{HashMap, HashSet, VecDeque},
    sync::Arc,
};

use hs_model::records::TransactionRef;
use hs_storage::append::{AppendError, AppendUnit, Appended};
use tokio::sync::oneshot;

use super::{Answer, MAX_ATTEMPTS, ReceiveAnswer, WriteError, Written};
use crate::{
    Room, Rooms, WriteRequest,
    build::{Batch, Built, Request},
    loading,
    policy::Refusals,
    receive::{Incoming, PduOutcome},
    room::{Extremity, Head},
};

/// How many requests go into one batch of a room.
const MAX_REQUESTS: usize = 100;
/// How many requests may wait for one room.
const MAX_QUEUE_LENGTH: usize = 10_000;

/// What waits for a room, and whether somebody is at it.
#[derive(Debug, Default)]
pub(crate) struct Queue {
    jobs: VecDeque<Job>,
    is_emptied: bool,
}

/// What waits in a queue.
#[derive(Debug)]
pub(super) enum Job {
    Write {
        request: WriteRequest,
        reply: oneshot::Sender<Answer>,
    },
    Receive {
        events: Arc<Vec<Incoming>>,
        refusals: Refusals,
        /// What a client calls the request that the first of the events was made for.
        transaction: Option<TransactionRef>,
        /// Has fewer outcomes than there are events when the room's policy server has to be asked about the next one.
        reply: oneshot::Sender<ReceiveAnswer>,
    },
}

impl Job {
    fn request(&self) -> Request<'_> {
        match self {
            Self::Write { request, .. } => Request::Write(request),
            Self::Receive { events, .. } => Request::Receive(events),
        }
    }

    fn transaction(&self) -> Option<&TransactionRef> {
        match self {
            Self::Write { request, .. } => request.transaction.as_ref(),
            Self::Receive { transaction, .. } => transaction.as_ref(),
        }
    }

    /// Whoever asked may have gone; that is no failure.
    fn refuse(self, error: WriteError) {
        match self {
            Self::Write { reply, .. } => drop(reply.send(Err(error))),
            Self::Receive { reply, .. } => drop(reply.send(Err(error))),
        }
    }
}

/// What became of a job.
#[derive(Debug)]
enum Done {
    Written(Result<Vec<Built>, WriteError>),
    Received(Result<Vec<PduOutcome>, WriteError>),
}

impl Rooms {
    pub(super) fn enqueue(&self, room: &Arc<Room>, job: Job) -> Result<(), WriteError> {
        let must_start = {
            let mut queue = room.queue.lock();
            if queue.jobs.len() >= MAX_QUEUE_LENGTH {
                return Err(WriteError::Busy);
            }
            queue.jobs.push_back(job);
            !std::mem::replace(&mut queue.is_emptied, true)
        };
        if must_start {
            let (rooms, room) = (self.clone(), room.clone());
            self.inner.tasks.spawn(async move { rooms.empty_queue(&room).await });
        }
        Ok(())
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

    /// Writes jobs in one batch, or each for itself where one of them breaks it.
    async fn process(&self, room: &Arc<Room>, jobs: Vec<Job>) {
        let jobs = self.unite_duplicates(room, jobs);
        let Err((jobs, error)) = self.write_together(room, jobs).await else { return };
        let breaks_alone = matches!(&error, WriteError::Storage(error) if error.is_about_data());
        if jobs.len() < 2 || !breaks_alone {
            return answer_all(jobs, &error);
        }
        tracing::error!(%error, room_id = %room.room_id, "a batch can not be written; trying each part of it");
        for job in jobs {
            if let Err((jobs, error)) = self.write_together(room, vec![job]).await {
                answer_all(jobs, &error);
            }
        }
    }

    /// Writes a batch, building again until it fits. Those that are not answered come back, with the reason.
    async fn write_together(
        &self,
        room: &Arc<Room>,
        mut jobs: Vec<Job>,
    ) -> Result<(), (Vec<Job>, WriteError)> {
        for _ in 0..MAX_ATTEMPTS {
            if jobs.is_empty() {
                return Ok(());
            }
            match self.attempt(room, &mut jobs).await {
                Ok(Progress::Done) => return Ok(()),
                Ok(Progress::Again) => {}
                Err(error) => {
                    room.update(|state| state.head = None);
                    return Err((jobs, error));
                }
            }
        }
        Err((jobs, WriteError::Busy))
    }

    /// One attempt; jobs that are answered are taken out.
    async fn attempt(&self, room: &Arc<Room>, jobs: &mut Vec<Job>) -> Result<Progress, WriteError> {
        let needs_head = room.read().head.is_none();
        if needs_head {
            loading::load_head(&self.inner.store, room).await?;
        }
        let requests = jobs.iter().map(Job::request);
        let Some(mut batch) = Batch::prepare(self, room, requests).await? else { return Ok(Progress::Again) };
        let mut done = Vec::with_capacity(jobs.len());
        for job in jobs.iter() {
            done.push(match job {
                Job::Write { request, .. } => Done::Written(batch.add(request).await),
                Job::Receive { events, refusals, transaction, .. } => {
                    Done::Received(receive_all(&mut batch, events, refusals, transaction.as_ref()).await)
                }
            });
        }
        let version = batch.version();
        let is_refused = |done: &Done| {
            matches!(done, Done::Written(Err(WriteError::Forbidden(_) | WriteError::BadState(_))))
        };
        if done.iter().any(is_refused) && !self.is_current(room, version).await? {
            return Ok(Progress::Again);
        }
        let appended = if batch.is_empty() {
            None
        } else {
            batch.settle().await?;
            batch.notice().await?;
            let (extremities, resolutions) = (batch.extremities().to_vec(), batch.resolutions());
            let ends = extremities.len();
            let unit = batch.into_unit();
            match self.inner.appender.append(unit.clone()).await {
                Ok(appended) => {
                    move_head(room, &unit, &appended, extremities);
                    for (groups, resolved) in resolutions {
                        self.inner.resolutions.insert(groups, resolved);
                    }
                    self.unite_if_needed(room, ends);
                    Some(appended)
                }
                Err(error) => return self.after_failure(room, jobs, error).await,
            }
        };
        self.answer(room, std::mem::take(jobs), done, appended.as_ref());
        Ok(Progress::Done)
    }

    fn answer(&self, room: &Room, jobs: Vec<Job>, done: Vec<Done>, appended: Option<&Appended>) {
        let events: HashMap<_, _> =
            appended.iter().flat_map(|appended| &appended.events).map(|event| (event.nid, event)).collect();
        let written = |built: Built| match built {
            Built::New(nid, event_id) => events
                .get(&nid)
                .map_or_else(|| Written::Existing(event_id.clone()), |event| Written::New((*event).clone())),
            Built::Existing(event_id) => Written::Existing(event_id),
        };
        for (job, done) in jobs.into_iter().zip(done) {
            // Whoever asked may have gone; the events stand.
            match (job, done) {
                (Job::Write { request, reply }, Done::Written(built)) => {
                    let answer = built.map(|built| built.into_iter().map(written).collect::<Vec<_>>());
                    if let Ok(written) = &answer {
                        self.remember_transaction(room, &request, written);
                    }
                    let _ = reply.send(answer);
                }
                (Job::Receive { reply, .. }, Done::Received(outcomes)) => {
                    let _ = reply.send(outcomes);
                }
                (job, _) => job.refuse(WriteError::Busy),
            }
        }
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
                    let known = match job.transaction() {
                        Some(t) => reader.find_event_by_transaction(room.nid, t.device, &t.txn_id).await?,
                        None => None,
                    };
                    match (known, job) {
                        (Some(event_id), Job::Write { reply, .. }) => {
                            let _ = reply.send(Ok(vec![Written::Existing(event_id)]));
                        }
                        // Whoever had the events signed looks up what was written instead.
                        (Some(_), job @ Job::Receive { .. }) => job.refuse(WriteError::Busy),
                        (None, job) => jobs.push(job),
                    }
                }
                Ok(Progress::Again)
            }
            AppendError::AliasTaken => Err(WriteError::AliasTaken),
            AppendError::Storage(error) => Err(WriteError::Storage(error)),
        }
    }

    /// The same transaction twice in one batch is one job with two receivers; the later ones are answered by a look-up
    /// once the first is written.
    fn unite_duplicates(&self, room: &Arc<Room>, jobs: Vec<Job>) -> Vec<Job> {
        let mut seen = HashSet::new();
        let mut unique: Vec<Job> = Vec::with_capacity(jobs.len());
        let mut later = Vec::new();
        for job in jobs {
            if let Some(transaction) = job.transaction() {
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
                    let Job::Write { request, reply } = job else {
                        // If the queue is full, whoever waits for the answer is told by its absence.
                        let _ = rooms.enqueue(&room, job);
                        continue;
                    };
                    let answer = Box::pin(rooms.write(&room, request)).await;
                    let _ = reply.send(answer);
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
        job.refuse(error.clone());
    }
}

/// Takes events of other servers into a batch, up to the first one that the room's policy server has to be asked about.
pub(super) async fn receive_all(
    batch: &mut Batch<'_>,
    events: &[Incoming],
    refusals: &Refusals,
    transaction: Option<&TransactionRef>,
) -> Result<Vec<PduOutcome>, WriteError> {
    let mut outcomes = Vec::with_capacity(events.len());
    for (i, incoming) in events.iter().enumerate() {
        let Some(outcome) = batch.receive(incoming, refusals).await? else { break };
        if i == 0
            && outcome == PduOutcome::Accepted
            && let Some(transaction) = transaction
        {
            batch.note_transaction(transaction);
        }
        outcomes.push(outcome);
    }
    Ok(outcomes)
}

/// The batch is on disk and applied: the room stands where the batch ends.
pub(crate) fn move_head(room: &Room, unit: &AppendUnit, appended: &Appended, extremities: Vec<Extremity>) {
    room.update(|state| {
        if let Some(head) = &mut state.head
            && head.version == unit.expected_version
        {
            let line = std::mem::take(&mut head.line);
            // Forks make groups that do not lead to the current state: the line is read again when it is needed.
            match line.extended_to(&unit.state_groups, unit.head.state_group) {
                Some(line) => {
                    *head = Head { version: appended.version, line, extremities, depth: unit.head.depth };
                }
                None => state.head = None,
            }
        }
    });
}
