//! Which member events a client that loads members lazily has been sent already.
//!
//! A member event counts as known only from the token that came with it: a client whose response was lost asks again with
//! the older token, and is sent the members again.
//!
//! <https://spec.matrix.org/v1.19/client-server-api/#lazy-loading-room-members>

use std::{collections::HashMap, hash::Hash, sync::Arc, time::Duration};

use hs_model::{
    ids::{EventNid, RoomNid},
    stream::Position,
};
use moka::sync::Cache;
use parking_lot::Mutex;

/// For how many readers and rooms we remember; others are sent some members twice, which is allowed.
const MAX_ENTRIES: u64 = 50_000;
/// How many members we remember for one of them.
const MAX_MEMBERS: usize = 500;

/// Member events by the `next_batch` of the response they were sent in.
type Sent = Arc<Mutex<HashMap<EventNid, Position>>>;

/// `R` says who was sent them: a device, or one of its connections.
#[derive(Debug)]
pub(crate) struct LazyMembers<R: Copy + Eq + Hash + Send + Sync + 'static> {
    sent: Cache<(R, RoomNid), Sent>,
}

impl<R: Copy + Eq + Hash + Send + Sync + 'static> LazyMembers<R> {
    pub(crate) fn new() -> Self {
        Self {
            sent: Cache::builder().max_capacity(MAX_ENTRIES).time_to_idle(Duration::from_hours(1)).build(),
        }
    }

    /// Forgets what a reader was sent, since it starts anew.
    pub(crate) fn forget(&self, reader: R, room: RoomNid) {
        self.sent.invalidate(&(reader, room));
    }

    /// Whether a client that comes with `since` has this member event.
    pub(crate) fn is_known(&self, reader: R, room: RoomNid, event: EventNid, since: Position) -> bool {
        self.sent
            .get(&(reader, room))
            .is_some_and(|sent| sent.lock().get(&event).is_some_and(|token| *token <= since))
    }

    /// Notes what a response sends.
    pub(crate) fn note(
        &self,
        reader: R,
        room: RoomNid,
        events: impl Iterator<Item = EventNid>,
        next_batch: Position,
    ) {
        let sent = self.sent.get_with((reader, room), Sent::default);
        let mut sent = sent.lock();
        for event in events {
            if sent.len() >= MAX_MEMBERS {
                sent.clear();
            }
            sent.entry(event).or_insert(next_batch);
        }
    }
}
