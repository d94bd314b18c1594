//! `/_matrix/client/v3/keys`: the public keys of devices and users.
//!
//! <https://spec.matrix.org/v1.19/client-server-api/#key-management-api>

mod changes;
mod claim;
mod device_signing;
mod query;
mod signatures;
mod upload;

use std::time::Duration;

use axum::Router;
use hs_e2ee::LocalDevice;
use hs_http::{RouteOptions, RouterExt};
use ruma::api::client::keys as spec;

pub(super) use self::upload::api_error as upload_error;
use super::{ClientState, auth::Session};

/// Uploads of many keys at once, and questions about everybody in a large room.
const LARGE: RouteOptions =
    RouteOptions { max_body_bytes: 4 * 1024 * 1024, allow_nul: false, requires_body: false };

/// All routes below `/keys`.
pub(super) fn routes() -> Router<ClientState> {
    Router::new()
        .route_like::<spec::upload_keys::v3::Request, _, _>(LARGE, upload::post)
        .route_like::<spec::get_keys::v3::Request, _, _>(LARGE, query::post)
        .route_like::<spec::claim_keys::v3::Request, _, _>(LARGE, claim::post)
        .route_like::<spec::get_key_changes::v3::Request, _, _>(RouteOptions::default(), changes::get)
        .route_like::<spec::upload_signing_keys::v3::Request, _, _>(
            RouteOptions::default(),
            device_signing::post,
        )
        .route_like::<spec::upload_signatures::v3::Request, _, _>(LARGE, signatures::post)
}

/// How long other servers may take when the client does not say.
const PATIENCE: Duration = Duration::from_secs(10);
/// How long at most and at least, whatever the client says.
const MAX_PATIENCE: Duration = Duration::from_secs(30);
const MIN_PATIENCE: Duration = Duration::from_millis(500);

/// How long other servers may take for a request with this `timeout` in milliseconds.
fn patience(timeout: Option<u64>) -> Duration {
    timeout.map_or(PATIENCE, Duration::from_millis).clamp(MIN_PATIENCE, MAX_PATIENCE)
}

/// The device of a session.
pub(super) fn own_device(session: &Session) -> LocalDevice {
    LocalDevice { user: session.user, device: session.device }
}
