//! The server-server API: one file per path of the specification, registered here.

mod openid;

use std::sync::Arc;

use axum::{Router, routing::get};
use hs_accounts::Accounts;

/// All routes of this API. Whoever serves it adds the fallbacks.
pub(crate) fn router() -> Router<Arc<Accounts>> {
    Router::new().route("/_matrix/federation/v1/openid/userinfo", get(openid::get))
}
