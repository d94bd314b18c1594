//! The newest events with a notice of each room, in memory: what is unread is counted from them.

use std::{
    collections::{BTreeMap, HashMap, HashSet, VecDeque},
    sync::Arc,
};

use hs_model::{
    ids::{EventNid, RoomNid, UserNid},
    notices::{Attention, Notice},
    records::{EventRecord, Outcome},
    stream::Position,
};
use hs_storage::{
    StorageError, Store,
    notices::{IndividualRow, NoticeRow},
};
use moka::sync::Cache;
use parking_lot::Mutex;
use ruma::OwnedEventId;

use crate::unread::{Reading, Unread};

/// How many events of a room are looked at: beyond it, nobody counts.
pub(crate) const MAX_EVENTS: usize = 1_000;
/// How many rooms are kept in memory.
const MAX_ROOMS: u64 = 2_000;

#[derive(Debug)]
struct Entry {
    event: EventNid,
    position: Position,
    sender: UserNid,
    thread_root: Option<OwnedEventId>,
    everyone: Attention,
    marks_read: bool,
}

impl Entry {
    fn new(event: EventNid, position: Position, sender: UserNid, notice: &Notice) -> Self {
        Self {
            event,
            position,
            sender,
            thread_root: notice.thread_root.clone(),
            everyone: notice.everyone,
            marks_read: notice.marks_read,
        }
    }
}

/// Events with a notice, oldest first, and what they mean to single users.
#[derive(Debug, Default)]
pub(crate) struct Events {
    entries: VecDeque<Entry>,
    individuals: HashMap<UserNid, BTreeMap<Position, Attention>>,
}

impl Events {
    pub(crate) fn add_row(&mut self, row: &NoticeRow) {
        self.entries.push_back(Entry::new(row.event, row.position, row.sender, &row.notice));
    }

    pub(crate) fn add_individual(&mut self, row: &IndividualRow) {
        self.individuals.entry(row.notice.user).or_default().insert(row.position, row.notice.attention);
    }

    /// What is unread for a user, up to a position.
    pub(crate) fn count(&self, reading: &Reading<'_>, until: Position) -> Unread {
        let after = reading.receipts.unthreaded;
        let start = self.entries.partition_point(|entry| entry.position <= after);
        let own = self.individuals.get(&reading.user);
        let mut unread = Unread::default();
        for entry in self.entries.range(start..).take_while(|entry| entry.position <= until) {
            let thread = entry.thread_root.as_ref();
            if entry.sender == reading.user {
                // Whoever speaks has read what was said.
                if entry.marks_read {
                    unread.reset(thread);
                }
                continue;
            }
            if entry.position <= reading.receipts.of_thread(thread) || reading.ignored.contains(&entry.sender)
            {
                continue;
            }
            let individual = own.and_then(|own| own.get(&entry.position));
            let everyone = if reading.is_quiet { Attention::NONE } else { entry.everyone };
            unread.add(thread, *individual.unwrap_or(&everyone));
        }
        unread
    }

    fn remove(&mut self, event: EventNid) {
        if let Some(at) = self.entries.iter().rposition(|entry| entry.event == event) {
            self.entries.remove(at);
        }
    }

    fn shrink(&mut self) {
        while self.entries.len() > MAX_EVENTS {
            let Some(gone) = self.entries.pop_front() else { return };
            self.individuals.retain(|_, own| {
                own.remove(&gone.position);
                !own.is_empty()
            });
        }
    }
}

#[derive(Debug, Default)]
struct State {
    is_loaded: bool,
    events: Events,
    /// Redactions that came while the events were read.
    redacted: HashSet<EventNid>,
}

/// A room's newest events with a notice.
#[derive(Debug, Default)]
pub(crate) struct Tally {
    state: Mutex<State>,
    loading: tokio::sync::Mutex<()>,
}

impl Tally {
    /// What is unread for a user, up to a position.
    pub(crate) fn count(&self, reading: &Reading<'_>, until: Position) -> Unread {
        self.state.lock().events.count(reading, until)
    }

    fn fill(&self, rows: &[NoticeRow], individuals: &[IndividualRow]) {
        let mut state = self.state.lock();
        let newest = rows.last().map_or(Position::START, |row| row.position);
        let mut events = Events::default();
        for row in rows {
            events.add_row(row);
        }
        for row in individuals {
            events.add_individual(row);
        }
        // What was applied meanwhile comes after what was read, or is in it already.
        let applied = std::mem::take(&mut state.events);
        events.entries.extend(applied.entries.into_iter().filter(|entry| entry.position > newest));
        for (user, own) in applied.individuals {
            events.individuals.entry(user).or_default().extend(own);
        }
        for event in std::mem::take(&mut state.redacted) {
            events.remove(event);
        }
        state.events = events;
        state.is_loaded = true;
    }
}

/// The tallies in memory.
#[derive(Debug)]
pub(crate) struct Tallies {
    rooms: Cache<RoomNid, Arc<Tally>>,
}

impl Tallies {
    pub(crate) fn new() -> Self {
        Self { rooms: Cache::new(MAX_ROOMS) }
    }

    /// A room's tally, if it is in memory.
    pub(crate) fn get(&self, room: RoomNid) -> Option<Arc<Tally>> {
        self.rooms.get(&room).filter(|tally| tally.state.lock().is_loaded)
    }

    /// A room's tally, read from the database if need be.
    pub(crate) async fn load(&self, store: &Store, room: RoomNid) -> Result<Arc<Tally>, StorageError> {
        // It follows the log from here on, so nothing is missing between what is read and what is applied.
        let tally = self.rooms.get_with(room, Arc::default);
        let loading = tally.loading.lock().await;
        if !tally.state.lock().is_loaded {
            let mut reader = store.reader().await?;
            let rows = reader.list_notices(&[(room, Position::START)], MAX_EVENTS as i64).await?;
            let after = rows.first().map_or(Position::START, |row| Position(row.position.0 - 1));
            let individuals = reader.list_individual_notices(&[(room, after)], None).await?;
            tally.fill(&rows, &individuals);
        }
        drop(loading);
        Ok(tally)
    }

    /// Takes note of an event of the log.
    pub(crate) async fn apply(&self, store: &Store, event: &EventRecord) {
        if event.outcome != Outcome::Accepted {
            return;
        }
        let Some(tally) = self.rooms.get(&event.room) else { return };
        if let Some(target) = event.redacts {
            let mut state = tally.state.lock();
            state.events.remove(target);
            if !state.is_loaded {
                state.redacted.insert(target);
            }
        }
        let (Some(notice), Some(position)) = (&event.notice, event.position) else { return };
        let individuals = match &notice.individuals {
            Some(individuals) => individuals.iter().map(|notice| (notice.user, notice.attention)).collect(),
            None => read_individuals(store, event.room, position).await,
        };
        let mut state = tally.state.lock();
        state.events.entries.push_back(Entry::new(event.nid, position, event.sender_nid, notice));
        for (user, attention) in individuals {
            state.events.individuals.entry(user).or_default().insert(position, attention);
        }
        state.events.shrink();
    }
}

/// What another replica wrote.
async fn read_individuals(store: &Store, room: RoomNid, position: Position) -> Vec<(UserNid, Attention)> {
    let read = async {
        let before = Position(position.0 - 1);
        store.reader().await?.list_individual_notices(&[(room, before)], None).await
    };
    match read.await {
        Ok(rows) => rows
            .into_iter()
            .filter(|row| row.position == position)
            .map(|row| (row.notice.user, row.notice.attention))
            .collect(),
        Err(error) => {
            tracing::error!(%error, room = room.0, "could not read whom an event notifies");
            Vec::new()
        }
    }
}
