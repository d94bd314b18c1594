//! `/_matrix/client/v3/user/{userId}/rooms/{roomId}/tags`
//!
//! <https://spec.matrix.org/v1.19/client-server-api/#room-tagging>

use std::sync::Arc;

use axum::extract::State;
use hs_accounts::{Accounts, SetTagError};
use hs_http::{ApiError, Args, JsonBody, JsonReply, PathArgs, Reply};
use ruma::{
    OwnedRoomId, OwnedUserId,
    api::client::tag::{delete_tag, get_tags},
};
use serde_json::{Map, Value, json};

use crate::client_api::auth::Session;

/// `GET /_matrix/client/v3/user/{userId}/rooms/{roomId}/tags`
pub(in crate::client_api) async fn get(
    session: Session,
    State(accounts): State<Arc<Accounts>>,
    Args(request): Args<get_tags::v3::Request>,
) -> Result<JsonReply<Value>, ApiError> {
    session.must_be(&request.user_id)?;
    let tags = accounts.list_tags(session.user, &request.room_id).await.map_err(ApiError::internal)?;
    Ok(JsonReply(json!({ "tags": tags })))
}

/// `PUT /_matrix/client/v3/user/{userId}/rooms/{roomId}/tags/{tag}`
pub(in crate::client_api) async fn put(
    session: Session,
    State(accounts): State<Arc<Accounts>>,
    PathArgs((user_id, room_id, tag)): PathArgs<(OwnedUserId, OwnedRoomId, String)>,
    JsonBody(info): JsonBody<Map<String, Value>>,
) -> Result<JsonReply<Value>, ApiError> {
    session.must_be(&user_id)?;
    accounts.set_tag(session.user, &room_id, &tag, info).await.map_err(api_error)?;
    Ok(JsonReply(json!({})))
}

/// `DELETE /_matrix/client/v3/user/{userId}/rooms/{roomId}/tags/{tag}`
pub(in crate::client_api) async fn delete(
    session: Session,
    State(accounts): State<Arc<Accounts>>,
    Args(request): Args<delete_tag::v3::Request>,
) -> Result<Reply<delete_tag::v3::Response>, ApiError> {
    session.must_be(&request.user_id)?;
    accounts.delete_tag(session.user, &request.room_id, &request.tag).await.map_err(api_error)?;
    Ok(Reply(delete_tag::v3::Response::new()))
}

fn api_error(error: SetTagError) -> ApiError {
    let message = error.to_string();
    match error {
        SetTagError::TagTooLong => ApiError::invalid_param(message),
        SetTagError::InvalidOrder => ApiError::bad_json(message),
        SetTagError::TooLarge => ApiError::too_large(message),
        SetTagError::UnknownRoom => ApiError::not_found(message),
        SetTagError::Failure(failure) => ApiError::internal(failure),
    }
}
