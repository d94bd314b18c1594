//! `/_matrix/client/v3/user/{userId}/account_data/{type}`, and the same of a room
//!
//! <https://spec.matrix.org/v1.19/client-server-api/#client-config>

use std::sync::Arc;

use axum::extract::State;
use hs_accounts::{Accounts, Failure, SetAccountDataError};
use hs_http::{ApiError, Args, RawJson, Reply};
use hs_push::RULES_TYPE;
use http::StatusCode;
use ruma::api::client::config::{
    get_global_account_data, get_room_account_data, set_global_account_data, set_room_account_data,
};

use crate::client_api::auth::Session;

/// `GET /_matrix/client/v3/user/{userId}/account_data/{type}`
pub(in crate::client_api) async fn get(
    session: Session,
    State(accounts): State<Arc<Accounts>>,
    Args(request): Args<get_global_account_data::v3::Request>,
) -> Result<RawJson, ApiError> {
    session.must_be(&request.user_id)?;
    let data_type = request.event_type.to_string();
    let content = accounts.find_account_data(session.user, None, &data_type).await;
    if data_type == RULES_TYPE {
        // Everybody has rules, stored or not.
        let stored = content.map_err(ApiError::internal)?;
        return Ok(RawJson(hs_push::client_content(&session.user_id, stored.as_deref())));
    }
    found(content)
}

/// `PUT /_matrix/client/v3/user/{userId}/account_data/{type}`
pub(in crate::client_api) async fn put(
    session: Session,
    State(accounts): State<Arc<Accounts>>,
    Args(request): Args<set_global_account_data::v3::Request>,
) -> Result<Reply<set_global_account_data::v3::Response>, ApiError> {
    session.must_be(&request.user_id)?;
    accounts
        .set_account_data(session.user, None, &request.event_type.to_string(), request.data.json())
        .await
        .map_err(set_error)?;
    Ok(Reply(set_global_account_data::v3::Response::new()))
}

/// `GET /_matrix/client/v3/user/{userId}/rooms/{roomId}/account_data/{type}`
pub(in crate::client_api) async fn get_of_room(
    session: Session,
    State(accounts): State<Arc<Accounts>>,
    Args(request): Args<get_room_account_data::v3::Request>,
) -> Result<RawJson, ApiError> {
    session.must_be(&request.user_id)?;
    let data_type = request.event_type.to_string();
    found(accounts.find_account_data(session.user, Some(&request.room_id), &data_type).await)
}

/// `PUT /_matrix/client/v3/user/{userId}/rooms/{roomId}/account_data/{type}`
pub(in crate::client_api) async fn put_of_room(
    session: Session,
    State(accounts): State<Arc<Accounts>>,
    Args(request): Args<set_room_account_data::v3::Request>,
) -> Result<Reply<set_room_account_data::v3::Response>, ApiError> {
    session.must_be(&request.user_id)?;
    let data_type = request.event_type.to_string();
    accounts
        .set_account_data(session.user, Some(&request.room_id), &data_type, request.data.json())
        .await
        .map_err(set_error)?;
    Ok(Reply(set_room_account_data::v3::Response::new()))
}

fn found(content: Result<Option<String>, Failure>) -> Result<RawJson, ApiError> {
    let content = content.map_err(ApiError::internal)?;
    content.map(RawJson).ok_or_else(|| ApiError::not_found("There is no account data of this type"))
}

fn set_error(error: SetAccountDataError) -> ApiError {
    let message = error.to_string();
    match error {
        SetAccountDataError::ServerType => {
            ApiError::bad_json(message).with_status(StatusCode::METHOD_NOT_ALLOWED)
        }
        SetAccountDataError::TypeTooLong => ApiError::invalid_param(message),
        SetAccountDataError::UnknownRoom => ApiError::not_found(message),
        SetAccountDataError::Failure(failure) => ApiError::internal(failure),
    }
}
