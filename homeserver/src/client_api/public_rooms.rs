//! `/_matrix/client/v3/publicRooms`
//!
//! <https://spec.matrix.org/v1.19/client-server-api/#get_matrixclientv3publicrooms>

use axum::extract::State;
use federation::adapters::{PublicRoomsError, RemotePublicRooms};
use hs_http::{ApiError, Args, Reply};
use hs_rooms::{
    RoomActions,
    directory::{PublicRoom, PublicRoomsPage, PublicRoomsQuery, PublicRoomsToken},
};
use http::StatusCode;
use ruma::{
    OwnedMxcUri, ServerName, UInt,
    api::{
        client::directory::{get_public_rooms, get_public_rooms_filtered},
        federation::directory,
    },
    directory::{PublicRoomsChunk, PublicRoomsChunkInit},
    room::{JoinRuleKind, RoomType},
};

use super::auth::{OptionalSession, Session};

/// `GET /_matrix/client/v3/publicRooms`
pub(super) async fn get(
    OptionalSession(session): OptionalSession,
    State(actions): State<RoomActions>,
    State(remote): State<RemotePublicRooms>,
    Args(request): Args<get_public_rooms::v3::Request>,
) -> Result<Reply<get_public_rooms::v3::Response>, ApiError> {
    if let Some(server) = elsewhere(&actions, request.server.as_deref()) {
        // Whom nobody knows may not send this server about.
        session.ok_or_else(ApiError::missing_token)?;
        let mut question = directory::get_public_rooms::v1::Request::new();
        (question.limit, question.since) = (request.limit, request.since);
        let answer = remote.list(server, question).await.map_err(remote_error)?;
        let mut response = get_public_rooms::v3::Response::new(answer.chunk);
        response.next_batch = answer.next_batch;
        response.prev_batch = answer.prev_batch;
        response.total_room_count_estimate = answer.total_room_count_estimate;
        return Ok(Reply(response));
    }
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
    State(remote): State<RemotePublicRooms>,
    Args(request): Args<get_public_rooms_filtered::v3::Request>,
) -> Result<Reply<get_public_rooms_filtered::v3::Response>, ApiError> {
    if let Some(server) = elsewhere(&actions, request.server.as_deref()) {
        let mut question = directory::get_public_rooms_filtered::v1::Request::new();
        (question.limit, question.since) = (request.limit, request.since);
        (question.filter, question.room_network) = (request.filter, request.room_network);
        let answer = remote.search(server, question).await.map_err(remote_error)?;
        let mut response = get_public_rooms_filtered::v3::Response::new();
        response.chunk = answer.chunk;
        response.next_batch = answer.next_batch;
        response.prev_batch = answer.prev_batch;
        response.total_room_count_estimate = answer.total_room_count_estimate;
        return Ok(Reply(response));
    }
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

/// The other server whose directory is asked for.
fn elsewhere<'s>(actions: &RoomActions, server: Option<&'s ServerName>) -> Option<&'s ServerName> {
    server.filter(|server| *server != actions.rooms().server_name())
}

fn remote_error(error: PublicRoomsError) -> ApiError {
    let message = error.to_string();
    match error {
        PublicRoomsError::Refused(_) => ApiError::forbidden(message),
        PublicRoomsError::Failed(_) => ApiError::new(StatusCode::BAD_GATEWAY, "M_UNKNOWN", message),
    }
}

fn limit(limit: UInt) -> usize {
    usize::try_from(u64::from(limit)).unwrap_or(usize::MAX)
}

/// Where a page begins.
pub(crate) fn since(since: Option<&str>) -> Result<Option<PublicRoomsToken>, ApiError> {
    let Some(since) = since else { return Ok(None) };
    let token = PublicRoomsToken::parse(since);
    token.map(Some).ok_or_else(|| ApiError::invalid_param("`since` is not a token of this server"))
}

/// The rooms of a page in ruma's type.
pub(crate) fn chunk(page: PublicRoomsPage) -> Vec<PublicRoomsChunk> {
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
