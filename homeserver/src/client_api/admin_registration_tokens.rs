//! `/_synapse/admin/v1/registration_tokens`: the tokens that people register with, for administrators. The paths and the
//! shapes are Synapse's, since that is what existing tools speak.

use std::sync::Arc;

use axum::extract::State;
use hs_accounts::{Accounts, CreateTokenError, NewRegistrationToken};
use hs_http::{ApiError, JsonBody, JsonReply, PathArgs};
use hs_storage::registration_tokens::RegistrationTokenRow;
use serde::Deserialize;
use serde_json::{Value, json};

use super::auth::Session;

#[derive(Deserialize)]
pub(super) struct Body {
    token: Option<String>,
    uses_allowed: Option<i32>,
    expiry_time: Option<i64>,
    length: Option<usize>,
}

/// `GET /_synapse/admin/v1/registration_tokens`
pub(super) async fn list(
    session: Session,
    State(accounts): State<Arc<Accounts>>,
) -> Result<JsonReply<Value>, ApiError> {
    session.must_be_admin()?;
    let tokens = accounts.admin_list_registration_tokens().await.map_err(ApiError::internal)?;
    let tokens: Vec<Value> = tokens.into_iter().map(token_body).collect();
    Ok(JsonReply(json!({ "registration_tokens": tokens })))
}

/// `GET /_synapse/admin/v1/registration_tokens/{token}`
pub(super) async fn get(
    session: Session,
    State(accounts): State<Arc<Accounts>>,
    PathArgs(token): PathArgs<String>,
) -> Result<JsonReply<Value>, ApiError> {
    session.must_be_admin()?;
    let tokens = accounts.admin_list_registration_tokens().await.map_err(ApiError::internal)?;
    let found = tokens.into_iter().find(|row| row.token == token);
    found.map(|row| JsonReply(token_body(row))).ok_or_else(no_such_token)
}

/// `POST /_synapse/admin/v1/registration_tokens/new`
pub(super) async fn create(
    session: Session,
    State(accounts): State<Arc<Accounts>>,
    JsonBody(body): JsonBody<Body>,
) -> Result<JsonReply<Value>, ApiError> {
    session.must_be_admin()?;
    let token = NewRegistrationToken {
        token: body.token,
        length: body.length,
        uses_allowed: body.uses_allowed,
        expires_at: body.expiry_time,
    };
    let row = accounts.admin_create_registration_token(&token).await.map_err(create_error)?;
    Ok(JsonReply(token_body(row)))
}

/// `DELETE /_synapse/admin/v1/registration_tokens/{token}`
pub(super) async fn delete(
    session: Session,
    State(accounts): State<Arc<Accounts>>,
    PathArgs(token): PathArgs<String>,
) -> Result<JsonReply<Value>, ApiError> {
    session.must_be_admin()?;
    let was_there = accounts.admin_delete_registration_token(&token).await.map_err(ApiError::internal)?;
    if was_there { Ok(JsonReply(json!({}))) } else { Err(no_such_token()) }
}

fn token_body(row: RegistrationTokenRow) -> Value {
    json!({
        "token": row.token,
        "uses_allowed": row.uses_allowed,
        "pending": 0,
        "completed": row.uses_completed,
        "expiry_time": row.expires_at,
    })
}

fn no_such_token() -> ApiError {
    ApiError::not_found("There is no such registration token")
}

fn create_error(error: CreateTokenError) -> ApiError {
    let message = error.to_string();
    match error {
        CreateTokenError::Invalid(_) | CreateTokenError::Exists => ApiError::invalid_param(message),
        CreateTokenError::Failure(failure) => ApiError::internal(failure),
    }
}
