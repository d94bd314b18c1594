//! `GET /_matrix/client/v3/rooms/{roomId}/context/{eventId}`
//!
//! <https://spec.matrix.org/v1.19/client-server-api/#get_matrixclientv3roomsroomidcontexteventid>

use axum::extract::{RawQuery, State};
use hs_http::{ApiError, Args, JsonReply};
use hs_rooms::{Rooms, client_event};
use ruma::api::client::context::get_context::v3::Request;
use serde::Serialize;
use serde_json::value::RawValue;

use super::{
    event::find_visible,
    reading::{event_filter, limit, open_room, viewer},
};
use crate::client_api::auth::Session;

/// With lists that are there even when they are empty: clients read them without looking.
#[derive(Debug, Serialize)]
pub(super) struct Response {
    start: String,
    end: String,
    event: Box<RawValue>,
    events_before: Vec<Box<RawValue>>,
    events_after: Vec<Box<RawValue>>,
    state: Vec<Box<RawValue>>,
}

pub(super) async fn get(
    session: Session,
    State(rooms): State<Rooms>,
    RawQuery(query): RawQuery,
    Args(request): Args<Request>,
) -> Result<JsonReply<Response>, ApiError> {
    let filter = event_filter(query.as_deref())?;
    let (room, access) = open_room(&rooms, &session, &request.room_id).await?;
    let viewer = viewer(&session);
    let unknown = || ApiError::not_found("There is no such event, or you may not see it");
    let event = find_visible(&rooms, &room, &viewer, &request.event_id).await?.ok_or_else(unknown)?;
    let context = rooms.context(&room, &viewer, &access, &event, limit(request.limit), &filter).await;
    let context = context.map_err(ApiError::internal)?.ok_or_else(unknown)?;

    // All in one, so that what has to be looked up is looked up once.
    let (before_count, after_count) = (context.before.len(), context.after.len());
    let events: Vec<_> = context.before.into_iter().chain(context.after).chain([event]).collect();
    let rendered = rooms.render(&room, &events, &viewer, client_event::RoomId::Included).await;
    let state = rooms.render_state(&room, &context.state, &viewer, client_event::RoomId::Included).await;
    let mut events_before = rendered.map_err(ApiError::internal)?;
    let mut events_after = events_before.split_off(before_count);
    let event = events_after.split_off(after_count).pop().ok_or_else(unknown)?;
    Ok(JsonReply(Response {
        start: context.start.to_string(),
        end: context.end.to_string(),
        event,
        events_before,
        events_after,
        state: state.map_err(ApiError::internal)?,
    }))
}
