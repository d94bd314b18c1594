//! The timeline of a room: the newest events since the token.

use std::sync::Arc;

use hs_model::{
    records::EventRecord,
    stream::{Position, RoomStreamToken},
};
use hs_rooms::Room;
use hs_storage::StorageError;
use serde::Serialize;

use super::{Batch, Context};
use crate::{filter, service::Inner};

/// How many events a timeline has when the filter does not say.
const DEFAULT_LIMIT: usize = 10;
/// How many it has at most.
const MAX_LIMIT: usize = 1000;
/// How many pages are read at most to find events that the filter lets pass. What lies further back is found through
/// `prev_batch`.
const MAX_PAGES: usize = 5;
/// How many events a page has when the first one held too few that pass the filter.
const FILTERED_PAGE_SIZE: usize = 200;

/// Part of a room's history.
#[derive(Debug, Default)]
pub(super) struct Timeline {
    /// Oldest first.
    pub(super) events: Vec<Arc<EventRecord>>,
    /// Whether there is more between the token and the first event.
    pub(super) is_limited: bool,
    /// Where the timeline begins: nothing after this place and up to the end is missing in `events`, except for what the
    /// filter holds back.
    pub(super) begins_after: Position,
    /// State events that the filter held back.
    pub(super) withheld_state: Vec<Arc<EventRecord>>,
}

/// The timeline as it is sent.
#[derive(Debug, Serialize)]
pub(super) struct TimelineSection {
    #[serde(flatten)]
    pub(super) batch: Batch,
    pub(super) limited: bool,
    pub(super) prev_batch: String,
}

/// Which part of the history is wanted.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Range {
    /// After this.
    pub(crate) after: Position,
    /// Up to and including this.
    pub(crate) until: Position,
    /// Whether the user may have been elsewhere in the meantime, so that visibility has to be asked.
    pub(crate) may_be_hidden: bool,
}

impl Timeline {
    /// The newest events of a range, as far as the filter lets them pass.
    pub(super) async fn read(
        context: &Context<'_>,
        room: &Arc<Room>,
        range: Range,
    ) -> Result<Self, StorageError> {
        let wanted = &context.request.filter.room.timeline;
        if !filter::allows_room_section(wanted, &room.room_id) {
            return Ok(Self { begins_after: range.until, ..Self::default() });
        }
        let limit = wanted
            .limit
            .map_or(DEFAULT_LIMIT, |limit| usize::try_from(u64::from(limit)).unwrap_or(MAX_LIMIT));
        let limit = limit.min(MAX_LIMIT);
        let mut timeline = Self { begins_after: range.until, ..Self::default() };
        let mut until = range.until;
        for round in 0..MAX_PAGES {
            // One more than needed tells whether there is more. A filter that holds back that many is a strict one.
            let page_size = if round == 0 { limit + 1 } else { (limit + 1).max(FILTERED_PAGE_SIZE) };
            let (page, is_last) = page(context.inner, room, Range { until, ..range }, page_size).await?;
            let visible = if range.may_be_hidden {
                context.inner.rooms.filter_visible(room, page.clone(), &context.viewer()).await?
            } else {
                page.clone()
            };
            for event in visible.into_iter().rev().filter(|event| !context.ignored.hides(event)) {
                if !filter::allows_event(wanted, &event) {
                    if event.state_key.is_some() {
                        timeline.withheld_state.push(event);
                    }
                    continue;
                }
                if timeline.events.len() == limit {
                    timeline.is_limited = true;
                    break;
                }
                timeline.begins_after = before(&event);
                timeline.events.push(event);
            }
            if timeline.is_limited || is_last {
                break;
            }
            let Some(first) = page.first() else { break };
            until = before(first);
            timeline.begins_after = until;
            // Unless the next page ends it: whether more will pass the filter is unknown, so say that there may be.
            timeline.is_limited = round + 1 == MAX_PAGES;
        }
        if !timeline.is_limited {
            timeline.begins_after = range.after;
        }
        timeline.events.reverse();
        timeline.withheld_state.retain(|event| event.position > Some(timeline.begins_after));
        Ok(timeline)
    }

    /// The section as it is sent.
    pub(super) async fn render(
        &self,
        context: &Context<'_>,
        room: &Room,
    ) -> Result<TimelineSection, StorageError> {
        Ok(TimelineSection {
            batch: context.render(room, &self.events).await?,
            limited: self.is_limited,
            prev_batch: self.prev_batch().to_string(),
        })
    }

    fn prev_batch(&self) -> RoomStreamToken {
        match self.events.first() {
            Some(first) => RoomStreamToken::Topological { depth: first.depth, position: before(first) },
            None => RoomStreamToken::Stream(self.begins_after),
        }
    }
}

/// The place before an event.
pub(crate) fn before(event: &EventRecord) -> Position {
    Position(event.position.unwrap_or_default().0 - 1)
}

/// The newest events of a range, oldest first, and whether they are all.
pub(crate) async fn page(
    inner: &Inner,
    room: &Arc<Room>,
    range: Range,
    size: usize,
) -> Result<(Vec<Arc<EventRecord>>, bool), StorageError> {
    if let Some(page) = page_from_memory(room, range, size) {
        return Ok(page);
    }
    inner.rooms.warm_recent(room, size).await?;
    if let Some(page) = page_from_memory(room, range, size) {
        return Ok(page);
    }
    let mut reader = inner.store.reader().await?;
    let nids = reader.list_recent_events(room.nid, range.after, range.until, size as i64).await?;
    let is_last = nids.len() < size;
    Ok((reader.list_events(&nids).await?, is_last))
}

fn page_from_memory(room: &Room, range: Range, size: usize) -> Option<(Vec<Arc<EventRecord>>, bool)> {
    let state = room.read();
    let newest = |event: &&Arc<EventRecord>| event.position <= Some(range.until);
    if let Some(events) = state.recent_after(range.after) {
        let mut page: Vec<_> = events.rev().filter(newest).take(size).cloned().collect();
        page.reverse();
        let is_last = page.len() < size;
        return Some((page, is_last));
    }
    // Memory does not reach back to the token, but perhaps far enough for a page.
    let mut page: Vec<_> = state.recent().filter(newest).take(size).cloned().collect();
    page.reverse();
    (page.len() == size).then_some((page, false))
}
