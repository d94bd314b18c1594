//! `POST /_matrix/client/v3/account/deactivate`
//!
//! <https://spec.matrix.org/v1.19/client-server-api/#post_matrixclientv3accountdeactivate>

use std::sync::Arc;

use axum::extract::State;
use hs_accounts::{Accounts, DeactivateError, UiaBody};
use hs_http::{ApiError, JsonBody, JsonReply};
use serde_json::{Value, json};

use crate::client_api::{auth::Session, uia};

pub(in crate::client_api) async fn post(
    session: Session,
    State(accounts): State<Arc<Accounts>>,
    JsonBody(body): JsonBody<UiaBody>,
) -> Result<JsonReply<Value>, ApiError> {
    accounts.deactivate(&session, body).await.map_err(api_error)?;
    // No third-party identifiers are kept here, so none is left bound.
    Ok(JsonReply(json!({ "id_server_unbind_result": "success" })))
}

fn api_error(error: DeactivateError) -> ApiError {
    match error {
        DeactivateError::Malformed(message) => ApiError::bad_json(message),
        DeactivateError::Auth(error) => uia::api_error(error),
        DeactivateError::Failure(failure) => ApiError::internal(failure),
    }
}
