//! `/_matrix/federation/v1/publicRooms`
//!
//! <https://spec.matrix.org/v1.19/server-server-api/#published-room-directory>

use axum::extract::State;
use hs_http::{ApiError, Reply};
use hs_rooms::{
    RoomActions,
    directory::{PublicRoomsPage, PublicRoomsQuery},
};
use ruma::{
    UInt,
    api::federation::directory::{get_public_rooms, get_public_rooms_filtered},
    directory::PublicRoomsChunk,
};

use super::{FederationArgs, count};
use crate::client_api::public_rooms::{chunk, since};

pub(super) async fn get(
    State(actions): State<RoomActions>,
    FederationArgs(_, request): FederationArgs<get_public_rooms::v1::Request>,
) -> Result<Reply<get_public_rooms::v1::Response>, ApiError> {
    let query = PublicRoomsQuery {
        limit: request.limit.map(count),
        since: since(request.since.as_deref())?,
        ..PublicRoomsQuery::default()
    };
    let page = Page::read(&actions, &query).await?;
    let mut response = get_public_rooms::v1::Response::new();
    (response.chunk, response.total_room_count_estimate) = (page.chunk, page.total);
    (response.next_batch, response.prev_batch) = (page.next, page.previous);
    Ok(Reply(response))
}

pub(super) async fn post(
    State(actions): State<RoomActions>,
    FederationArgs(_, request): FederationArgs<get_public_rooms_filtered::v1::Request>,
) -> Result<Reply<get_public_rooms_filtered::v1::Response>, ApiError> {
    let types: Vec<Option<String>> =
        request.filter.room_types.into_iter().map(|kind| kind.as_str().map(ToOwned::to_owned)).collect();
    let query = PublicRoomsQuery {
        search: request.filter.generic_search_term,
        room_types: (!types.is_empty()).then_some(types),
        limit: request.limit.map(count),
        since: since(request.since.as_deref())?,
    };
    let page = Page::read(&actions, &query).await?;
    let mut response = get_public_rooms_filtered::v1::Response::new();
    (response.chunk, response.total_room_count_estimate) = (page.chunk, page.total);
    (response.next_batch, response.prev_batch) = (page.next, page.previous);
    Ok(Reply(response))
}

/// A page in the words of the response.
struct Page {
    chunk: Vec<PublicRoomsChunk>,
    next: Option<String>,
    previous: Option<String>,
    total: Option<UInt>,
}

impl Page {
    async fn read(actions: &RoomActions, query: &PublicRoomsQuery) -> Result<Self, ApiError> {
        let page: PublicRoomsPage = actions.list_public_rooms(query).await.map_err(ApiError::internal)?;
        Ok(Self {
            next: page.next.map(|token| token.to_string()),
            previous: page.previous.map(|token| token.to_string()),
            total: UInt::new(page.total as u64),
            chunk: chunk(page),
        })
    }
}
