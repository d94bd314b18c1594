//! `/_matrix/client/v3/publicRooms`
//!
//! <https://spec.matrix.org/v1.19/client-server-api/#get_matrixclientv3publicrooms>

use axum::extract::State;
use hs_http::{ApiError, Args, Reply};
use hs_rooms::{
    RoomActions,
    directory::{PublicRoom, PublicRoomsPage, PublicRoomsQuery, PublicRoomsToken},
};
use http::StatusCode;
use ruma::{
    OwnedMxcUri, ServerName, UInt,
    api::client::directory::{get_public_rooms, get_public_rooms_filtered},
    directory::{PublicRoomsChunk, PublicRoomsChunkInit},
    room::{JoinRuleKind, RoomType},
};

use super::auth::Session;

/// `GET /_matrix/client/v3/publicRooms`
pub(super) async fn get(
    State(actions): State<RoomActions>,
    Args(request): Args<get_public_rooms::v3::Request>,
) -> Result<Reply<get_public_rooms::v3::Response>, ApiError> {
    check_server(&actions, request.server.as_deref())?;
    let query = PublicRoomsQuery {
        limit: request.limit.map(limit),
        since: since(request.since.as_deref())?,
        ..PublicRoomsQuery::default()
    };
    let page = actions.list_public_rooms(&query).await.map_err(ApiError::internal)?;
    let mut response = get_public_rooms::v3::Response::new(Vec::new());
    response.next_batch = page.next.map(|token| token.to_string());
    response.prev_batch = page.previous.map(|token| token.to_string());
    response.total_room_count_estimate = UInt::new(page.total as u64);
    response.chunk = chunk(page);
    Ok(Reply(response))
}

/// `POST /_matrix/client/v3/publicRooms`
pub(super) async fn post(
    _: Session,
    State(actions): State<RoomActions>,
    Args(request): Args<get_public_rooms_filtered::v3::Request>,
) -> Result<Reply<get_public_rooms_filtered::v3::Response>, ApiError> {
    check_server(&actions, request.server.as_deref())?;
    let room_types =
        request.filter.room_types.into_iter().map(|filter| filter.as_str().map(ToOwned::to_owned));
    let room_types: Vec<Option<String>> = room_types.collect();
    let query = PublicRoomsQuery {
        search: request.filter.generic_search_term,
        room_types: (!room_types.is_empty()).then_some(room_types),
        limit: request.limit.map(limit),
        since: since(request.since.as_deref())?,
    };
    let page = actions.list_public_rooms(&query).await.map_err(ApiError::internal)?;
    let mut response = get_public_rooms_filtered::v3::Response::new();
    response.next_batch = page.next.map(|token| token.to_string());
    response.prev_batch = page.previous.map(|token| token.to_string());
    response.total_room_count_estimate = UInt::new(page.total as u64);
    response.chunk = chunk(page);
    Ok(Reply(response))
}

/// Refuses the directories of other servers, which would have to be asked.
fn check_server(actions: &RoomActions, server: Option<&ServerName>) -> Result<(), ApiError> {
    if server.is_none_or(|server| server == actions.rooms().server_name()) {
        return Ok(());
    }
    Err(ApiError::new(
        StatusCode::BAD_REQUEST,
        "M_UNKNOWN",
        "This server can not read the directories of other servers yet",
    ))
}

fn limit(limit: UInt) -> usize {
    usize::try_from(u64::from(limit)).unwrap_or(usize::MAX)
}

fn since(since: Option<&str>) -> Result<Option<PublicRoomsToken>, ApiError> {
    let Some(since) = since else { return Ok(None) };
    let token = PublicRoomsToken::parse(since);
    token.map(Some).ok_or_else(|| ApiError::invalid_param("`since` is not a token of this server"))
}

fn chunk(page: PublicRoomsPage) -> Vec<PublicRoomsChunk> {
    page.rooms.into_iter().map(room).collect()
}

fn room(room: PublicRoom) -> PublicRoomsChunk {
    let mut chunk = PublicRoomsChunk::from(PublicRoomsChunkInit {
        num_joined_members: UInt::new_saturating(room.joined),
        room_id: room.room_id,
        world_readable: room.is_world_readable,
        guest_can_join: room.guests_can_join,
    });
    chunk.name = room.name;
    chunk.topic = room.topic;
    chunk.canonical_alias = room.canonical_alias.and_then(|alias| alias.try_into().ok());
    chunk.avatar_url = room.avatar_url.map(OwnedMxcUri::from);
    chunk.room_type = room.room_type.map(RoomType::from);
    chunk.join_rule = room.join_rule.map_or(JoinRuleKind::Invite, JoinRuleKind::from);
    chunk
}
