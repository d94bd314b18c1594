//! What the handlers that read rooms have in common.

use std::{sync::Arc, time::Duration};

use hs_http::ApiError;
use hs_model::stream::RoomStreamToken;
use hs_rooms::{
    Room, Rooms,
    access::Access,
    client_event::{Format, Viewer},
    event_filter::EventFilter,
};
use hs_storage::events::Order;
use ruma::{RoomId, UInt, api::Direction, serde::Raw};
use serde_json::value::RawValue;

use super::NOT_IN_THE_ROOM;
use crate::client_api::auth::Session;

/// How many events are returned when the client does not say.
pub(super) const DEFAULT_LIMIT: usize = 20;

/// How long a client waits for the members of a room that are not known yet.
const MEMBERS_PATIENCE: Duration = Duration::from_secs(30);

/// Who looks at events.
pub(in crate::client_api) fn viewer(session: &Session) -> Viewer<'_> {
    Viewer {
        user: session.user,
        user_id: &session.user_id,
        device: Some(session.device),
        format: Format::Client,
    }
}

/// A room that this server holds.
pub(super) async fn find_room(rooms: &Rooms, room_id: &RoomId) -> Result<Arc<Room>, ApiError> {
    let room = rooms.find(room_id).await.map_err(ApiError::internal)?;
    room.ok_or_else(|| ApiError::forbidden(NOT_IN_THE_ROOM))
}

/// A room that the user may read, and how.
pub(in crate::client_api) async fn open_room(
    rooms: &Rooms,
    session: &Session,
    room_id: &RoomId,
) -> Result<(Arc<Room>, Access), ApiError> {
    let room = find_room(rooms, room_id).await?;
    let access = rooms.access(&room, &viewer(session)).await.map_err(ApiError::internal)?;
    let access = access.ok_or_else(|| ApiError::forbidden(NOT_IN_THE_ROOM))?;
    Ok((room, access))
}

/// Waits, within reason, until all members of a room are known that was joined through another server. After that, what is
/// known has to do.
pub(super) async fn wait_whole(rooms: &Rooms, room: &Room) {
    if !rooms.wait_whole(room, MEMBERS_PATIENCE).await {
        tracing::debug!(room_id = %room.room_id, "the members of a room are not known yet");
    }
}

/// Reads the token in a parameter of the query. Some clients send an empty one when they have none.
pub(super) fn token(parameter: &str, text: Option<&str>) -> Result<Option<RoomStreamToken>, ApiError> {
    text.map(str::parse).transpose().map_err(|error| ApiError::invalid_param(format!("{parameter}: {error}")))
}

pub(super) fn order(direction: Direction) -> Order {
    match direction {
        Direction::Forward => Order::Forward,
        Direction::Backward => Order::Backward,
    }
}

pub(super) fn limit(limit: UInt) -> usize {
    usize::try_from(u64::from(limit)).unwrap_or(usize::MAX)
}

/// The filter in the query. Read here, since ruma's type knows nothing of filters by relations.
pub(super) fn event_filter(query: Option<&str>) -> Result<EventFilter, ApiError> {
    let pairs = form_urlencoded::parse(query.unwrap_or_default().as_bytes());
    let filter = pairs.into_iter().find(|(name, _)| name == "filter").map(|(_, value)| value);
    match filter.as_deref() {
        None | Some("") => Ok(EventFilter::default()),
        Some(json) => {
            EventFilter::parse(json).map_err(|error| ApiError::invalid_param(format!("filter: {error}")))
        }
    }
}

/// Rendered events as ruma's responses hold them.
pub(super) fn raw<T>(events: Vec<Box<RawValue>>) -> Vec<Raw<T>> {
    events.into_iter().map(Raw::from_json).collect()
}
