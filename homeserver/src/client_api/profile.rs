//! `/_matrix/client/v3/profile/{userId}`
//!
//! <https://spec.matrix.org/v1.19/client-server-api/#profiles>

use std::{collections::HashMap, sync::Arc};

use axum::extract::State;
use federation::adapters::{RemoteProfile, RemoteProfileError, RemoteProfiles};
use hs_accounts::{Accounts, Profile, SetProfileFieldError};
use hs_http::{ApiError, Args, JsonBody, JsonReply, PathArgs, RawJson};
use hs_rooms::Rooms;
use http::StatusCode;
use ruma::{OwnedUserId, UserId, api::client::profile::get_profile};
use serde_json::{Value, json, value::RawValue};

use super::{auth::Session, register::bad_request};

/// `GET /_matrix/client/v3/profile/{userId}`
pub(super) async fn get(
    State(rooms): State<Rooms>,
    State(accounts): State<Arc<Accounts>>,
    State(remote): State<RemoteProfiles>,
    Args(request): Args<get_profile::v3::Request>,
) -> Result<RawJson, ApiError> {
    if !rooms.is_local(&request.user_id) {
        let profile = find_elsewhere(&remote, &request.user_id).await?;
        return Ok(RawJson(Value::Object((*profile).clone()).to_string()));
    }
    Ok(RawJson(find(&accounts, &request.user_id).await?.to_json()))
}

/// `GET /_matrix/client/v3/profile/{userId}/{keyName}`
pub(super) async fn get_field(
    State(rooms): State<Rooms>,
    State(accounts): State<Arc<Accounts>>,
    State(remote): State<RemoteProfiles>,
    PathArgs((user_id, key)): PathArgs<(OwnedUserId, String)>,
) -> Result<RawJson, ApiError> {
    if !rooms.is_local(&user_id) {
        let profile = find_elsewhere(&remote, &user_id).await?;
        let value = profile.get(&key).ok_or_else(no_such_field)?;
        return Ok(RawJson(json!({ key: value }).to_string()));
    }
    let profile = find(&accounts, &user_id).await?;
    let field = profile.field_to_json(&key);
    field.map(RawJson).ok_or_else(no_such_field)
}

/// `PUT /_matrix/client/v3/profile/{userId}/{keyName}`
pub(super) async fn put_field(
    session: Session,
    State(accounts): State<Arc<Accounts>>,
    PathArgs((user_id, key)): PathArgs<(OwnedUserId, String)>,
    JsonBody(body): JsonBody<HashMap<String, Box<RawValue>>>,
) -> Result<JsonReply<Value>, ApiError> {
    session.must_be(&user_id)?;
    session.must_not_be_suspended()?;
    if key != "displayname" {
        session.must_not_be_guest()?;
    }
    let value =
        body.get(&key).ok_or_else(|| ApiError::missing_param("The body has no value for the field"))?;
    accounts.set_profile_field(session.user, &key, value).await.map_err(set_error)?;
    Ok(JsonReply(json!({})))
}

/// `DELETE /_matrix/client/v3/profile/{userId}/{keyName}`
pub(super) async fn delete_field(
    session: Session,
    State(accounts): State<Arc<Accounts>>,
    PathArgs((user_id, key)): PathArgs<(OwnedUserId, String)>,
) -> Result<JsonReply<Value>, ApiError> {
    session.must_be(&user_id)?;
    session.must_not_be_suspended()?;
    if key != "displayname" {
        session.must_not_be_guest()?;
    }
    accounts.delete_profile_field(session.user, &key).await.map_err(set_error)?;
    Ok(JsonReply(json!({})))
}

fn no_such_field() -> ApiError {
    ApiError::not_found("This profile has no such field")
}

/// The profile of a user of another server, who is asked.
async fn find_elsewhere(remote: &RemoteProfiles, user_id: &UserId) -> Result<Arc<RemoteProfile>, ApiError> {
    let profile = remote.find(user_id).await.map_err(|error| {
        let message = error.to_string();
        match error {
            RemoteProfileError::Forbidden => ApiError::forbidden(message),
            RemoteProfileError::Failed(_) => ApiError::new(StatusCode::BAD_GATEWAY, "M_UNKNOWN", message),
        }
    })?;
    profile.ok_or_else(|| ApiError::not_found("There is no profile of this user"))
}

async fn find(accounts: &Accounts, user_id: &UserId) -> Result<Arc<Profile>, ApiError> {
    let profile = accounts.find_profile(user_id).await.map_err(ApiError::internal)?;
    profile.ok_or_else(|| ApiError::not_found("There is no profile of this user"))
}

fn set_error(error: SetProfileFieldError) -> ApiError {
    let message = error.to_string();
    match error {
        SetProfileFieldError::InvalidKey | SetProfileFieldError::InvalidValue(_) => {
            ApiError::invalid_param(message)
        }
        SetProfileFieldError::KeyTooLarge => bad_request("M_KEY_TOO_LARGE", message),
        SetProfileFieldError::ProfileTooLarge => bad_request("M_PROFILE_TOO_LARGE", message),
        SetProfileFieldError::Failure(failure) => ApiError::internal(failure),
    }
}
