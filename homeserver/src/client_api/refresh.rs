//! `POST /_matrix/client/v3/refresh`
//!
//! <https://spec.matrix.org/v1.19/client-server-api/#post_matrixclientv3refresh>

use std::sync::Arc;

use axum::extract::State;
use hs_accounts::{Accounts, RefreshError};
use hs_http::{ApiError, Args, Reply};
use ruma::api::client::session::refresh_token::v3::{Request, Response};

use super::auth::locked;

pub(super) async fn post(
    State(accounts): State<Arc<Accounts>>,
    Args(request): Args<Request>,
) -> Result<Reply<Response>, ApiError> {
    let refreshed = accounts.refresh(&request.refresh_token).await.map_err(api_error)?;
    let mut response = Response::new(refreshed.access_token);
    response.refresh_token = Some(refreshed.refresh_token);
    response.expires_in_ms = Some(refreshed.expires_in);
    Ok(Reply(response))
}

fn api_error(error: RefreshError) -> ApiError {
    match error {
        error @ RefreshError::Unknown => ApiError::unknown_token(error.to_string(), false),
        RefreshError::Locked => locked(),
        RefreshError::Failure(failure) => ApiError::internal(failure),
    }
}
