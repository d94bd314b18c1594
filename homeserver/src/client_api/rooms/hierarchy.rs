//! `GET /_matrix/client/v1/rooms/{roomId}/hierarchy`
//!
//! <https://spec.matrix.org/v1.19/client-server-api/#get_matrixclientv1roomsroomidhierarchy>

use axum::extract::State;
use hs_http::{ApiError, Args, JsonReply};
use hs_rooms::{
    RoomActions,
    hierarchy::{HierarchyRequest, HierarchyRoom, HierarchyToken, MAX_DEPTH, MAX_LIMIT, NotAToken},
};
use ruma::{UInt, api::client::space::get_hierarchy::v1::Request};
use serde::Serialize;
use serde_json::value::RawValue;

use super::reading;
use crate::client_api::{auth::Session, room_summary::Summary};

/// How many rooms a page has when the client does not say.
const DEFAULT_LIMIT: usize = 50;

#[derive(Debug, Serialize)]
pub(super) struct Response {
    rooms: Vec<RoomEntry>,
    #[serde(skip_serializing_if = "Option::is_none")]
    next_batch: Option<String>,
}

#[derive(Debug, Serialize)]
struct RoomEntry {
    #[serde(flatten)]
    summary: Summary,
    children_state: Vec<Box<RawValue>>,
}

impl From<HierarchyRoom> for RoomEntry {
    fn from(room: HierarchyRoom) -> Self {
        Self { summary: room.preview.into(), children_state: room.children }
    }
}

pub(super) async fn get(
    session: Session,
    State(actions): State<RoomActions>,
    Args(request): Args<Request>,
) -> Result<JsonReply<Response>, ApiError> {
    let hierarchy = parameters(&request)?;
    let forbidden = || ApiError::forbidden("You are not allowed to view this room");
    let page = actions.hierarchy(&request.room_id, session.user, hierarchy).await;
    let page = page.map_err(ApiError::internal)?.ok_or_else(forbidden)?;
    Ok(JsonReply(Response {
        rooms: page.rooms.into_iter().map(RoomEntry::from).collect(),
        next_batch: page.next.map(|token| token.to_string()),
    }))
}

fn parameters(request: &Request) -> Result<HierarchyRequest, ApiError> {
    let limit = request.limit.map_or(DEFAULT_LIMIT, reading::limit).min(MAX_LIMIT);
    if limit == 0 {
        return Err(ApiError::invalid_param("`limit` must be greater than zero"));
    }
    let depth = |depth: UInt| reading::limit(depth).min(MAX_DEPTH);
    let (max_depth, suggested_only) = (request.max_depth.map_or(MAX_DEPTH, depth), request.suggested_only);
    let skip = match &request.from {
        None => 0,
        Some(token) => {
            let token: HierarchyToken = token
                .parse()
                .map_err(|NotAToken| ApiError::invalid_param("`from` is not a token of this server"))?;
            if (token.max_depth, token.suggested_only) != (max_depth, suggested_only) {
                return Err(ApiError::invalid_param(
                    "`max_depth` and `suggested_only` cannot change from page to page",
                ));
            }
            token.skip
        }
    };
    Ok(HierarchyRequest { suggested_only, max_depth, limit, skip })
}
