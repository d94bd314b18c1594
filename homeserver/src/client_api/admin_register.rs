//! `/_synapse/admin/v1/register`: accounts for provisioning tools that know a shared secret. The path and the shape are
//! Synapse's, since that is what those tools speak.

use std::sync::Arc;

use axum::extract::State;
use hs_accounts::{Accounts, AdminError, SharedSecretError, SharedSecretRegistration};
use hs_http::{ApiError, ClientIp, JsonBody, JsonReply};
use http::StatusCode;
use serde::Deserialize;
use serde_json::{Value, json};

use super::register::{bad_request, logged_in_body, password_error};

#[derive(Deserialize)]
pub(super) struct Body {
    nonce: String,
    username: String,
    displayname: Option<String>,
    password: String,
    #[serde(default)]
    admin: Option<bool>,
    user_type: Option<String>,
    mac: String,
}

/// `GET /_synapse/admin/v1/register`
pub(super) async fn get(State(accounts): State<Arc<Accounts>>) -> Result<JsonReply<Value>, ApiError> {
    let nonce = accounts.create_registration_nonce().await.map_err(api_error)?;
    Ok(JsonReply(json!({ "nonce": nonce })))
}

/// `POST /_synapse/admin/v1/register`
pub(super) async fn post(
    State(accounts): State<Arc<Accounts>>,
    ClientIp(ip): ClientIp,
    JsonBody(body): JsonBody<Body>,
) -> Result<JsonReply<Value>, ApiError> {
    let request = SharedSecretRegistration {
        nonce: body.nonce,
        username: body.username,
        displayname: body.displayname,
        password: body.password,
        is_admin: body.admin.unwrap_or_default(),
        user_type: body.user_type,
        mac: body.mac,
    };
    let logged_in = accounts.register_by_shared_secret(request, ip).await.map_err(api_error)?;
    Ok(JsonReply(Value::Object(logged_in_body(logged_in))))
}

fn api_error(error: SharedSecretError) -> ApiError {
    let message = error.to_string();
    match error {
        SharedSecretError::Disabled | SharedSecretError::UnknownNonce => bad_request("M_UNKNOWN", message),
        SharedSecretError::WrongMac => ApiError::new(StatusCode::FORBIDDEN, "M_UNKNOWN", message),
        SharedSecretError::InvalidUserType => ApiError::invalid_param(message),
        SharedSecretError::Refused(error) => admin_error(error),
        SharedSecretError::Failure(failure) => ApiError::internal(failure),
    }
}

fn admin_error(error: AdminError) -> ApiError {
    let message = error.to_string();
    match error {
        AdminError::InvalidUsername(_) => bad_request("M_INVALID_USERNAME", message),
        AdminError::UserInUse => bad_request("M_USER_IN_USE", message),
        AdminError::NotFound => ApiError::not_found(message),
        AdminError::Deactivated => ApiError::forbidden(message),
        AdminError::Password(error) => password_error(error),
        AdminError::InvalidDisplayname(_) => ApiError::invalid_param(message),
        AdminError::Failure(failure) => ApiError::internal(failure),
    }
}
