//! `/_matrix/client/v3/profile/{userId}`
//!
//! <https://spec.matrix.org/v1.19/client-server-api/#profiles>

use std::{collections::HashMap, sync::Arc};

use axum::extract::State;
use hs_accounts::{Accounts, Profile, SetProfileFieldError};
use hs_http::{ApiError, Args, JsonBody, JsonReply, PathArgs, RawJson};
use ruma::{OwnedUserId, UserId, api::client::profile::get_profile};
use serde_json::{Value, json, value::RawValue};

use super::{auth::Session, register::bad_request};

/// `GET /_matrix/client/v3/profile/{userId}`
pub(super) async fn get(
    State(accounts): State<Arc<Accounts>>,
    Args(request): Args<get_profile::v3::Request>,
) -> Result<RawJson, ApiError> {
    Ok(RawJson(find(&accounts, &request.user_id).await?.to_json()))
}

/// `GET /_matrix/client/v3/profile/{userId}/{keyName}`
pub(super) async fn get_field(
    State(accounts): State<Arc<Accounts>>,
    PathArgs((user_id, key)): PathArgs<(OwnedUserId, String)>,
) -> Result<RawJson, ApiError> {
    let profile = find(&accounts, &user_id).await?;
    let field = profile.field_to_json(&key);
    field.map(RawJson).ok_or_else(|| ApiError::not_found("This profile has no such field"))
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
