//! Walking through a room's history, page by page.
//!
//! A page ends where its limit is reached, not where what it looked at ends, so that walking on from its token shows every
//! event exactly once. Events arrive only at the far end of the order that pages follow, so nothing shifts meanwhile.

use std::{collections::HashSet, sync::Arc};

use hs_model::{records::EventRecord, stream::RoomStreamToken};
use hs_storage::{
    Reader, StorageError,
    events::{Order, Place},
    history::{Span, TimelineRow},
    relations::RelatedQuery,
};
use ruma::{EventId, OwnedEventId};

use crate::{
    Room, Rooms, access::Access, client_event::Viewer, event_filter::EventFilter, visibility::Facts,
};

/// The most events that a page may hold.
pub const MAX_LIMIT: usize = 1000;
/// How many events one page looks at when it may show few of them; after that the client has to ask again.
const MAX_LOOKED_AT: usize = 10_000;
/// How many of those are read with their JSON.
const MAX_READ: usize = 3_000;
/// How many events are looked at together at least, once a page was not filled at the first attempt.
const MIN_BATCH: usize = 200;

/// What part of a room's history is wanted.
#[derive(Clone, Copy, Debug)]
pub struct PageRequest<'a> {
    /// Where to begin; `None` for the end that the order begins with.
    pub from: Option<RoomStreamToken>,
    /// Where to stop.
    pub to: Option<RoomStreamToken>,
    /// Which way.
    pub order: Order,
    /// The most events to return.
    pub limit: usize,
    /// Which events.
    pub filter: &'a EventFilter,
}

/// A page of history.
#[derive(Clone, Debug)]
pub struct Page {
    /// Where it begins.
    pub start: RoomStreamToken,
    /// Where the next one begins; `None` when there is none.
    pub end: Option<RoomStreamToken>,
    /// Where the next one would begin if there were one.
    pub beyond: RoomStreamToken,
    /// The events, in the order asked for.
    pub events: Vec<Arc<EventRecord>>,
}

/// What is walked through.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Source<'a> {
    /// All accepted events.
    Timeline,
    /// The children of one event.
    Related(RelatedQuery<'a>),
}

impl Source<'_> {
    async fn list(
        &self,
        reader: &mut Reader,
        room: &Room,
        span: Span,
        order: Order,
        limit: usize,
    ) -> Result<Vec<TimelineRow>, StorageError> {
        match self {
            Self::Timeline => reader.list_timeline_rows(room.nid, span, order, limit as i64).await,
            Self::Related(query) => reader.list_related(*query, span, order, limit as i64).await,
        }
    }
}

/// A walk through the part of a room between two places.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Walk<'a> {
    pub(crate) source: Source<'a>,
    pub(crate) span: Span,
    pub(crate) order: Order,
    pub(crate) limit: usize,
    pub(crate) filter: &'a EventFilter,
}

/// Where a walk has led.
#[derive(Clone, Debug, Default)]
pub(crate) struct Walked {
    /// What was found.
    pub(crate) events: Vec<Arc<EventRecord>>,
    /// Where the first event looked at stands.
    pub(crate) first: Option<Place>,
    /// Where the walk goes on; `None` when nothing was looked at.
    pub(crate) next: Option<Place>,
    /// Whether anything lies beyond.
    pub(crate) has_more: bool,
}

pub(crate) fn token_at(place: Place) -> RoomStreamToken {
    RoomStreamToken::Topological { depth: place.depth, position: place.position }
}

impl Rooms {
    /// A page of a room's history, as far as the user may see it.
    pub async fn page(
        &self,
        room: &Room,
        viewer: &Viewer<'_>,
        access: &Access,
        request: PageRequest<'_>,
    ) -> Result<Page, StorageError> {
        self.page_of(Source::Timeline, room, viewer, access, request).await
    }

    pub(crate) async fn page_of(
        &self,
        source: Source<'_>,
        room: &Room,
        viewer: &Viewer<'_>,
        access: &Access,
        request: PageRequest<'_>,
    ) -> Result<Page, StorageError> {
        let from = match request.from {
            Some(token) => Some(self.place_of_token(room, token).await?),
            None => None,
        };
        let to = match request.to {
            Some(token) => Some(self.place_of_token(room, token).await?),
            None => None,
        };
        let (after, until) = match request.order {
            Order::Forward => (from, to),
            Order::Backward => (to, from),
        };
        let until = earlier(until, access.until());
        let walk = Walk {
            source,
            span: Span { after, until },
            order: request.order,
            limit: request.limit.min(MAX_LIMIT),
            filter: request.filter,
        };
        let walked = self.walk(room, viewer, walk).await?;
        let start = request.from.unwrap_or_else(|| match (request.order, walked.first) {
            (Order::Backward, Some(first)) => token_at(first),
            (Order::Backward, None) => RoomStreamToken::Stream(self.inner.store.applied()),
            (Order::Forward, _) => token_at(Place::START),
        });
        let beyond = walked.next.map_or(start, token_at);
        let end = walked.has_more.then_some(beyond);
        Ok(Page { start, end, beyond, events: walked.events })
    }

    /// Looks at events one after the other until enough are found, the end is reached, or too many were looked at.
    pub(crate) async fn walk(
        &self,
        room: &Room,
        viewer: &Viewer<'_>,
        walk: Walk<'_>,
    ) -> Result<Walked, StorageError> {
        let mut walked = Walked::default();
        if walk.limit == 0 || !walk.filter.wants_room(&room.room_id) {
            return Ok(walked);
        }
        let (mut span, mut looked_at, mut read) = (walk.span, 0, 0);
        let mut batch = if walk.filter.wants_everything() { walk.limit } else { walk.limit.max(MIN_BATCH) };
        loop {
            // One more than wanted tells whether there is more.
            let mut reader = self.inner.store.reader().await?;
            let mut rows = walk.source.list(&mut reader, room, span, walk.order, batch + 1).await?;
            drop(reader);
            walked.has_more = rows.len() > batch;
            rows.truncate(batch);
            walked.first = walked.first.or(rows.first().map(|row| row.place));
            let wanted = self.wanted(room, viewer, walk.filter, &rows, &mut read).await?;
            let mut wanted = wanted.into_iter().peekable();
            for (i, row) in rows.iter().enumerate() {
                let next = match walk.order {
                    Order::Forward => row.place,
                    Order::Backward => row.place.before(),
                };
                walked.next = Some(next);
                if let Some(event) = wanted.next_if(|event| event.nid == row.nid) {
                    walked.events.push(event);
                    if walked.events.len() == walk.limit {
                        walked.has_more |= i + 1 < rows.len();
                        return Ok(walked);
                    }
                }
            }
            looked_at += rows.len();
            if !walked.has_more || looked_at >= MAX_LOOKED_AT || read >= MAX_READ {
                return Ok(walked);
            }
            match walk.order {
                Order::Forward => span.after = walked.next,
                Order::Backward => span.until = walked.next,
            }
            batch = batch.clamp(MIN_BATCH, MAX_LIMIT / 2) * 2;
        }
    }

    /// The events of some rows that the user may see and the filter wants, in order.
    async fn wanted(
        &self,
        room: &Room,
        viewer: &Viewer<'_>,
        filter: &EventFilter,
        rows: &[TimelineRow],
        read: &mut usize,
    ) -> Result<Vec<Arc<EventRecord>>, StorageError> {
        let facts: Vec<Facts> = rows.iter().map(Facts::from).collect();
        let visible = self.visible(room, &facts, viewer).await?;
        let nids: Vec<_> = rows.iter().map(|row| row.nid).filter(|nid| visible.contains(*nid)).collect();
        *read += nids.len();
        if nids.is_empty() {
            return Ok(Vec::new());
        }
        let mut events = self.inner.store.list_events(&nids).await?;
        let ignored = self.ignored_by(viewer.user).await?;
        events.retain(|event| filter.wants(event) && !ignored.hides(event));
        if filter.has_related_by() && !events.is_empty() {
            let ids: Vec<&EventId> = events.iter().map(|event| &*event.event_id).collect();
            let rel_types = filter.related_by_rel_types.clone().unwrap_or_default();
            let senders = filter.related_by_senders.clone().unwrap_or_default();
            let mut reader = self.inner.store.reader().await?;
            let parents = reader.list_parents(room.nid, &ids, &rel_types, &senders).await?;
            let parents: HashSet<OwnedEventId> = parents.into_iter().collect();
            events.retain(|event| parents.contains(&event.event_id));
        }
        Ok(events)
    }
}

/// The earlier of two ends.
fn earlier(a: Option<Place>, b: Option<Place>) -> Option<Place> {
    match (a, b) {
        (Some(a), Some(b)) => Some(a.min(b)),
        (end, None) | (None, end) => end,
    }
}
