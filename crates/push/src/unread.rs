//! What a user has not read.
//!
//! <https://spec.matrix.org/v1.19/client-server-api/#receiving-notifications>

use std::{
    collections::{BTreeMap, HashMap, HashSet},
    sync::Arc,
};

use hs_model::{
    ids::{RoomNid, UserNid},
    notices::Attention,
    stream::Position,
};
use hs_storage::{StorageError, receipts::ReceiptRow};
use moka::sync::Cache;
use parking_lot::Mutex;
use ruma::{OwnedEventId, RoomId};
use serde::Serialize;

use crate::{Push, personal::PersonalRules, tally::Events, tally::MAX_EVENTS};

/// The thread id for what belongs to no thread.
const MAIN_TIMELINE: &str = "main";
/// Up to how many rooms are read into memory as a whole to count in them; for more, only what this user has not read.
const MAX_ROOMS_AT_ONCE: usize = 8;
/// How many users' receipts in rooms are kept in memory.
const MAX_RECEIPTS: u64 = 100_000;

/// How many events ask for a user's attention.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize)]
pub struct Count {
    /// Those that notify.
    pub notification_count: u64,
    /// Those that stand out.
    pub highlight_count: u64,
}

/// What is unread in a room.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Unread {
    /// Outside of threads.
    pub main: Count,
    /// In threads with anything unread.
    pub threads: BTreeMap<OwnedEventId, Count>,
}

impl Unread {
    /// In and outside of threads.
    pub fn total(&self) -> Count {
        self.threads.values().fold(self.main, |sum, count| Count {
            notification_count: sum.notification_count + count.notification_count,
            highlight_count: sum.highlight_count + count.highlight_count,
        })
    }

    pub(crate) fn add(&mut self, thread: Option<&OwnedEventId>, attention: Attention) {
        if !attention.notifies() {
            return;
        }
        let count = match thread {
            None => &mut self.main,
            Some(root) => self.threads.entry(root.clone()).or_default(),
        };
        count.notification_count += 1;
        count.highlight_count += u64::from(attention.highlights());
    }

    pub(crate) fn reset(&mut self, thread: Option<&OwnedEventId>) {
        match thread {
            None => self.main = Count::default(),
            Some(root) => drop(self.threads.remove(root)),
        }
    }
}

/// A room that a user is in.
#[derive(Clone, Copy, Debug)]
pub struct JoinedRoom<'a> {
    /// Its number.
    pub room: RoomNid,
    /// Its id.
    pub room_id: &'a RoomId,
}

/// From where on a user has not read a room.
#[derive(Debug, Default)]
pub(crate) struct Receipts {
    /// Whatever the thread, nothing up to here is unread: it was read, or came before the user did.
    pub(crate) unthreaded: Position,
    main: Position,
    threads: HashMap<OwnedEventId, Position>,
}

impl Receipts {
    fn add(&mut self, row: &ReceiptRow) {
        let Some(position) = row.receipt.event_position else { return };
        let read = match row.receipt.thread_id.as_deref() {
            None => &mut self.unthreaded,
            Some(MAIN_TIMELINE) => &mut self.main,
            Some(root) => {
                let Ok(root) = OwnedEventId::try_from(root) else { return };
                self.threads.entry(root).or_default()
            }
        };
        *read = position.max(*read);
    }

    /// How far a thread is read by receipts for that thread.
    pub(crate) fn of_thread(&self, thread: Option<&OwnedEventId>) -> Position {
        match thread {
            None => self.main,
            Some(root) => self.threads.get(root).copied().unwrap_or_default(),
        }
    }
}

/// For whom to count, and from where.
#[derive(Debug)]
pub(crate) struct Reading<'a> {
    pub(crate) user: UserNid,
    pub(crate) receipts: &'a Receipts,
    pub(crate) ignored: &'a HashSet<UserNid>,
    pub(crate) is_quiet: bool,
}

/// Receipts, or nothing yet. Taken out of the cache, and so forgotten, when they change.
type Slot = Arc<Mutex<Option<Arc<Receipts>>>>;

/// How far users have read, in memory.
#[derive(Debug)]
pub(crate) struct ReceiptCache(Cache<(UserNid, RoomNid), Slot>);

impl ReceiptCache {
    pub(crate) fn new() -> Self {
        Self(Cache::new(MAX_RECEIPTS))
    }

    pub(crate) fn forget(&self, user: UserNid, room: RoomNid) {
        self.0.invalidate(&(user, room));
    }
}

impl Push {
    /// What a user has not read in rooms that they are in, as of a position that has been applied.
    ///
    /// Counts end at `MAX_EVENTS` events in a room: beyond it, nobody counts.
    pub async fn unread(
        &self,
        user: UserNid,
        rooms: &[JoinedRoom<'_>],
        until: Position,
    ) -> Result<HashMap<RoomNid, Unread>, StorageError> {
        let receipts = self.read_receipts(user, rooms).await?;
        let personal = self.inner.rules.find(&self.inner.store, &[user]).await?.remove(&user);
        let ignored = self.inner.ignored.find(&self.inner.store, user).await?;
        let own = Own { user, personal: personal.as_deref(), ignored: &ignored };
        let mut unread = HashMap::with_capacity(rooms.len());
        let mut unknown = Vec::new();
        for room in rooms {
            match self.inner.tallies.get(room.room) {
                Some(tally) => {
                    let count = tally.count(&own.reading(room, &receipts[&room.room]), until);
                    unread.insert(room.room, count);
                }
                None => unknown.push(*room),
            }
        }
        if unknown.len() <= MAX_ROOMS_AT_ONCE {
            for room in unknown {
                let tally = self.inner.tallies.load(&self.inner.store, room.room).await?;
                unread.insert(room.room, tally.count(&own.reading(&room, &receipts[&room.room]), until));
            }
            return Ok(unread);
        }
        let mut events = self.read_unread(user, &unknown, &receipts).await?;
        for room in unknown {
            let events = events.remove(&room.room).unwrap_or_default();
            unread.insert(room.room, events.count(&own.reading(&room, &receipts[&room.room]), until));
        }
        Ok(unread)
    }

    /// The events that one user has not read, of rooms that are not in memory.
    async fn read_unread(
        &self,
        user: UserNid,
        rooms: &[JoinedRoom<'_>],
        receipts: &HashMap<RoomNid, Arc<Receipts>>,
    ) -> Result<HashMap<RoomNid, Events>, StorageError> {
        let after = |room: &JoinedRoom<'_>| (room.room, receipts[&room.room].unthreaded);
        let after: Vec<_> = rooms.iter().map(after).collect();
        let mut reader = self.inner.store.reader().await?;
        let mut events: HashMap<RoomNid, Events> = HashMap::new();
        for row in reader.list_notices(&after, MAX_EVENTS as i64).await? {
            events.entry(row.room).or_default().add_row(&row);
        }
        for row in reader.list_individual_notices(&after, Some(user)).await? {
            events.entry(row.room).or_default().add_individual(&row);
        }
        Ok(events)
    }

    pub(crate) async fn read_receipts(
        &self,
        user: UserNid,
        rooms: &[JoinedRoom<'_>],
    ) -> Result<HashMap<RoomNid, Arc<Receipts>>, StorageError> {
        let mut found = HashMap::with_capacity(rooms.len());
        let mut slots: HashMap<RoomNid, Slot> = HashMap::new();
        for room in rooms {
            let slot = self.inner.receipts.0.get_with((user, room.room), Slot::default);
            let known = slot.lock().clone();
            match known {
                Some(receipts) => drop(found.insert(room.room, receipts)),
                None => drop(slots.insert(room.room, slot)),
            }
        }
        if slots.is_empty() {
            return Ok(found);
        }
        let unknown: Vec<RoomNid> = slots.keys().copied().collect();
        let mut read: HashMap<RoomNid, Receipts> = HashMap::new();
        let mut reader = self.inner.store.reader().await?;
        for (room, joined_at) in reader.list_joined_since(user, &unknown).await? {
            read.entry(room).or_default().unthreaded = joined_at;
        }
        for row in reader.list_receipts_of_user(user, &unknown).await? {
            read.entry(row.receipt.room).or_default().add(&row);
        }
        for (room, slot) in slots {
            let receipts = Arc::new(read.remove(&room).unwrap_or_default());
            *slot.lock() = Some(receipts.clone());
            found.insert(room, receipts);
        }
        Ok(found)
    }
}

/// What holds for a user in all rooms.
struct Own<'a> {
    user: UserNid,
    personal: Option<&'a PersonalRules>,
    ignored: &'a HashSet<UserNid>,
}

impl Own<'_> {
    fn reading<'a>(&'a self, room: &JoinedRoom<'_>, receipts: &'a Receipts) -> Reading<'a> {
        let is_quiet = self.personal.is_some_and(|rules| rules.is_quiet_in(room.room_id));
        Reading { user: self.user, receipts, ignored: self.ignored, is_quiet }
    }
}
