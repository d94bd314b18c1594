//! `POST /_matrix/client/v3/keys/upload`
//!
//! <https://spec.matrix.org/v1.19/client-server-api/#post_matrixclientv3keysupload>

use axum::extract::State;
use hs_e2ee::{E2ee, KeyOwner, KeysUpload, UploadKeysError};
use hs_http::{ApiError, JsonBody, JsonReply};
use http::StatusCode;
use serde_json::{Value, json};

use super::own_device;
use crate::client_api::auth::Session;

pub(in crate::client_api) async fn post(
    session: Session,
    State(e2ee): State<E2ee>,
    JsonBody(upload): JsonBody<KeysUpload>,
) -> Result<JsonReply<Value>, ApiError> {
    let owner =
        KeyOwner { device: own_device(&session), user_id: &session.user_id, device_id: &session.device_id };
    let supply = e2ee.upload_keys(owner, &upload).await.map_err(api_error)?;
    Ok(JsonReply(json!({ "one_time_key_counts": supply.one_time_keys })))
}

pub(in crate::client_api) fn api_error(error: UploadKeysError) -> ApiError {
    let message = error.to_string();
    match error {
        UploadKeysError::Malformed(_) | UploadKeysError::Exists { .. } => ApiError::invalid_param(message),
        UploadKeysError::InvalidSignature(_) => {
            ApiError::new(StatusCode::BAD_REQUEST, "M_INVALID_SIGNATURE", message)
        }
        UploadKeysError::TooMany => ApiError::too_large(message),
        UploadKeysError::DeviceGone => ApiError::unknown_token(message, false),
        UploadKeysError::Storage(error) => ApiError::internal(error),
    }
}
