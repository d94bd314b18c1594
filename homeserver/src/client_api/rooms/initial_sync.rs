//! `GET /_matrix/client/v3/rooms/{roomId}/initialSync`
//!
//! <https://spec.matrix.org/v1.19/client-server-api/#get_matrixclientv3roomsroomidinitialsync>

use axum::extract::State;
use hs_http::{ApiError, JsonReply, PathArgs, QueryArgs};
use hs_model::{
    membership::Membership,
    stream::{Position, StreamToken},
};
use hs_rooms::{Rooms, client_event::RoomId, event_filter::EventFilter, paginate::PageRequest};
use hs_storage::{StorageError, events::Order};
use ruma::OwnedRoomId;
use serde::{Deserialize, Serialize};
use serde_json::{
    json,
    value::{RawValue, to_raw_value},
};

use super::reading::{DEFAULT_LIMIT, open_room, viewer};
use crate::client_api::auth::Session;

/// The paths of the endpoint.
pub(super) const PATHS: [&str; 2] =
    ["/_matrix/client/r0/rooms/{room_id}/initialSync", "/_matrix/client/v3/rooms/{room_id}/initialSync"];

#[derive(Debug, Deserialize)]
pub(super) struct Query {
    limit: Option<u32>,
}

/// All there is of a room.
#[derive(Debug, Serialize)]
pub(super) struct RoomInfo {
    room_id: OwnedRoomId,
    #[serde(skip_serializing_if = "Option::is_none")]
    membership: Option<Membership>,
    visibility: &'static str,
    messages: Messages,
    state: Vec<Box<RawValue>>,
    account_data: Vec<Box<RawValue>>,
}

#[derive(Debug, Serialize)]
struct Messages {
    start: String,
    end: String,
    chunk: Vec<Box<RawValue>>,
}

pub(super) async fn get(
    session: Session,
    State(rooms): State<Rooms>,
    PathArgs(room_id): PathArgs<OwnedRoomId>,
    QueryArgs(query): QueryArgs<Query>,
) -> Result<JsonReply<RoomInfo>, ApiError> {
    let (room, access) = open_room(&rooms, &session, &room_id).await?;
    let viewer = viewer(&session);
    let filter = EventFilter::default();
    // Read before the rest, so that what happens meanwhile is told again rather than never.
    let end = StreamToken(rooms.store().applied()).to_string();
    let page = PageRequest {
        from: None,
        to: None,
        order: Order::Backward,
        limit: query.limit.map_or(DEFAULT_LIMIT, |limit| limit as usize),
        filter: &filter,
    };
    let page = rooms.page(&room, &viewer, &access, page).await.map_err(ApiError::internal)?;
    let mut chunk =
        rooms.render(&room, &page.events, &viewer, RoomId::Included).await.map_err(ApiError::internal)?;
    chunk.reverse();
    let state = rooms.list_seen_state(&room, &viewer).await.map_err(ApiError::internal)?;
    let state = state.unwrap_or_default();
    let state = rooms.render_state(&room, &state, &viewer, RoomId::Included).await;
    let beside = async {
        let mut reader = rooms.store().reader().await?;
        let row = reader.list_rooms(&[room.nid]).await?.pop();
        let membership = reader.find_membership(room.nid, session.user).await?;
        let data = reader.list_account_data(session.user, Position::START, Position(i64::MAX)).await?;
        Ok::<_, StorageError>((row.is_some_and(|row| row.is_published), membership, data))
    };
    let (is_published, membership, data) = beside.await.map_err(ApiError::internal)?;
    let data = data.into_iter().filter(|row| row.room == Some(room.nid));
    let data = data.filter_map(|row| {
        let content: &RawValue = serde_json::from_str(&row.content).ok()?;
        to_raw_value(&json!({ "type": row.data_type, "content": content })).ok()
    });
    Ok(JsonReply(RoomInfo {
        room_id,
        membership: membership.map(|row| row.membership),
        visibility: if is_published { "public" } else { "private" },
        messages: Messages { start: page.end.unwrap_or(page.start).to_string(), end, chunk },
        state: state.map_err(ApiError::internal)?,
        account_data: data.collect(),
    }))
}
