//! Following a room that one is not in.
//!
//! <https://spec.matrix.org/v1.19/client-server-api/#peeking_get_matrixclientv3events>

use std::{sync::Arc, time::Duration};

use hs_model::{records::EventRecord, stream::Position};
use hs_rooms::{Room, client_event::Viewer};
use tokio::time::Instant;

use crate::{
    Sync, SyncError,
    v3::timeline::{Range, page},
};

/// How many events are told at once. Of more, the newest: the others are found by looking through the room's history.
const MAX_EVENTS: usize = 200;

/// What has happened in a room.
#[derive(Debug)]
pub struct Peeked {
    /// Oldest first.
    pub events: Vec<Arc<EventRecord>>,
    /// Up to where.
    pub until: Position,
}

impl Sync {
    /// What a user may see of what happened in a room after a position; waits for something to happen if there is time.
    pub async fn peek(
        &self,
        room: &Arc<Room>,
        viewer: &Viewer<'_>,
        (since, timeout): (Position, Duration),
    ) -> Result<Peeked, SyncError> {
        let inner = &self.inner;
        self.catch_up(since).await?;
        let deadline = Instant::now() + timeout.min(inner.options.max_timeout);
        let mut log = inner.store.tail().watch();
        let mut after = since;
        loop {
            let until = *log.borrow_and_update();
            let range = Range { after, until, may_be_hidden: true };
            let (events, _) = page(inner, room, range, MAX_EVENTS).await?;
            let mut events = inner.rooms.filter_visible(room, events, viewer).await?;
            let ignored = inner.rooms.ignored_by(viewer.user).await?;
            events.retain(|event| !ignored.hides(event));
            if !events.is_empty() {
                return Ok(Peeked { events, until });
            }
            after = after.max(until);
            let is_over = tokio::select! {
                biased;
                () = inner.stop.cancelled() => true,
                () = tokio::time::sleep_until(deadline) => true,
                changed = log.changed() => changed.is_err(),
            };
            if is_over {
                return Ok(Peeked { events, until: after });
            }
        }
    }
}
