//! What lists are filtered and ordered by, of every room that somebody's list was made of: kept in memory and fed by the
//! log, so that a list of thousands of rooms costs one query the first time and none later.

use std::{
    collections::{HashMap, HashSet},
    sync::Arc,
};

use hs_model::{
    ids::{RoomNid, SlotNid},
    records::{EventRecord, Outcome},
    stream::Position,
};
use hs_storage::{
    StorageError, Store,
    log::{LogEntry, LogKind},
};
use parking_lot::Mutex;
use serde::Deserialize;

/// How many rooms are kept at most. Beyond that all are forgotten, and read again where they are wanted.
const MAX_ROOMS: usize = 200_000;

/// The events that count as somebody doing something in a room.
const BUMPING: [&str; 7] = [
    "m.room.create",
    "m.room.message",
    "m.room.encrypted",
    "m.sticker",
    "m.call.invite",
    "m.poll.start",
    "m.beacon_info",
];

const ENCRYPTION: &str = "m.room.encryption";
const CREATE: &str = "m.room.create";

pub(super) fn is_bumping(event_type: &str) -> bool {
    BUMPING.contains(&event_type)
}

/// What is known of a room.
#[derive(Clone, Debug)]
pub(super) struct RoomFacts {
    /// The newest event.
    pub(super) last: Position,
    /// The newest event in which somebody did something; `None` when that has not been looked up.
    pub(super) bump: Option<Position>,
    pub(super) is_encrypted: bool,
    pub(super) room_type: Option<Arc<str>>,
}

/// An event, as far as it changes the facts.
#[derive(Clone, Copy, Debug)]
struct Touch {
    room: RoomNid,
    position: Position,
    is_bump: bool,
    encrypts: bool,
}

impl RoomFacts {
    fn apply(&mut self, touch: &Touch) {
        self.last = self.last.max(touch.position);
        if touch.is_bump
            && let Some(bump) = &mut self.bump
        {
            *bump = (*bump).max(touch.position);
        }
        self.is_encrypted |= touch.encrypts;
    }
}

#[derive(Debug, Default)]
struct Inner {
    rooms: HashMap<RoomNid, RoomFacts>,
    /// How many are being read from the database.
    loading: usize,
    /// What has happened while somebody was reading.
    touched: Vec<Touch>,
}

/// The facts that this process knows.
#[derive(Clone, Debug, Default)]
pub(crate) struct RoomFactsCache {
    inner: Arc<Mutex<Inner>>,
}

/// Sees to it that what happens is remembered while the database is read, however the reading ends.
struct Loading<'a>(&'a RoomFactsCache);

impl<'a> Loading<'a> {
    fn begin(cache: &'a RoomFactsCache) -> Self {
        cache.inner.lock().loading += 1;
        Self(cache)
    }
}

impl Drop for Loading<'_> {
    fn drop(&mut self) {
        let mut inner = self.0.inner.lock();
        inner.loading -= 1;
        if inner.loading == 0 {
            inner.touched = Vec::new();
        }
    }
}

impl RoomFactsCache {
    /// Takes note of the log. Must happen before long polls are woken.
    pub(crate) fn apply(&self, entries: &[LogEntry]) {
        let mut inner = self.inner.lock();
        for entry in entries {
            let (LogKind::Event, Some(room), Some(event)) = (entry.kind, entry.room, &entry.event) else {
                continue;
            };
            if event.outcome != Outcome::Accepted {
                continue;
            }
            let touch = touch(room, entry.position, event);
            if inner.loading > 0 {
                inner.touched.push(touch);
            }
            if let Some(facts) = inner.rooms.get_mut(&room) {
                facts.apply(&touch);
            }
        }
    }

    /// Sees to it that the facts of these rooms are in memory, except for those that do not exist.
    pub(super) async fn load(
        &self,
        store: &Store,
        rooms: impl Iterator<Item = RoomNid>,
    ) -> Result<(), StorageError> {
        let missing: Vec<RoomNid> = {
            let inner = self.inner.lock();
            rooms.filter(|room| !inner.rooms.contains_key(room)).collect()
        };
        if missing.is_empty() {
            return Ok(());
        }
        let loading = Loading::begin(self);
        let slots = store.find_slots(&[(ENCRYPTION, ""), (CREATE, "")]).await?;
        let slot = |wanted: &str| -> Option<SlotNid> {
            slots.iter().find(|((event_type, _), _)| &**event_type == wanted).map(|(_, slot)| *slot)
        };
        let rows = store.reader().await?.list_room_facts(&missing, slot(ENCRYPTION), slot(CREATE)).await?;
        let mut read: HashMap<RoomNid, RoomFacts> = rows
            .into_iter()
            .map(|row| {
                let room_type = row.create_json.as_deref().and_then(room_type);
                let facts = RoomFacts {
                    last: row.last_position,
                    bump: None,
                    is_encrypted: row.is_encrypted,
                    room_type,
                };
                (row.room, facts)
            })
            .collect();
        let mut inner = self.inner.lock();
        for touch in &inner.touched {
            if let Some(facts) = read.get_mut(&touch.room) {
                facts.apply(touch);
            }
        }
        if inner.rooms.len() + read.len() > MAX_ROOMS {
            inner.rooms.clear();
        }
        inner.rooms.extend(read);
        drop(inner);
        drop(loading);
        Ok(())
    }

    /// Looks at the facts of many rooms under one lock.
    pub(super) fn with<T>(&self, look: impl FnOnce(&HashMap<RoomNid, RoomFacts>) -> T) -> T {
        look(&self.inner.lock().rooms)
    }

    /// Looks up when somebody last did something in these rooms, where that is not known yet.
    pub(super) async fn load_bumps(&self, store: &Store, rooms: &[RoomNid]) -> Result<(), StorageError> {
        let missing: Vec<RoomNid> = self.with(|facts| {
            let is_missing = |room: &&RoomNid| facts.get(room).is_some_and(|facts| facts.bump.is_none());
            rooms.iter().filter(is_missing).copied().collect()
        });
        if missing.is_empty() {
            return Ok(());
        }
        let loading = Loading::begin(self);
        let rows = store.reader().await?.list_newest_of_types(&missing, &BUMPING).await?;
        let mut found: HashMap<RoomNid, Position> = rows.into_iter().collect();
        // A room without any: it must not be asked again each time.
        for room in &missing {
            found.entry(*room).or_default();
        }
        let mut inner = self.inner.lock();
        for touch in inner.touched.iter().filter(|touch| touch.is_bump) {
            if let Some(bump) = found.get_mut(&touch.room) {
                *bump = (*bump).max(touch.position);
            }
        }
        for (room, bump) in found {
            if let Some(facts) = inner.rooms.get_mut(&room) {
                facts.bump = Some(bump);
            }
        }
        drop(inner);
        drop(loading);
        Ok(())
    }

    /// Notes a bump that was found in memory.
    pub(super) fn note_bumps(&self, found: &[(RoomNid, Position)]) {
        let mut inner = self.inner.lock();
        for (room, bump) in found {
            if let Some(facts) = inner.rooms.get_mut(room) {
                facts.bump = Some(facts.bump.map_or(*bump, |known| known.max(*bump)));
            }
        }
    }

    /// Those of the rooms whose last bump is not known.
    pub(super) fn without_bump(&self, rooms: impl Iterator<Item = RoomNid>) -> HashSet<RoomNid> {
        self.with(|facts| {
            rooms.filter(|room| facts.get(room).is_some_and(|facts| facts.bump.is_none())).collect()
        })
    }
}

fn touch(room: RoomNid, position: Position, event: &EventRecord) -> Touch {
    let is_state = event.state_key.is_some();
    Touch {
        room,
        position,
        is_bump: is_bumping(&event.event_type),
        encrypts: is_state && &*event.event_type == ENCRYPTION && event.state_key.as_deref() == Some(""),
    }
}

fn room_type(create_json: &str) -> Option<Arc<str>> {
    #[derive(Deserialize)]
    struct Create {
        content: Content,
    }
    #[derive(Deserialize)]
    struct Content {
        r#type: Option<String>,
    }
    serde_json::from_str::<Create>(create_json).ok()?.content.r#type.map(Into::into)
}
