//! The work of the replica that sends: reading the log, giving each server its part, and writing down how far it has come.

use std::{
    collections::{HashMap, VecDeque},
    sync::Arc,
    time::Duration,
};

use hs_model::stream::Position;
use hs_storage::{StorageError, destinations::DestinationRow, log::LogEntry};
use metrics::{counter, gauge};
use rand::seq::SliceRandom as _;
use ruma::OwnedServerName;
use tokio::{
    task::{Id, JoinError, JoinSet},
    time::{Instant, MissedTickBehavior},
};
use tokio_util::sync::CancellationToken;

use super::{
    catch_up::Report,
    delivery::deliver,
    destination::{Destination, Flight, Need},
    follower::{News, What},
    repeats::Repeats,
    sender::Inner,
    transaction::SendFailure,
};

/// How many entries of the log are worked off at once.
const BATCH: usize = 1_000;
/// When nothing that concerns other servers happens, progress is written down this often.
const IDLE_PROGRESS: Duration = Duration::from_secs(30);

/// See the module's description.
pub(super) struct Serving {
    inner: Arc<Inner>,
    /// The log has been worked off up to here.
    position: Position,
    /// As the database has it.
    written: Position,
    written_at: Instant,
    /// Whether anything for other servers has come since then.
    has_news: bool,
    destinations: HashMap<OwnedServerName, Destination>,
    /// Those that have something to be sent, in the order in which it came.
    live: VecDeque<OwnedServerName>,
    /// Those that have missed something or have not been answering.
    late: VecDeque<OwnedServerName>,
    jobs: JoinSet<Result<Outcome, StorageError>>,
    /// Whom each job is for, and whether it counts as a late one.
    job_of: HashMap<Id, (OwnedServerName, bool)>,
    late_count: usize,
    repeats: Repeats,
    /// Those that answer again, and do not know yet who is there.
    recovered: Vec<OwnedServerName>,
}

/// How a job ended.
enum Outcome {
    Sent(Result<(), SendFailure>),
    CaughtUp { up_to: Position, report: Report },
}

impl Serving {
    /// Begins where the last holder of the lease has left off.
    pub(super) async fn start(inner: Arc<Inner>) -> Result<Self, StorageError> {
        let mut reader = inner.store.reader().await?;
        let position = reader.find_sender_position().await?;
        let rows = reader.list_unsettled_destinations().await?;
        let present = reader.list_presence_changes(Position::START, position).await?;
        drop(reader);
        let own = present.iter().filter(|row| row.user_id.server_name() == inner.own_name);
        let repeats = Repeats::new(own.map(|row| row.user));
        let failing = rows.iter().filter(|row| row.failures > 0);
        *inner.waiting.write() =
            failing.filter_map(|row| OwnedServerName::try_from(row.server_name.as_str()).ok()).collect();
        let destinations = rows.into_iter().filter_map(|row| {
            let name = OwnedServerName::try_from(row.server_name.as_str()).ok()?;
            Some((name.clone(), Destination::from_row(name, row)))
        });
        let mut serving = Self {
            position,
            written: position,
            written_at: Instant::now(),
            has_news: false,
            destinations: destinations.collect(),
            live: VecDeque::new(),
            late: VecDeque::new(),
            jobs: JoinSet::new(),
            job_of: HashMap::new(),
            late_count: 0,
            repeats,
            recovered: Vec::new(),
            inner,
        };
        serving.line_up_due();
        // After a restart many have something coming: not always the same ones first.
        serving.late.make_contiguous().shuffle(&mut rand::rng());
        Ok(serving)
    }

    /// Works until the lease is lost or `stop` is cancelled.
    pub(super) async fn run(&mut self, stop: &CancellationToken) -> Result<(), StorageError> {
        let inner = self.inner.clone();
        let mut tick = tokio::time::interval(inner.options.tick);
        tick.set_missed_tick_behavior(MissedTickBehavior::Delay);
        loop {
            let has_more = self.follow().await?;
            self.listen_to_heard();
            self.greet_recovered().await?;
            // Whoever was held up for long, as by a machine that slept, is not told before anything else.
            if !inner.lease.is_held() {
                return Ok(());
            }
            self.dispatch();
            tokio::select! {
                biased;
                () = stop.cancelled() => return Ok(()),
                _ = tick.tick() => {
                    self.line_up_due();
                    // Before those who are owed nothing are forgotten.
                    self.greet_recovered().await?;
                    self.repeat().await?;
                    if !self.settle(inner.options.patience).await? {
                        return Ok(());
                    }
                }
                Some(ended) = self.jobs.join_next_with_id() => self.finish(ended)?,
                () = std::future::ready(()), if has_more => {}
                () = inner.wake.notified() => {}
            }
        }
    }

    /// Waits a while for what is under way, so that what has been taken is not sent again after a restart.
    pub(super) async fn drain(&mut self, patience: Duration) -> Result<(), StorageError> {
        let deadline = Instant::now() + patience;
        while let Ok(Some(ended)) = tokio::time::timeout_at(deadline, self.jobs.join_next_with_id()).await {
            self.finish(ended)?;
        }
        Ok(())
    }

    /// Works off what is new in the log. Returns whether there may be more.
    async fn follow(&mut self) -> Result<bool, StorageError> {
        let (entries, reached) = match self.inner.feed.take(self.position, BATCH) {
            Ok(taken) => taken,
            Err(since) => self.read_log(since).await?,
        };
        if reached <= self.position {
            return Ok(false);
        }
        let news = self.inner.follower.digest(entries).await?;
        self.has_news |= !news.is_empty();
        for news in news {
            self.hand_out(&news);
        }
        self.position = reached;
        Ok(reached < self.inner.feed.applied())
    }

    /// As the feed, from the database; not further than `up_to`.
    async fn read_log(&mut self, up_to: Position) -> Result<(Vec<LogEntry>, Position), StorageError> {
        let mut entries = self.inner.store.reader().await?.list_log(self.position, BATCH as i64).await?;
        let is_complete =
            entries.first().is_some_and(|first| first.position == Position(self.position.0 + 1));
        if !is_complete {
            tracing::warn!(
                "the log was pruned before other servers were told of it: looking up what they lack"
            );
            self.doubt_all(up_to).await?;
            return Ok((Vec::new(), up_to));
        }
        entries.retain(|entry| entry.position <= up_to);
        let reached = entries.last().map_or(up_to, |last| last.position);
        Ok((entries, reached))
    }

    async fn doubt_all(&mut self, up_to: Position) -> Result<(), StorageError> {
        let Some(mut txn) = self.inner.lease.begin().await? else { return Ok(()) };
        txn.doubt_all_destinations(self.inner.own_name.as_str(), self.position).await?;
        txn.set_sender_position(up_to).await?;
        let rows = txn.list_unsettled_destinations().await?;
        txn.commit().await?;
        for row in rows {
            if let Ok(name) = OwnedServerName::try_from(row.server_name.as_str()) {
                match self.destinations.get_mut(&name) {
                    Some(known) => known.doubt(self.position),
                    None => {
                        self.destinations.insert(name.clone(), Destination::from_row(name, row));
                    }
                }
            }
        }
        self.line_up_due();
        Ok(())
    }

    /// Puts news into the queues of those whom it is for.
    fn hand_out(&mut self, news: &News) {
        if let What::Edu(edu) = &news.what {
            self.repeats.note(edu);
        }
        for name in news.to.iter() {
            if *name == self.inner.own_name || !(self.inner.options.is_allowed)(name) {
                continue;
            }
            if !self.destinations.contains_key(name) {
                if matches!(news.what, What::Heard) {
                    continue;
                }
                self.destinations.insert(name.clone(), Destination::new(name.clone()));
            }
            let Some(destination) = self.destinations.get_mut(name) else { continue };
            match &news.what {
                What::Pdu(event) => destination.push_pdu(news.position, event),
                What::Edu(edu) => destination.push_edu(news.position, edu),
                What::Heard => destination.heard(),
            }
            line_up(destination, self.inner.clock.now_ms(), &mut self.live, &mut self.late);
        }
    }

    fn listen_to_heard(&mut self) {
        let heard = std::mem::take(&mut *self.inner.heard.lock());
        for name in heard {
            self.inner.waiting.write().remove(&name);
            if let Some(destination) = self.destinations.get_mut(&name) {
                destination.heard();
                line_up(destination, self.inner.clock.now_ms(), &mut self.live, &mut self.late);
            }
        }
    }

    /// Puts those into the line whose time has come. Those that speak, and are owed nothing, are told again who is there.
    fn line_up_due(&mut self) {
        let now_ms = self.inner.clock.now_ms();
        for destination in self.destinations.values_mut() {
            if destination.forgive(now_ms) {
                self.inner.waiting.write().remove(&destination.name);
                self.recovered.push(destination.name.clone());
            }
            line_up(destination, now_ms, &mut self.live, &mut self.late);
        }
    }

    /// Starts as much as may be under way.
    fn dispatch(&mut self) {
        while self.jobs.len() - self.late_count < self.inner.options.max_sending
            && let Some(name) = self.live.pop_front()
        {
            self.start_job(name, false);
        }
        while self.late_count < self.inner.options.max_catching_up
            && let Some(name) = self.late.pop_front()
        {
            self.start_job(name, true);
        }
    }

    fn start_job(&mut self, name: OwnedServerName, is_late: bool) {
        let Some(destination) = self.destinations.get_mut(&name) else { return };
        destination.is_in_line = false;
        let inner = self.inner.clone();
        let up_to = self.position;
        let to = name.clone();
        let job = match destination.next(inner.clock.now_ms(), up_to) {
            Need::Nothing => return,
            // It fell behind while it stood in line.
            Need::CatchUp(_) if !is_late => {
                line_up(destination, inner.clock.now_ms(), &mut self.live, &mut self.late);
                return;
            }
            Need::CatchUp(since) => self.jobs.spawn(async move {
                let report = inner.catch_up.run(&to, since, up_to).await?;
                Ok(Outcome::CaughtUp { up_to, report })
            }),
            Need::Transaction(flight) => self.jobs.spawn(async move { send(&inner, &to, &flight).await }),
        };
        destination.is_busy = true;
        self.job_of.insert(job.id(), (name, is_late));
        self.late_count += usize::from(is_late);
    }

    /// Takes note of how a job has ended.
    fn finish(
        &mut self,
        ended: Result<(Id, Result<Outcome, StorageError>), JoinError>,
    ) -> Result<(), StorageError> {
        let (id, outcome) = match ended {
            Ok((id, outcome)) => (id, outcome?),
            Err(error) => {
                tracing::error!(%error, "sending to a server panicked");
                let failure = SendFailure::Unavailable("a bug in this server".to_owned());
                (error.id(), Outcome::Sent(Err(failure)))
            }
        };
        let Some((name, is_late)) = self.job_of.remove(&id) else { return Ok(()) };
        self.late_count -= usize::from(is_late);
        let Some(destination) = self.destinations.get_mut(&name) else { return Ok(()) };
        destination.is_busy = false;
        let now_ms = self.inner.clock.now_ms();
        let was_away = destination.backoff.failures > 0;
        let failure = match outcome {
            Outcome::Sent(Ok(())) => {
                destination.delivered(now_ms);
                None
            }
            Outcome::Sent(Err(failure)) => Some(failure),
            Outcome::CaughtUp { up_to, report } => {
                if report.failure.is_some() {
                    destination.caught_up_partly(report.reached);
                } else {
                    destination.caught_up(up_to, report.has_answered, now_ms);
                }
                report.failure
            }
        };
        if let Some(failure) = failure {
            tracing::info!(destination = %name, %failure, "could not send; trying again later");
            counter!("kith_federation_failed_transactions_total").increment(1);
            destination.failed(&failure, now_ms, &mut rand::rng());
            self.inner.waiting.write().insert(name);
        } else {
            self.inner.waiting.write().remove(&name);
            if was_away && destination.backoff.failures == 0 {
                self.recovered.push(name);
            }
        }
        line_up(destination, now_ms, &mut self.live, &mut self.late);
        Ok(())
    }

    /// Tells servers that answer again who is there: what they were to be told of that while they were away is dropped.
    async fn greet_recovered(&mut self) -> Result<(), StorageError> {
        for name in std::mem::take(&mut self.recovered) {
            let present = self.inner.follower.presence_for(&name, self.position).await?;
            let Some(destination) = self.destinations.get_mut(&name) else { continue };
            for news in present {
                if let What::Edu(presence) = &news.what {
                    destination.push_edu(news.position, presence);
                }
            }
            line_up(destination, self.inner.clock.now_ms(), &mut self.live, &mut self.late);
        }
        Ok(())
    }

    /// Says again what other servers forget.
    async fn repeat(&mut self) -> Result<(), StorageError> {
        let due = self.repeats.take_due();
        if due.is_empty() {
            return Ok(());
        }
        for news in self.inner.follower.what_holds_still(&due, self.position).await? {
            self.hand_out(&news);
        }
        Ok(())
    }

    /// Writes down how far everything has come; what has waited for longer than `patience` goes into the rows of those who
    /// lack it. `false` when the lease is lost.
    pub(super) async fn settle(&mut self, patience: Duration) -> Result<bool, StorageError> {
        let now_ms = self.inner.clock.now_ms();
        let mut rows: Vec<DestinationRow> = Vec::new();
        let mut position = self.position;
        for destination in self.destinations.values() {
            // First what is written, then what it covers.
            if let Some(held) = destination.holds_back(patience) {
                position = position.min(held);
            }
            rows.extend(destination.changed_row(patience));
        }
        let is_progress = position > self.written
            && (self.has_news || patience.is_zero() || self.written_at.elapsed() >= IDLE_PROGRESS);
        let Some(mut txn) = self.inner.lease.begin().await? else { return Ok(false) };
        if !rows.is_empty() {
            txn.upsert_destinations(&rows).await?;
        }
        if is_progress {
            txn.set_sender_position(position).await?;
        }
        txn.commit().await?;
        if is_progress {
            self.written = position;
            self.written_at = Instant::now();
            self.has_news = position < self.position;
        }
        for row in rows {
            if let Ok(name) = OwnedServerName::try_from(row.server_name.as_str())
                && let Some(destination) = self.destinations.get_mut(&name)
            {
                destination.note_stored(row);
            }
        }
        self.destinations.retain(|_, destination| !destination.can_be_forgotten());
        self.report_figures(now_ms);
        Ok(true)
    }

    fn report_figures(&self, now_ms: i64) {
        let (mut pdus, mut edus, mut waiting, mut behind) = (0, 0, 0, 0);
        for destination in self.destinations.values() {
            let (more_pdus, more_edus) = destination.waiting();
            pdus += more_pdus;
            edus += more_edus;
            waiting += usize::from(!destination.backoff.is_due(now_ms));
            behind += usize::from(destination.is_behind());
        }
        let lag = (self.inner.feed.applied().0 - self.position.0).max(0);
        gauge!("kith_log_lag", "follower" => "federation").set(lag as f64);
        gauge!("kith_federation_waiting_pdus").set(pdus as f64);
        gauge!("kith_federation_waiting_edus").set(edus as f64);
        gauge!("kith_federation_destinations", "state" => "active").set(self.destinations.len() as f64);
        gauge!("kith_federation_destinations", "state" => "backoff").set(waiting as f64);
        gauge!("kith_federation_destinations", "state" => "behind").set(behind as f64);
    }
}

/// Puts a server into the line if there is something to be sent and it is time for it.
fn line_up(
    destination: &mut Destination,
    now_ms: i64,
    live: &mut VecDeque<OwnedServerName>,
    late: &mut VecDeque<OwnedServerName>,
) {
    if destination.is_in_line
        || destination.is_busy
        || !destination.has_work()
        || !destination.backoff.is_due(now_ms)
    {
        return;
    }
    destination.is_in_line = true;
    let name = destination.name.clone();
    if !destination.is_behind() && destination.backoff.failures == 0 {
        live.push_back(name);
    } else if destination.backoff.failures == 0 || destination.backoff.retry_at.is_none() {
        // It answers, or has just made itself heard: it does not wait for those that will hardly do.
        late.push_front(name);
    } else {
        late.push_back(name);
    }
}

/// Sends a transaction, and strikes off what was stored for it.
async fn send(inner: &Inner, to: &OwnedServerName, flight: &Flight) -> Result<Outcome, StorageError> {
    let sent = deliver(&*inner.transport, to, &flight.transaction, inner.options.timeout).await;
    if sent.is_ok()
        && let Some(place) = flight.stored_up_to
    {
        inner.store.delete_outgoing_edus(to.as_str(), place).await?;
    }
    Ok(Outcome::Sent(sent))
}
