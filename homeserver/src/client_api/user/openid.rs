//! `POST /_matrix/client/v3/user/{userId}/openid/request_token`
//!
//! <https://spec.matrix.org/v1.19/client-server-api/#openid>

use std::sync::Arc;

use axum::extract::State;
use hs_accounts::Accounts;
use hs_http::{ApiError, Args, Reply};
use ruma::{
    api::client::account::request_openid_token::v3::{Request, Response},
    authentication::TokenType,
};

use crate::client_api::auth::Session;

pub(in crate::client_api) async fn post(
    session: Session,
    State(accounts): State<Arc<Accounts>>,
    Args(request): Args<Request>,
) -> Result<Reply<Response>, ApiError> {
    session.must_be(&request.user_id)?;
    let issued = accounts.issue_openid_token(session.user).await.map_err(ApiError::internal)?;
    let server_name = accounts.server_name().to_owned();
    Ok(Reply(Response::new(issued.token, TokenType::Bearer, server_name, issued.expires_in)))
}
