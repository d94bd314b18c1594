//! Which member events a client that loads members lazily has been sent already.
//!
//! A member event counts as known only from the token that came with it: a client whose response was lost asks again with
//! the older token, and is sent the members again.
//!
//! <https://spec.matrix.org/v1.19/client-server-api/#lazy-loading-room-members>

use std::{collections::HashMap, sync::Arc, time::Duration};

use hs_model::{
    ids::{DeviceNid, EventNid, RoomNid},
    stream::Position,
};
use moka::sync::Cache;
use parking_lot::Mutex;

/// For how many devices and rooms we remember; others are sent some members twice, which is allowed.
const MAX_ENTRIES: u64 = 50_000;
/// How many members we remember for one of them.
const MAX_MEMBERS: usize = 500;

/// Member events by the `next_batch` of the response they were sent in.
type Sent = Arc<Mutex<HashMap<EventNid, Position>>>;

#[derive(Debug)]
pub(crate) struct LazyMembers {
    sent: Cache<(DeviceNid, RoomNid), Sent>,
}

impl LazyMembers {
    pub(crate) fn new() -> Self {
        Self {
            sent: Cache::builder().max_capacity(MAX_ENTRIES).time_to_idle(Duration::from_hours(1)).build(),
        }
    }

    /// Forgets what a device was sent, since it starts anew.
    pub(crate) fn forget(&self, device: DeviceNid, room: RoomNid) {
        self.sent.invalidate(&(device, room));
    }

    /// Whether a client that comes with `since` has this member event.
    pub(crate) fn is_known(
        &self,
        device: DeviceNid,
        room: RoomNid,
        event: EventNid,
        since: Position,
    ) -> bool {
        self.sent
            .get(&(device, room))
            .is_some_and(|sent| sent.lock().get(&event).is_some_and(|token| *token <= since))
    }

    /// Notes what a response sends.
    pub(crate) fn note(
        &self,
        device: DeviceNid,
        room: RoomNid,
        events: impl Iterator<Item = EventNid>,
        next_batch: Position,
    ) {
        let sent = self.sent.get_with((device, room), Sent::default);
        let mut sent = sent.lock();
        for event in events {
            if sent.len() >= MAX_MEMBERS {
                sent.clear();
            }
            sent.entry(event).or_insert(next_batch);
        }
    }
}
