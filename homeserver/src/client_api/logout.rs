//! `/_matrix/client/v3/logout`
//!
//! <https://spec.matrix.org/v1.19/client-server-api/#post_matrixclientv3logout>

use std::sync::Arc;

use axum::extract::State;
use hs_accounts::Accounts;
use hs_http::{ApiError, Args, Reply};
use ruma::api::client::session::{logout, logout_all};

use super::auth::AnySession;

/// `POST /_matrix/client/v3/logout`
pub(super) async fn post(
    AnySession(session): AnySession,
    State(accounts): State<Arc<Accounts>>,
    _: Args<logout::v3::Request>,
) -> Result<Reply<logout::v3::Response>, ApiError> {
    accounts.log_out(&session).await.map_err(ApiError::internal)?;
    Ok(Reply(logout::v3::Response::new()))
}

/// `POST /_matrix/client/v3/logout/all`
pub(super) async fn post_all(
    AnySession(session): AnySession,
    State(accounts): State<Arc<Accounts>>,
    _: Args<logout_all::v3::Request>,
) -> Result<Reply<logout_all::v3::Response>, ApiError> {
    accounts.log_out_everywhere(&session).await.map_err(ApiError::internal)?;
    Ok(Reply(logout_all::v3::Response::new()))
}
