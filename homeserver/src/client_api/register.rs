//! `POST /_matrix/client/v3/register`, and the questions one asks before.
//!
//! <https://spec.matrix.org/v1.19/client-server-api/#legacy-account-registration>

use std::sync::Arc;

use axum::extract::State;
use hs_accounts::{
    Accounts, LoggedIn, PasswordRuleError, RegisterError, Registered, TokenValidityError, UiaBody,
    UsernameError,
};
use hs_http::{ApiError, Args, ClientIp, JsonBody, JsonReply, QueryArgs, Reply};
use http::StatusCode;
use ruma::api::client::account::{check_registration_token_validity, get_username_availability};
use serde::Deserialize;
use serde_json::{Map, Value, json};

use super::uia;

#[derive(Deserialize)]
pub(super) struct Query {
    kind: Option<String>,
}

/// `POST /_matrix/client/v3/register`
pub(super) async fn post(
    State(accounts): State<Arc<Accounts>>,
    ClientIp(ip): ClientIp,
    QueryArgs(query): QueryArgs<Query>,
    JsonBody(body): JsonBody<UiaBody>,
) -> Result<JsonReply<Value>, ApiError> {
    match query.kind.as_deref() {
        None | Some("user") => {}
        Some("guest") => {
            // Everything else that a guest may say is passed over.
            let name = body.params().get("initial_device_display_name").and_then(Value::as_str);
            let guest = accounts.register_guest(name.map(str::to_owned), ip).await;
            return Ok(JsonReply(Value::Object(logged_in_body(guest.map_err(register_error)?))));
        }
        Some(_) => return Err(ApiError::invalid_param("`kind` must be `user` or `guest`")),
    }
    let registered = accounts.register(body, ip).await.map_err(register_error)?;
    Ok(JsonReply(match registered {
        Registered::LoggedIn(logged_in) => Value::Object(logged_in_body(logged_in)),
        Registered::Account(user_id) => json!({ "user_id": user_id }),
    }))
}

/// `GET /_matrix/client/v3/register/available`
pub(super) async fn get_available(
    State(accounts): State<Arc<Accounts>>,
    Args(request): Args<get_username_availability::v3::Request>,
) -> Result<Reply<get_username_availability::v3::Response>, ApiError> {
    accounts.check_username_available(&request.username).await.map_err(username_error)?;
    Ok(Reply(get_username_availability::v3::Response::new(true)))
}

/// `GET /_matrix/client/v1/register/m.login.registration_token/validity`
pub(super) async fn get_token_validity(
    State(accounts): State<Arc<Accounts>>,
    ClientIp(ip): ClientIp,
    Args(request): Args<check_registration_token_validity::v1::Request>,
) -> Result<Reply<check_registration_token_validity::v1::Response>, ApiError> {
    let is_valid = accounts.check_registration_token(&request.token, ip).await.map_err(validity_error)?;
    Ok(Reply(check_registration_token_validity::v1::Response::new(is_valid)))
}

/// A new session as registration and login show it.
pub(super) fn logged_in_body(logged_in: LoggedIn) -> Map<String, Value> {
    let LoggedIn { user_id, device_id, access_token, refresh_token, expires_in } = logged_in;
    let mut body = Map::from_iter([
        ("home_server".to_owned(), user_id.server_name().as_str().into()),
        ("user_id".to_owned(), user_id.as_str().into()),
        ("device_id".to_owned(), device_id.as_str().into()),
        ("access_token".to_owned(), access_token.into()),
    ]);
    if let Some(refresh_token) = refresh_token {
        body.insert("refresh_token".to_owned(), refresh_token.into());
    }
    if let Some(expires_in) = expires_in {
        body.insert("expires_in_ms".to_owned(), (expires_in.as_millis() as u64).into());
    }
    body
}

fn register_error(error: RegisterError) -> ApiError {
    let message = error.to_string();
    match error {
        RegisterError::Closed | RegisterError::NotThatGuest => ApiError::forbidden(message),
        RegisterError::NoGuests => ApiError::new(StatusCode::FORBIDDEN, "M_GUEST_ACCESS_FORBIDDEN", message),
        RegisterError::Malformed(_) => ApiError::bad_json(message),
        RegisterError::MissingPassword => ApiError::missing_param(message),
        RegisterError::InvalidUsername(_) => bad_request("M_INVALID_USERNAME", message),
        RegisterError::UserInUse => bad_request("M_USER_IN_USE", message),
        RegisterError::WeakPassword(error) => password_error(error),
        RegisterError::InvalidDevice(_) => ApiError::invalid_param(message),
        RegisterError::Auth(error) => uia::api_error(error),
        RegisterError::LimitExceeded(retry_after) => ApiError::limit_exceeded(retry_after),
        RegisterError::Failure(failure) => ApiError::internal(failure),
    }
}

fn username_error(error: UsernameError) -> ApiError {
    let message = error.to_string();
    match error {
        UsernameError::Invalid(_) => bad_request("M_INVALID_USERNAME", message),
        UsernameError::InUse => bad_request("M_USER_IN_USE", message),
        UsernameError::Failure(failure) => ApiError::internal(failure),
    }
}

fn validity_error(error: TokenValidityError) -> ApiError {
    match error {
        error @ TokenValidityError::Closed => ApiError::forbidden(error.to_string()),
        TokenValidityError::LimitExceeded(retry_after) => ApiError::limit_exceeded(retry_after),
        TokenValidityError::Failure(failure) => ApiError::internal(failure),
    }
}

/// How a password that is not good enough is refused.
pub(super) fn password_error(error: PasswordRuleError) -> ApiError {
    match error {
        PasswordRuleError::TooShort(_) => bad_request("M_WEAK_PASSWORD", error.to_string()),
        PasswordRuleError::TooLong => ApiError::invalid_param(error.to_string()),
    }
}

pub(super) fn bad_request(errcode: &'static str, message: String) -> ApiError {
    ApiError::new(StatusCode::BAD_REQUEST, errcode, message)
}
