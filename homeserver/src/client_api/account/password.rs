//! `POST /_matrix/client/v3/account/password`
//!
//! <https://spec.matrix.org/v1.19/client-server-api/#post_matrixclientv3accountpassword>

use std::sync::Arc;

use axum::extract::State;
use hs_accounts::{Accounts, ChangePasswordError, UiaBody};
use hs_http::{ApiError, JsonBody, JsonReply};
use serde_json::{Value, json};

use crate::client_api::{auth::Session, register::password_error, uia};

pub(in crate::client_api) async fn post(
    session: Session,
    State(accounts): State<Arc<Accounts>>,
    JsonBody(body): JsonBody<UiaBody>,
) -> Result<JsonReply<Value>, ApiError> {
    accounts.change_password(&session, body).await.map_err(api_error)?;
    Ok(JsonReply(json!({})))
}

fn api_error(error: ChangePasswordError) -> ApiError {
    let message = error.to_string();
    match error {
        ChangePasswordError::Malformed(_) => ApiError::bad_json(message),
        ChangePasswordError::MissingPassword => ApiError::missing_param(message),
        ChangePasswordError::WeakPassword(error) => password_error(error),
        ChangePasswordError::Auth(error) => uia::api_error(error),
        ChangePasswordError::Failure(failure) => ApiError::internal(failure),
    }
}
