//! `POST /_matrix/client/v3/keys/device_signing/upload`
//!
//! <https://spec.matrix.org/v1.19/client-server-api/#post_matrixclientv3keysdevice_signingupload>

use std::sync::Arc;

use axum::extract::State;
use hs_accounts::{Accounts, UiaBody};
use hs_e2ee::{CrossSigningError, CrossSigningUpload, E2ee};
use hs_http::{ApiError, JsonBody, JsonReply};
use http::StatusCode;
use serde_json::{Value, json};

use crate::client_api::{auth::Session, uia};

/// What is authorised: the name of the operation for the session of authentication.
const OPERATION: &str = "device_signing_upload";

pub(in crate::client_api) async fn post(
    session: Session,
    State(accounts): State<Arc<Accounts>>,
    State(e2ee): State<E2ee>,
    JsonBody(body): JsonBody<UiaBody>,
) -> Result<JsonReply<Value>, ApiError> {
    let mut upload = CrossSigningUpload::read(&session.user_id, body.params()).map_err(api_error)?;
    // Without keys this is a client that completes its authentication and does not repeat what it asked for.
    let needs_authentication = upload.is_empty()
        || e2ee.needs_authentication(session.user, &upload).await.map_err(ApiError::internal)?;
    if needs_authentication {
        let params =
            accounts.authorise_by_password(&session, OPERATION, body).await.map_err(uia::api_error)?;
        upload = CrossSigningUpload::read(&session.user_id, &params).map_err(api_error)?;
    }
    e2ee.upload_cross_signing_keys(session.user, &session.user_id, &upload, needs_authentication)
        .await
        .map_err(api_error)?;
    Ok(JsonReply(json!({})))
}

fn api_error(error: CrossSigningError) -> ApiError {
    let message = error.to_string();
    match error {
        CrossSigningError::Malformed(_) => ApiError::invalid_param(message),
        CrossSigningError::NoMasterKey => ApiError::missing_param(message),
        CrossSigningError::InvalidSignature(_) => {
            ApiError::new(StatusCode::BAD_REQUEST, "M_INVALID_SIGNATURE", message)
        }
        CrossSigningError::KeyIdInUse => ApiError::forbidden(message),
        // Another request of the same user has just uploaded the first keys.
        CrossSigningError::NeedsAuthentication => {
            ApiError::forbidden("You have uploaded other keys at the same moment")
        }
        CrossSigningError::Storage(error) => ApiError::internal(error),
    }
}
