//! `GET /_matrix/client/v3/rooms/{roomId}/event/{eventId}`
//!
//! <https://spec.matrix.org/v1.19/client-server-api/#get_matrixclientv3roomsroomideventeventid>

use std::sync::Arc;

use axum::extract::State;
use hs_http::{ApiError, Args, Reply};
use hs_model::records::EventRecord;
use hs_rooms::{
    Room, Rooms,
    client_event::{RoomId, Viewer},
};
use ruma::{
    EventId,
    api::client::room::get_room_event::v3::{Request, Response},
    serde::Raw,
};

use super::{
    NOT_IN_THE_ROOM,
    reading::{find_room, viewer},
};
use crate::client_api::auth::Session;

pub(super) async fn get(
    session: Session,
    State(rooms): State<Rooms>,
    Args(request): Args<Request>,
) -> Result<Reply<Response>, ApiError> {
    let room = find_room(&rooms, &request.room_id).await?;
    let viewer = viewer(&session);
    let unknown = || ApiError::not_found("There is no such event, or you may not see it");
    let Some(event) = find_visible(&rooms, &room, &viewer, &request.event_id).await? else {
        let access = rooms.access(&room, &viewer).await.map_err(ApiError::internal)?;
        return Err(if access.is_some() { unknown() } else { ApiError::forbidden(NOT_IN_THE_ROOM) });
    };
    let rendered = rooms.render(&room, &[event], &viewer, RoomId::Included).await;
    let event = rendered.map_err(ApiError::internal)?.pop().ok_or_else(unknown)?;
    Ok(Reply(Response::new(Raw::from_json(event))))
}

/// An event of a room that the user may see.
pub(in crate::client_api) async fn find_visible(
    rooms: &Rooms,
    room: &Room,
    viewer: &Viewer<'_>,
    event_id: &EventId,
) -> Result<Option<Arc<EventRecord>>, ApiError> {
    let mut reader = rooms.store().reader().await.map_err(ApiError::internal)?;
    let event = reader.find_event(event_id).await.map_err(ApiError::internal)?;
    let stay = reader.find_membership(room.nid, viewer.user).await.map_err(ApiError::internal)?;
    drop(reader);
    if stay.is_some_and(|stay| stay.is_forgotten) {
        return Ok(None);
    }
    let Some(event) = event.filter(|event| event.room == room.nid) else { return Ok(None) };
    let is_visible = rooms.is_visible(room, &event, viewer).await.map_err(ApiError::internal)?;
    let ignored = rooms.ignored_by(viewer.user).await.map_err(ApiError::internal)?;
    Ok((is_visible && !ignored.hides(&event)).then_some(event))
}
