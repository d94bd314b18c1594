//! What the log has told this process and the sender has not come to yet.

use std::{collections::VecDeque, future::ready, pin::Pin, sync::Arc};

use hs_model::{records::Outcome, stream::Position};
use hs_storage::{
    log::{EphemeralChange, LogEntry, LogKind},
    receipts::ReceiptType,
    tail::LogApplier,
};
use parking_lot::Mutex;
use ruma::{OwnedServerName, ServerName};
use tokio::sync::Notify;

/// How many entries wait; with more they are read from the database instead.
const CAPACITY: usize = 20_000;

/// See the module's description. Only the replica that sends fills it.
#[derive(Debug)]
pub(super) struct Feed {
    own_name: OwnedServerName,
    state: Mutex<State>,
    wake: Arc<Notify>,
}

#[derive(Debug, Default)]
struct State {
    is_open: bool,
    entries: VecDeque<LogEntry>,
    /// What the sender has to know after this position is in `entries`.
    since: Position,
    /// The log has been applied up to here.
    applied: Position,
}

impl Feed {
    pub(super) fn new(own_name: OwnedServerName, wake: Arc<Notify>) -> Self {
        Self { own_name, state: Mutex::default(), wake }
    }

    /// Begins to keep what comes. `applied` is what the log has been applied to before.
    pub(super) fn open(&self, applied: Position) {
        let mut state = self.state.lock();
        if !state.is_open {
            state.applied = state.applied.max(applied);
            state.since = state.applied;
            state.is_open = true;
        }
    }

    /// Keeps nothing any longer.
    pub(super) fn close(&self) {
        let mut state = self.state.lock();
        state.is_open = false;
        state.entries = VecDeque::new();
    }

    /// The next entries after a position, and up to where there are no others. `Err` says up to where they have to be read
    /// from the database.
    pub(super) fn take(&self, after: Position, limit: usize) -> Result<(Vec<LogEntry>, Position), Position> {
        let mut state = self.state.lock();
        while state.entries.front().is_some_and(|entry| entry.position <= after) {
            state.entries.pop_front();
        }
        if after < state.since {
            return Err(state.since);
        }
        let count = state.entries.len().min(limit);
        let entries: Vec<LogEntry> = state.entries.drain(..count).collect();
        let reached = match entries.last() {
            Some(last) if !state.entries.is_empty() => last.position,
            _ => state.applied.max(after),
        };
        state.since = state.since.max(reached);
        Ok((entries, reached))
    }

    /// Up to where the log has been applied.
    pub(super) fn applied(&self) -> Position {
        self.state.lock().applied
    }
}

impl LogApplier for Feed {
    fn apply<'a>(&'a self, entries: &'a [LogEntry]) -> Pin<Box<dyn Future<Output = ()> + Send + 'a>> {
        let Some(last) = entries.last() else { return Box::pin(ready(())) };
        let mut state = self.state.lock();
        state.applied = last.position;
        if state.is_open {
            let before = state.entries.len();
            state.entries.extend(entries.iter().filter(|entry| concerns(entry, &self.own_name)).cloned());
            let has_news = state.entries.len() > before;
            if state.entries.len() > CAPACITY {
                state.entries.clear();
                state.since = last.position;
            }
            if has_news {
                self.wake.notify_one();
            }
        }
        Box::pin(ready(()))
    }
}

/// Whether other servers may have to hear of an entry.
pub(super) fn concerns(entry: &LogEntry, own_name: &ServerName) -> bool {
    match (entry.kind, &entry.change) {
        (LogKind::Event, _) => entry.event.as_ref().is_some_and(|event| {
            event.outcome == Outcome::Accepted && event.sender.server_name() == own_name
        }),
        (LogKind::Receipt, Some(EphemeralChange::Receipt(row))) => {
            row.receipt.receipt_type == ReceiptType::Read && row.receipt.user_id.server_name() == own_name
        }
        (LogKind::Typing, Some(EphemeralChange::Typing(update))) => update.user_id.server_name() == own_name,
        (LogKind::Presence, Some(EphemeralChange::Presence(row))) => row.user_id.server_name() == own_name,
        (kind, _) => matches!(
            kind,
            LogKind::Receipt
                | LogKind::Typing
                | LogKind::Presence
                | LogKind::DeviceList
                | LogKind::OutgoingEdu
                | LogKind::ForwardedEvent
                | LogKind::DestinationHeard
        ),
    }
}
