//! What administrators ask: `/_matrix/client/v1/admin`, whois, and the parts of Synapse's admin API that tools speak.

pub(super) mod event_reports;
pub(super) mod measures;
mod media;
pub(super) mod server_notices;
pub(super) mod whois;

use axum::{
    Router,
    routing::{get, post, put},
};
use hs_http::{RouteOptions, RouterExt};
use ruma::api::client::admin::{is_user_locked, is_user_suspended, lock_user, suspend_user};

use super::ClientState;

pub(super) fn routes() -> Router<ClientState> {
    let options = RouteOptions::default();
    Router::new()
        .merge(media::routes())
        .ruma_route(whois::get)
        .route_like::<is_user_locked::v1::Request, _, _>(options, measures::get_lock)
        .route_like::<lock_user::v1::Request, _, _>(options, measures::put_lock)
        .route_like::<is_user_suspended::v1::Request, _, _>(options, measures::get_suspension)
        .route_like::<suspend_user::v1::Request, _, _>(options, measures::put_suspension)
        .route("/_synapse/admin/v1/event_reports", get(event_reports::list))
        .route("/_synapse/admin/v1/event_reports/{id}", get(event_reports::get).delete(event_reports::delete))
        .route("/_synapse/admin/v1/send_server_notice", post(server_notices::post))
        .route("/_synapse/admin/v1/send_server_notice/{txn_id}", put(server_notices::put))
}
