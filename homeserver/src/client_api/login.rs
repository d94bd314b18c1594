//! `/_matrix/client/v3/login`
//!
//! <https://spec.matrix.org/v1.19/client-server-api/#legacy-login>

use std::sync::Arc;

use axum::extract::State;
use hs_accounts::{Accounts, CreateLoginTokenError, LoginError, LoginIdentifier, NewSession, UiaBody};
use hs_http::{ApiError, Args, ClientIp, JsonBody, JsonReply, Reply};
use http::StatusCode;
use ruma::api::client::session::{
    get_login_token,
    get_login_types::v3::{LoginType, PasswordLoginType, Request, Response, TokenLoginType},
};
use serde::Deserialize;
use serde_json::{Value, json};

use super::{
    ServerFacts,
    auth::{Session, locked},
    register::logged_in_body,
    uia,
};

#[derive(Deserialize)]
pub(super) struct Body {
    #[serde(rename = "type")]
    login_type: String,
    identifier: Option<Identifier>,
    user: Option<String>,
    address: Option<String>,
    password: Option<String>,
    token: Option<String>,
    device_id: Option<String>,
    initial_device_display_name: Option<String>,
    refresh_token: Option<bool>,
}

#[derive(Deserialize)]
struct Identifier {
    #[serde(rename = "type")]
    identifier_type: Option<String>,
    user: Option<String>,
}

impl Body {
    fn identifier(&self) -> Result<LoginIdentifier, ApiError> {
        let user = match &self.identifier {
            Some(identifier) => match identifier.identifier_type.as_deref() {
                Some("m.id.user") => identifier.user.as_ref(),
                // The specification shows a third-party identifier without a type, too.
                None | Some("m.id.thirdparty" | "m.id.phone") => return Ok(LoginIdentifier::ThirdParty),
                Some(_) => return Err(ApiError::invalid_param("This type of identifier is not known")),
            },
            None if self.user.is_none() && self.address.is_some() => return Ok(LoginIdentifier::ThirdParty),
            None => self.user.as_ref(),
        };
        user.cloned().map(LoginIdentifier::User).ok_or_else(|| ApiError::missing_param("A user is required"))
    }
}

/// `GET /_matrix/client/v3/login`
pub(super) async fn get(_: Args<Request>) -> Reply<Response> {
    let mut by_token = TokenLoginType::new();
    by_token.get_login_token = true;
    Reply(Response::new(vec![LoginType::Password(PasswordLoginType::new()), LoginType::Token(by_token)]))
}

/// `POST /_matrix/client/v3/login`
pub(super) async fn post(
    State(accounts): State<Arc<Accounts>>,
    State(facts): State<Arc<ServerFacts>>,
    ClientIp(ip): ClientIp,
    JsonBody(body): JsonBody<Body>,
) -> Result<JsonReply<Value>, ApiError> {
    let session = NewSession {
        device_id: body.device_id.clone(),
        initial_device_display_name: body.initial_device_display_name.clone(),
        wants_refresh_token: body.refresh_token.unwrap_or_default(),
    };
    let logged_in = match body.login_type.as_str() {
        "m.login.password" => {
            let identifier = body.identifier()?;
            let password = body.password.ok_or_else(|| ApiError::missing_param("A password is required"))?;
            accounts.log_in_with_password(&identifier, &password, &session, ip).await
        }
        "m.login.token" => {
            let token = body.token.ok_or_else(|| ApiError::missing_param("A token is required"))?;
            accounts.log_in_with_token(&token, &session, ip).await
        }
        _ => {
            return Err(ApiError::new(StatusCode::BAD_REQUEST, "M_UNKNOWN", "This login type is not known"));
        }
    };
    let mut answer = logged_in_body(logged_in.map_err(login_error)?);
    let well_known = json!({ "m.homeserver": { "base_url": facts.public_base_url } });
    answer.insert("well_known".to_owned(), well_known);
    Ok(JsonReply(Value::Object(answer)))
}

/// `POST /_matrix/client/v1/login/get_token`
pub(super) async fn post_get_token(
    session: Session,
    State(accounts): State<Arc<Accounts>>,
    JsonBody(body): JsonBody<UiaBody>,
) -> Result<Reply<get_login_token::v1::Response>, ApiError> {
    let token = accounts.create_login_token(&session, body).await.map_err(login_token_error)?;
    Ok(Reply(get_login_token::v1::Response::new(token.expires_in, token.token)))
}

fn login_error(error: LoginError) -> ApiError {
    let message = error.to_string();
    match error {
        LoginError::Refused | LoginError::InvalidToken => ApiError::forbidden(message),
        LoginError::Deactivated => ApiError::new(StatusCode::FORBIDDEN, "M_USER_DEACTIVATED", message),
        LoginError::Locked => locked(),
        LoginError::InvalidDevice(_) => ApiError::invalid_param(message),
        LoginError::LimitExceeded(retry_after) => ApiError::limit_exceeded(retry_after),
        LoginError::Failure(failure) => ApiError::internal(failure),
    }
}

fn login_token_error(error: CreateLoginTokenError) -> ApiError {
    match error {
        CreateLoginTokenError::Auth(error) => uia::api_error(error),
        CreateLoginTokenError::Failure(failure) => ApiError::internal(failure),
    }
}
