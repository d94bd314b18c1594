//! `/_matrix/client/v3/user/{userId}/filter`
//!
//! <https://spec.matrix.org/v1.19/client-server-api/#filtering>

use std::sync::Arc;

use axum::extract::State;
use hs_accounts::{Accounts, StoreFilterError};
use hs_http::{ApiError, Args, JsonBody, JsonReply, PathArgs, RawJson};
use ruma::{OwnedUserId, api::client::filter::get_filter};
use serde_json::{Value, json, value::RawValue};

use crate::client_api::auth::Session;

/// `POST /_matrix/client/v3/user/{userId}/filter`
pub(in crate::client_api) async fn post(
    session: Session,
    State(accounts): State<Arc<Accounts>>,
    PathArgs(user_id): PathArgs<OwnedUserId>,
    JsonBody(definition): JsonBody<Box<RawValue>>,
) -> Result<JsonReply<Value>, ApiError> {
    session.must_be(&user_id)?;
    let filter_id = accounts.store_filter(session.user, &definition).await.map_err(api_error)?;
    Ok(JsonReply(json!({ "filter_id": filter_id })))
}

/// `GET /_matrix/client/v3/user/{userId}/filter/{filterId}`
pub(in crate::client_api) async fn get(
    session: Session,
    State(accounts): State<Arc<Accounts>>,
    Args(request): Args<get_filter::v3::Request>,
) -> Result<RawJson, ApiError> {
    session.must_be(&request.user_id)?;
    let definition =
        accounts.find_filter(session.user, &request.filter_id).await.map_err(ApiError::internal)?;
    definition.map(RawJson).ok_or_else(|| ApiError::not_found("There is no filter with this id"))
}

fn api_error(error: StoreFilterError) -> ApiError {
    let message = error.to_string();
    match error {
        StoreFilterError::Malformed(_) => ApiError::bad_json(message),
        StoreFilterError::TooLarge => ApiError::too_large(message),
        StoreFilterError::Failure(failure) => ApiError::internal(failure),
    }
}
