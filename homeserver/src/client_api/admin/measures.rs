//! `/_matrix/client/v1/admin/lock/{userId}` and `/_matrix/client/v1/admin/suspend/{userId}`
//!
//! <https://spec.matrix.org/v1.19/client-server-api/#server-administration>

use std::sync::Arc;

use axum::extract::State;
use hs_accounts::{Accounts, ModerationError};
use hs_http::{ApiError, JsonBody, JsonReply, PathArgs};
use hs_storage::moderation::Measure;
use ruma::OwnedUserId;
use serde::{Deserialize, Serialize};

use crate::client_api::auth::Session;

/// Whether an account is locked.
#[derive(Debug, Serialize, Deserialize)]
pub(in crate::client_api) struct Locked {
    locked: bool,
}

/// Whether an account is suspended.
#[derive(Debug, Serialize, Deserialize)]
pub(in crate::client_api) struct Suspended {
    suspended: bool,
}

/// `GET /_matrix/client/v1/admin/lock/{userId}`
pub(in crate::client_api) async fn get_lock(
    session: Session,
    State(accounts): State<Arc<Accounts>>,
    PathArgs(user_id): PathArgs<OwnedUserId>,
) -> Result<JsonReply<Locked>, ApiError> {
    let locked = accounts.is_measure_in_force(&session, &user_id, Measure::Lock).await.map_err(api_error)?;
    Ok(JsonReply(Locked { locked }))
}

/// `PUT /_matrix/client/v1/admin/lock/{userId}`
pub(in crate::client_api) async fn put_lock(
    session: Session,
    State(accounts): State<Arc<Accounts>>,
    PathArgs(user_id): PathArgs<OwnedUserId>,
    JsonBody(body): JsonBody<Locked>,
) -> Result<JsonReply<Locked>, ApiError> {
    let set = accounts.set_measure(&session, &user_id, Measure::Lock, body.locked).await;
    set.map_err(api_error)?;
    Ok(JsonReply(body))
}

/// `GET /_matrix/client/v1/admin/suspend/{userId}`
pub(in crate::client_api) async fn get_suspension(
    session: Session,
    State(accounts): State<Arc<Accounts>>,
    PathArgs(user_id): PathArgs<OwnedUserId>,
) -> Result<JsonReply<Suspended>, ApiError> {
    let suspended = accounts.is_measure_in_force(&session, &user_id, Measure::Suspension).await;
    Ok(JsonReply(Suspended { suspended: suspended.map_err(api_error)? }))
}

/// `PUT /_matrix/client/v1/admin/suspend/{userId}`
pub(in crate::client_api) async fn put_suspension(
    session: Session,
    State(accounts): State<Arc<Accounts>>,
    PathArgs(user_id): PathArgs<OwnedUserId>,
    JsonBody(body): JsonBody<Suspended>,
) -> Result<JsonReply<Suspended>, ApiError> {
    let set = accounts.set_measure(&session, &user_id, Measure::Suspension, body.suspended).await;
    set.map_err(api_error)?;
    Ok(JsonReply(body))
}

fn api_error(error: ModerationError) -> ApiError {
    let message = error.to_string();
    match error {
        ModerationError::NotAdmin | ModerationError::Oneself | ModerationError::TargetIsAdmin => {
            ApiError::forbidden(message)
        }
        ModerationError::NotLocal => ApiError::invalid_param(message),
        ModerationError::NotFound => ApiError::not_found(message),
        ModerationError::Failure(failure) => ApiError::internal(failure),
    }
}
