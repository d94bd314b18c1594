//! What is known of one server: what waits for it, and how it has been answering.

use std::{collections::VecDeque, sync::Arc, time::Duration};

use hs_model::{records::EventRecord, stream::Position};
use hs_storage::{destinations::DestinationRow, outgoing_edus::EduPlace};
use rand::Rng;
use ruma::OwnedServerName;
use tokio::time::Instant;

use super::{
    backoff::Backoff,
    edus::{EduNews, EduQueue},
    transaction::{Builder, MAX_PDUS, SendFailure, Transaction},
};

/// How many events wait in memory for a server; with more it falls behind.
const MAX_WAITING_PDUS: usize = 2_000;
/// After so many failures in a row, what waits in memory is dropped and looked up again later.
const FAILURES_IN_MEMORY: u32 = 3;

/// A server, as long as there is something to be told.
#[derive(Debug)]
pub(super) struct Destination {
    pub(super) name: OwnedServerName,
    pub(super) backoff: Backoff,
    phase: Phase,
    /// Whether something is being sent at present.
    pub(super) is_busy: bool,
    /// Whether it stands in the line of those that have something to be sent.
    pub(super) is_in_line: bool,
    /// Whether it has made itself heard since the last attempt failed.
    has_spoken: bool,
    /// As the database has it.
    stored: DestinationRow,
    last_success_at: Option<i64>,
}

#[derive(Debug)]
enum Phase {
    /// Everything that it lacks is in memory.
    Live(Box<Queue>),
    /// What happened after `since` has to be looked up. It has been told nothing up to `newest` at least.
    Behind { since: Position, newest: Position },
}

#[derive(Debug, Default)]
struct Queue {
    pdus: VecDeque<(Position, Arc<EventRecord>)>,
    edus: EduQueue,
    /// What is being sent, or was and has to be sent again.
    flight: Option<Flight>,
    /// Since when the oldest of all this waits, or since the last success.
    waiting_since: Option<Instant>,
}

/// A transaction on its way.
#[derive(Clone, Debug)]
pub(super) struct Flight {
    pub(super) transaction: Arc<Transaction>,
    /// The first position of what must not be lost.
    oldest: Option<Position>,
    /// The stored EDUs up to here are in it.
    pub(super) stored_up_to: Option<EduPlace>,
}

/// What a server needs next.
#[derive(Debug)]
pub(super) enum Need {
    /// This to be sent.
    Transaction(Flight),
    /// To be told what it has missed since then.
    CatchUp(Position),
    Nothing,
}

impl Destination {
    /// A server that lacks nothing yet.
    pub(super) fn new(name: OwnedServerName) -> Self {
        let stored = DestinationRow { server_name: name.to_string(), ..DestinationRow::default() };
        Self {
            name,
            backoff: Backoff::default(),
            phase: Phase::Live(Box::default()),
            is_busy: false,
            is_in_line: false,
            has_spoken: false,
            stored,
            last_success_at: None,
        }
    }

    /// A server as the database has it.
    pub(super) fn from_row(name: OwnedServerName, row: DestinationRow) -> Self {
        let phase = match row.pending_since {
            Some(since) => Phase::Behind { since, newest: Position(since.0 + 1) },
            None => Phase::Live(Box::default()),
        };
        let backoff = Backoff {
            failures: row.failures.max(0) as u32,
            failing_since: row.failing_since,
            retry_at: row.retry_at,
            failed_at: None,
        };
        Self { phase, backoff, stored: row, ..Self::new(name) }
    }

    /// There is an event to be sent. Positions ascend.
    pub(super) fn push_pdu(&mut self, position: Position, event: &Arc<EventRecord>) {
        match &mut self.phase {
            Phase::Behind { newest, .. } => *newest = position,
            Phase::Live(queue) => {
                queue.pdus.push_back((position, event.clone()));
                queue.waiting_since.get_or_insert_with(Instant::now);
                if queue.pdus.len() > MAX_WAITING_PDUS {
                    self.fall_behind();
                }
            }
        }
    }

    /// There is something else to be told.
    pub(super) fn push_edu(&mut self, position: Position, news: &EduNews) {
        let is_passing = matches!(news, EduNews::Typing(_) | EduNews::Presence(_));
        match &mut self.phase {
            Phase::Behind { newest, .. } if !is_passing => *newest = position,
            Phase::Live(queue) if !is_passing || self.backoff.failures == 0 => {
                queue.waiting_since.get_or_insert_with(Instant::now);
                if !queue.edus.push(news) {
                    self.fall_behind();
                }
            }
            _ => {}
        }
    }

    /// Drops what is in memory: it is looked up when there is time for it.
    fn fall_behind(&mut self) {
        if let Phase::Live(queue) = &self.phase
            && let Some(oldest) = queue.oldest()
        {
            let newest = queue.pdus.back().map_or(oldest, |(position, _)| *position);
            self.phase = Phase::Behind { since: Position(oldest.0 - 1), newest };
        }
    }

    /// Nobody knows what of all that happened after a position it lacks.
    pub(super) fn doubt(&mut self, since: Position) {
        self.fall_behind();
        match &mut self.phase {
            Phase::Behind { since: known, .. } => *known = (*known).min(since),
            Phase::Live(_) => self.phase = Phase::Behind { since, newest: Position(since.0 + 1) },
        }
    }

    /// What there is to do, if it is time; the log has been worked off up to a position. Says the same again after a failure.
    pub(super) fn next(&mut self, now_ms: i64, up_to: Position) -> Need {
        if self.is_busy || !self.backoff.is_due(now_ms) {
            return Need::Nothing;
        }
        match &mut self.phase {
            Phase::Behind { since, .. } if *since < up_to => Need::CatchUp(*since),
            Phase::Behind { .. } => Need::Nothing,
            Phase::Live(queue) => queue.next_flight(now_ms).map_or(Need::Nothing, Need::Transaction),
        }
    }

    /// Whether there is anything to do, be it later.
    pub(super) fn has_work(&self) -> bool {
        match &self.phase {
            Phase::Behind { .. } => true,
            Phase::Live(queue) => queue.flight.is_some() || !queue.pdus.is_empty() || !queue.edus.is_empty(),
        }
    }

    pub(super) fn is_behind(&self) -> bool {
        matches!(self.phase, Phase::Behind { .. })
    }

    /// How much waits in memory.
    pub(super) fn waiting(&self) -> (usize, usize) {
        match &self.phase {
            Phase::Behind { .. } => (0, 0),
            Phase::Live(queue) => (queue.pdus.len(), queue.edus.len()),
        }
    }

    /// The transaction has been taken.
    pub(super) fn delivered(&mut self, now_ms: i64) {
        self.note_success(now_ms);
        if let Phase::Live(queue) = &mut self.phase {
            queue.flight = None;
            let is_waiting = !queue.pdus.is_empty() || !queue.edus.is_empty();
            queue.waiting_since = is_waiting.then(Instant::now);
        }
    }

    /// It has been told what it had missed up to a position. `has_answered` says that something was sent at all.
    pub(super) fn caught_up(&mut self, up_to: Position, has_answered: bool, now_ms: i64) {
        if has_answered {
            self.note_success(now_ms);
        }
        if let Phase::Behind { since, newest } = &mut self.phase {
            if *newest > up_to {
                *since = up_to;
            } else {
                self.phase = Phase::Live(Box::default());
            }
        }
    }

    /// It has been told what it had missed up to a position, and then something failed.
    pub(super) fn caught_up_partly(&mut self, up_to: Position) {
        if let Phase::Behind { since, .. } = &mut self.phase {
            *since = (*since).max(up_to);
        }
    }

    /// It did not take what it was sent.
    pub(super) fn failed(&mut self, failure: &SendFailure, now_ms: i64, rng: &mut impl Rng) {
        let asked = match failure {
            SendFailure::RateLimited(asked) => *asked,
            SendFailure::Unavailable(_) | SendFailure::Refused(_) | SendFailure::TooLarge(_) => None,
        };
        self.backoff.failed(now_ms, asked, rng);
        self.has_spoken = false;
        if let Phase::Live(queue) = &mut self.phase {
            queue.edus.drop_passing();
            // A transaction of nothing else is not worth another attempt.
            queue.flight = queue.flight.take().filter(|flight| flight.oldest.is_some());
        }
        if self.backoff.failures >= FAILURES_IN_MEMORY {
            self.fall_behind();
        }
    }

    /// It has made itself heard.
    pub(super) fn heard(&mut self) {
        self.backoff.heard();
        self.has_spoken = true;
    }

    /// Trusts a server again that has made itself heard and that nothing waits for, so that no attempt would show that it
    /// answers. `false` when there is nothing to forgive, or it is not time yet.
    pub(super) fn forgive(&mut self, now_ms: i64) -> bool {
        let is_forgiven = self.has_spoken
            && self.backoff.failures > 0
            && !self.is_busy
            && !self.has_work()
            && self.backoff.is_due(now_ms);
        if is_forgiven {
            self.backoff.succeeded();
        }
        is_forgiven
    }

    fn note_success(&mut self, now_ms: i64) {
        if self.backoff.failures > 0 || self.is_behind() {
            self.last_success_at = Some(now_ms);
        }
        self.backoff.succeeded();
    }

    /// The first position of what it lacks and what is in memory only, and since when that waits.
    fn oldest_in_memory(&self) -> Option<(Position, Instant)> {
        match &self.phase {
            Phase::Behind { .. } => None,
            Phase::Live(queue) => queue.oldest().zip(queue.waiting_since),
        }
    }

    /// What the stored position must not pass because of this server: `None` when its row covers what it lacks, or when it
    /// lacks nothing. What waits for longer than `patience` gets into the row.
    pub(super) fn holds_back(&self, patience: Duration) -> Option<Position> {
        let (oldest, since) = self.oldest_in_memory()?;
        let is_covered = self.stored.pending_since.is_some() || since.elapsed() >= patience;
        (!is_covered).then_some(Position(oldest.0 - 1))
    }

    /// The row that is to be written, if it has changed.
    pub(super) fn changed_row(&self, patience: Duration) -> Option<DestinationRow> {
        let row = self.row(patience);
        let is_same = DestinationRow { last_success_at: None, ..row.clone() }
            == DestinationRow { last_success_at: None, ..self.stored.clone() };
        (!is_same).then_some(row)
    }

    fn row(&self, patience: Duration) -> DestinationRow {
        let pending_since = match &self.phase {
            Phase::Behind { since, .. } => Some(*since),
            Phase::Live(_) => {
                let in_memory = self.oldest_in_memory();
                let must =
                    |since: Instant| self.stored.pending_since.is_some() || since.elapsed() >= patience;
                in_memory.filter(|(_, since)| must(*since)).map(|(oldest, _)| Position(oldest.0 - 1))
            }
        };
        DestinationRow {
            server_name: self.name.to_string(),
            pending_since,
            failing_since: self.backoff.failing_since,
            retry_at: self.backoff.retry_at,
            failures: self.backoff.failures as i32,
            last_success_at: self.last_success_at,
        }
    }

    /// The row has been written.
    pub(super) fn note_stored(&mut self, row: DestinationRow) {
        self.stored = row;
    }

    /// Whether memory says nothing that the database does not.
    pub(super) fn can_be_forgotten(&self) -> bool {
        let is_settled = self.stored.pending_since.is_none() && self.stored.failing_since.is_none();
        !self.is_busy && !self.has_work() && self.backoff == Backoff::default() && is_settled
    }
}

impl Queue {
    fn oldest(&self) -> Option<Position> {
        let flight = self.flight.as_ref().and_then(|flight| flight.oldest);
        let pdu = self.pdus.front().map(|(position, _)| *position);
        [flight, pdu, self.edus.oldest()].into_iter().flatten().min()
    }

    fn next_flight(&mut self, now_ms: i64) -> Option<Flight> {
        if let Some(flight) = &self.flight {
            return Some(flight.clone());
        }
        let mut builder = Builder::new(now_ms);
        let mut oldest = None;
        for (position, event) in self.pdus.drain(..self.pdus.len().min(MAX_PDUS)) {
            oldest.get_or_insert(position);
            builder.pdu(event.event_id.as_str(), event.json.clone());
        }
        let taken = self.edus.take(&mut builder, now_ms);
        if builder.is_empty() {
            return None;
        }
        let flight = Flight {
            transaction: builder.finish(),
            oldest: [oldest, taken.oldest].into_iter().flatten().min(),
            stored_up_to: taken.stored_up_to,
        };
        self.flight = Some(flight.clone());
        Some(flight)
    }
}
