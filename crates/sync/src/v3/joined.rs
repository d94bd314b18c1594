//! Rooms that the user is in.

use std::{collections::BTreeMap, sync::Arc};

use hs_model::{ids::UserNid, membership::Membership, records::EventRecord, stream::Position};
use hs_push::Count;
use hs_rooms::{Room, client_event::membership_of};
use hs_storage::StorageError;
use serde::Serialize;

use super::{
    Batch, Context, account_data, ephemeral,
    presence::Met,
    state,
    state::Extent,
    summary::{self, Summary},
    timeline::{Range, Timeline, TimelineSection},
    unread::ThreadCounts,
};
use crate::{feed::Stay, sticky::Span};

/// A room that the user is in.
#[derive(Debug, Serialize)]
pub(super) struct JoinedRoom {
    #[serde(skip_serializing_if = "Option::is_none")]
    summary: Option<Summary>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) state: Option<Batch>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) state_after: Option<Batch>,
    pub(super) timeline: TimelineSection,
    pub(super) ephemeral: Batch,
    pub(super) account_data: Batch,
    #[serde(rename = "msc4354_sticky", skip_serializing_if = "Batch::is_empty")]
    sticky: Batch,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) unread_notifications: Option<Count>,
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    pub(super) unread_thread_notifications: ThreadCounts,
}

/// A room's part of the response, and whom the user has met there; `None` when there is nothing to tell.
pub(super) async fn section(
    context: &Context<'_>,
    room: &Arc<Room>,
    stay: &Stay,
    mut account_data: Batch,
    receipts: &ephemeral::Receipts,
) -> Result<Option<(JoinedRoom, Met)>, StorageError> {
    let has_become_whole = !context.is_initial() && context.has_become_whole(room);
    let is_new = context.is_initial()
        || (has_become_whole && !context.loads_members_lazily())
        || is_newly_joined(context, room, stay).await?;
    if is_new && !context.is_initial() {
        account_data = account_data::whole_room(context, room).await?;
    }
    let range = Range {
        after: if is_new { Position::START } else { context.since },
        until: context.until,
        may_be_hidden: is_new || stay.since > context.since,
    };
    let timeline = Timeline::read(context, room, range).await?;
    let extent =
        if is_new || context.request.full_state { Extent::Full } else { Extent::Since(context.since) };
    let summary = summary::section(context, room, &timeline, extent).await?;
    let heroes = summary.as_ref().map_or(&[][..], |summary| &summary.heroes);
    let state = state::section(context, room, &timeline, extent, context.until, heroes).await?;
    let ephemeral = ephemeral::section(context, receipts, room, is_new).await?;
    let span = Span { after: range.after, until: range.until };
    let sticky =
        context.inner.sticky.beside(room.nid, span, timeline.events.iter(), &context.ignored).await?;
    let has_news = !timeline.events.is_empty()
        || !sticky.is_empty()
        || timeline.is_limited
        || !state.is_empty()
        || !ephemeral.is_empty()
        || !account_data.is_empty()
        || is_new
        || has_become_whole
        || has_read(context, receipts, room)
        || extent == Extent::Full;
    if !has_news {
        return Ok(None);
    }
    let met = if is_new {
        Met { rooms: vec![room.nid], users: Vec::new() }
    } else {
        Met { rooms: Vec::new(), users: newcomers(timeline.events.iter().chain(&state)) }
    };
    let state = context.render(room, &state).await?;
    let (state, state_after) =
        if context.request.use_state_after { (None, Some(state)) } else { (Some(state), None) };
    let joined = JoinedRoom {
        summary: summary.map(|found| found.summary),
        state,
        state_after,
        timeline: timeline.render(context, room).await?,
        ephemeral,
        account_data,
        sticky: context.render(room, &sticky).await?,
        unread_notifications: None,
        unread_thread_notifications: ThreadCounts::new(),
    };
    Ok(Some((joined, met)))
}

/// Those whom events bring into the room.
fn newcomers<'a>(events: impl Iterator<Item = &'a Arc<EventRecord>>) -> Vec<UserNid> {
    events
        .filter(|event| {
            &*event.event_type == "m.room.member" && membership_of(event) == Some(Membership::Join)
        })
        .map(|event| event.sender_nid)
        .collect()
}

/// Whether the user has read on, here or elsewhere: then the counts have changed.
fn has_read(context: &Context<'_>, receipts: &ephemeral::Receipts, room: &Room) -> bool {
    let mut rows = receipts.get(&room.nid).into_iter().flatten();
    rows.any(|row| row.receipt.user == context.request.user)
}

/// Whether the user was not in the room at the token.
async fn is_newly_joined(context: &Context<'_>, room: &Room, stay: &Stay) -> Result<bool, StorageError> {
    if stay.since <= context.since {
        return Ok(false);
    }
    let mut reader = context.inner.store.reader().await?;
    let Some(now) = reader.list_events(&[stay.event]).await?.pop() else { return Ok(true) };
    let Some(slot) = now.slot else { return Ok(true) };
    let Some(before) = reader.find_slot_at(room.nid, slot, context.since).await? else { return Ok(true) };
    let before: Option<Arc<EventRecord>> = reader.list_events(&[before]).await?.pop();
    Ok(before.and_then(|event| membership_of(&event)) != Some(Membership::Join))
}
