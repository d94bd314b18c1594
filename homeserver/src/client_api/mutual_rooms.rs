//! `GET /_matrix/client/v1/mutual_rooms`
//!
//! <https://spec.matrix.org/v1.19/client-server-api/#get_matrixclientv1mutual_rooms>

use axum::extract::State;
use hs_http::{ApiError, JsonReply, QueryArgs};
use hs_model::ids::RoomNid;
use hs_rooms::Rooms;
use ruma::{OwnedRoomId, UserId};
use serde::{Deserialize, Serialize};

use super::auth::Session;

/// The last two are what clients asked before the endpoint was part of the specification.
pub(super) const PATHS: [&str; 3] = [
    "/_matrix/client/v1/mutual_rooms",
    "/_matrix/client/v1/user/mutual_rooms",
    "/_matrix/client/unstable/uk.half-shot.msc2666/user/mutual_rooms",
];

/// How many rooms a page has.
const PAGE: i64 = 100;

#[derive(Debug, Deserialize)]
pub(super) struct Query {
    user_id: Option<String>,
    from: Option<String>,
}

#[derive(Debug, Serialize)]
pub(super) struct Response {
    joined: Vec<OwnedRoomId>,
    count: i64,
    #[serde(skip_serializing_if = "Option::is_none")]
    next_batch: Option<String>,
}

pub(super) async fn get(
    session: Session,
    State(rooms): State<Rooms>,
    QueryArgs(query): QueryArgs<Query>,
) -> Result<JsonReply<Response>, ApiError> {
    let user_id = query.user_id.ok_or_else(|| ApiError::missing_param("`user_id` is missing"))?;
    let other = <&UserId>::try_from(&*user_id).ok().filter(|other| other.validate_strict().is_ok());
    let other = other.ok_or_else(|| ApiError::invalid_param("`user_id` is not the id of a user"))?;
    if session.user_id == other {
        return Err(ApiError::invalid_param("One shares all rooms with oneself"));
    }
    let after = match query.from.as_deref() {
        None => RoomNid(0),
        Some(token) => {
            let number = token.strip_prefix('m').and_then(|number| number.parse().ok());
            RoomNid(number.ok_or_else(|| ApiError::invalid_param("`from` is not a token of this server"))?)
        }
    };
    let store = rooms.store();
    let other = store.find_user(other).await.map_err(ApiError::internal)?;
    let Some(other) = other else {
        return Ok(JsonReply(Response { joined: Vec::new(), count: 0, next_batch: None }));
    };
    let mut reader = store.reader().await.map_err(ApiError::internal)?;
    let found = reader.list_mutual_rooms(session.user, other, after, PAGE + 1).await;
    let mut found = found.map_err(ApiError::internal)?;
    let count = reader.count_mutual_rooms(session.user, other).await.map_err(ApiError::internal)?;
    let has_more = found.len() as i64 > PAGE;
    found.truncate(PAGE as usize);
    let next_batch = found.last().filter(|_| has_more).map(|(last, _)| format!("m{}", last.0));
    let joined = found.into_iter().map(|(_, room_id)| room_id).collect();
    Ok(JsonReply(Response { joined, count, next_batch }))
}
