//! The events around an event.
//!
//! <https://spec.matrix.org/v1.19/client-server-api/#event-context>

use std::sync::Arc;

use hs_model::{records::EventRecord, stream::RoomStreamToken};
use hs_storage::{StorageError, events::Order, history::Span};
use ruma::OwnedUserId;

use crate::{
    Room, Rooms,
    access::{Access, place_of},
    client_event::Viewer,
    event_filter::EventFilter,
    paginate::{MAX_LIMIT, Source, Walk, token_at},
};

/// How many events are wanted on each side of an event.
#[derive(Clone, Copy, Debug)]
pub struct Limits {
    /// At most this many before it.
    pub before: usize,
    /// At most this many after it.
    pub after: usize,
}

/// What stands on both sides of an event.
#[derive(Clone, Debug)]
pub struct Surroundings {
    /// The events before, newest first.
    pub before: Vec<Arc<EventRecord>>,
    /// The events after, oldest first.
    pub after: Vec<Arc<EventRecord>>,
    /// Where to go on backward.
    pub start: RoomStreamToken,
    /// Where to go on forward.
    pub end: RoomStreamToken,
}

/// An event and what stands around it.
#[derive(Clone, Debug)]
pub struct Context {
    /// The events before, newest first.
    pub before: Vec<Arc<EventRecord>>,
    /// The events after, oldest first.
    pub after: Vec<Arc<EventRecord>>,
    /// The state after the last of them.
    pub state: Vec<Arc<EventRecord>>,
    /// Where to go on backward.
    pub start: RoomStreamToken,
    /// Where to go on forward.
    pub end: RoomStreamToken,
}

impl Rooms {
    /// What stands around an event that the user may see: at most `limit` events on both sides together. `None` for an
    /// event that has no place in the timeline.
    pub async fn context(
        &self,
        room: &Room,
        viewer: &Viewer<'_>,
        access: &Access,
        event: &Arc<EventRecord>,
        limit: usize,
        filter: &EventFilter,
    ) -> Result<Option<Context>, StorageError> {
        let limit = limit.min(MAX_LIMIT);
        let limits = Limits { before: limit / 2, after: limit - limit / 2 };
        let around = self.surroundings(room, viewer, access, event, limits, filter).await?;
        let Some(Surroundings { before, after, start, end }) = around else { return Ok(None) };
        let last = after.last().unwrap_or(event);
        let shown: Vec<_> = before.iter().chain([event]).chain(&after).map(|event| &**event).collect();
        let mut state = if filter.is_lazy() {
            let mut state =
                self.list_state_after(last, |event_type, _| event_type != "m.room.member").await?;
            state.extend(self.list_members_after(last, &senders(shown)).await?);
            state
        } else {
            self.list_state_after(last, |_, _| true).await?
        };
        state.retain(|event| filter.wants(event));
        Ok(Some(Context { before, after, state, start, end }))
    }

    /// The events on both sides of an event that the user may see. `None` for an event that has no place in the timeline.
    pub async fn surroundings(
        &self,
        room: &Room,
        viewer: &Viewer<'_>,
        access: &Access,
        event: &Arc<EventRecord>,
        limits: Limits,
        filter: &EventFilter,
    ) -> Result<Option<Surroundings>, StorageError> {
        let Some(place) = place_of(event) else { return Ok(None) };
        let walk = |span, order, limit| Walk { source: Source::Timeline, span, order, limit, filter };
        let earlier = Span { after: None, until: Some(place.before()) };
        let before = self.walk(room, viewer, walk(earlier, Order::Backward, limits.before)).await?;
        let later = Span { after: Some(place), until: access.until() };
        let after = self.walk(room, viewer, walk(later, Order::Forward, limits.after)).await?;
        Ok(Some(Surroundings {
            start: token_at(before.next.unwrap_or(place.before())),
            end: token_at(after.next.unwrap_or(place)),
            before: before.events,
            after: after.events,
        }))
    }

    /// The member events that a client needs to show some events: those of their senders, as they were after the newest of
    /// the events.
    pub async fn lazy_members(
        &self,
        events: &[Arc<EventRecord>],
    ) -> Result<Vec<Arc<EventRecord>>, StorageError> {
        let newest = events.iter().max_by_key(|event| place_of(event));
        let Some(newest) = newest else { return Ok(Vec::new()) };
        self.list_members_after(newest, &senders(events.iter().map(|event| &**event))).await
    }
}

/// Who sent the events, each named once.
fn senders<'a>(events: impl IntoIterator<Item = &'a EventRecord>) -> Vec<OwnedUserId> {
    let mut senders: Vec<OwnedUserId> = events.into_iter().map(|event| event.sender.clone()).collect();
    senders.sort_unstable();
    senders.dedup();
    senders
}
