//! Rooms that the user has left, or has been removed from.

use std::sync::Arc;

use hs_model::{ids::SlotNid, membership::Membership, stream::Position};
use hs_rooms::{Room, client_event::membership_of};
use hs_storage::StorageError;
use serde::Serialize;

use super::{
    Batch, Context, state,
    state::Extent,
    timeline::{Range, Timeline, TimelineSection},
};
use crate::{feed::Stay, service::Inner};

/// A room that the user has left.
#[derive(Debug, Serialize)]
pub(super) struct LeftRoom {
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) state: Option<Batch>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) state_after: Option<Batch>,
    pub(super) timeline: TimelineSection,
    pub(super) account_data: Batch,
}

/// A left room's part of the response: what happened up to the leaving.
pub(super) async fn section(
    context: &Context<'_>,
    room: &Arc<Room>,
    stay: &Stay,
    account_data: Batch,
) -> Result<LeftRoom, StorageError> {
    let was_joined = membership_before(context.inner, room, stay).await? == Some(Membership::Join);
    let until = stay.since;
    let timeline = if was_joined {
        let after = if context.is_initial() { Position::START } else { context.since };
        Timeline::read(context, room, Range { after, until, may_be_hidden: true }).await?
    } else {
        // Whoever was only invited, or knocked, is told no more than that this has ended.
        let event = context.inner.store.reader().await?.list_events(&[stay.event]).await?;
        Timeline { events: event, begins_after: Position(until.0 - 1), ..Timeline::default() }
    };
    let state = if was_joined {
        let extent = if context.is_initial() || context.request.full_state {
            Extent::Full
        } else {
            Extent::Since(context.since)
        };
        state::section(context, room, &timeline, extent, until, &[]).await?
    } else {
        Vec::new()
    };
    let state = context.render(room, &state).await?;
    let (state, state_after) =
        if context.request.use_state_after { (None, Some(state)) } else { (Some(state), None) };
    Ok(LeftRoom { state, state_after, timeline: timeline.render(context, room).await?, account_data })
}

/// What the user was before they left.
pub(crate) async fn membership_before(
    inner: &Inner,
    room: &Room,
    stay: &Stay,
) -> Result<Option<Membership>, StorageError> {
    let mut reader = inner.store.reader().await?;
    let Some(slot): Option<SlotNid> =
        reader.list_events(&[stay.event]).await?.pop().and_then(|event| event.slot)
    else {
        return Ok(None);
    };
    let Some(before) = reader.find_slot_at(room.nid, slot, Position(stay.since.0 - 1)).await? else {
        return Ok(None);
    };
    Ok(reader.list_events(&[before]).await?.pop().and_then(|event| membership_of(&event)))
}
