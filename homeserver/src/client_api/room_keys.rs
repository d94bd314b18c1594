//! `/_matrix/client/v3/room_keys`: backups of room keys.
//!
//! <https://spec.matrix.org/v1.19/client-server-api/#server-side-key-backups>

mod keys;
mod version;

use axum::Router;
use hs_e2ee::BackupError;
use hs_http::{ApiError, RouteOptions, RouterExt};
use http::StatusCode;
use ruma::api::client::backup as spec;

use super::ClientState;

/// Many keys at once.
const LARGE: RouteOptions =
    RouteOptions { max_body_bytes: 16 * 1024 * 1024, allow_nul: false, requires_body: true };

/// All routes below `/room_keys`.
pub(super) fn routes() -> Router<ClientState> {
    let plain = RouteOptions::default();
    let body = RouteOptions { requires_body: true, ..plain };
    Router::new()
        .route_like::<spec::create_backup_version::v3::Request, _, _>(body, version::post)
        .route_like::<spec::get_latest_backup_info::v3::Request, _, _>(plain, version::get_latest)
        .route_like::<spec::get_backup_info::v3::Request, _, _>(plain, version::get)
        .route_like::<spec::update_backup_version::v3::Request, _, _>(body, version::put)
        .route_like::<spec::delete_backup_version::v3::Request, _, _>(plain, version::delete)
        .route_like::<spec::add_backup_keys::v3::Request, _, _>(LARGE, keys::put_all)
        .route_like::<spec::add_backup_keys_for_room::v3::Request, _, _>(LARGE, keys::put_room)
        .route_like::<spec::add_backup_keys_for_session::v3::Request, _, _>(LARGE, keys::put_session)
        .route_like::<spec::get_backup_keys::v3::Request, _, _>(plain, keys::get_all)
        .route_like::<spec::get_backup_keys_for_room::v3::Request, _, _>(plain, keys::get_room)
        .route_like::<spec::get_backup_keys_for_session::v3::Request, _, _>(plain, keys::get_session)
        .route_like::<spec::delete_backup_keys::v3::Request, _, _>(plain, keys::delete_all)
        .route_like::<spec::delete_backup_keys_for_room::v3::Request, _, _>(plain, keys::delete_room)
        .route_like::<spec::delete_backup_keys_for_session::v3::Request, _, _>(plain, keys::delete_session)
}

fn api_error(error: BackupError) -> ApiError {
    let message = error.to_string();
    match error {
        BackupError::NotFound => ApiError::not_found(message),
        BackupError::WrongVersion { current } => {
            ApiError::new(StatusCode::FORBIDDEN, "M_WRONG_ROOM_KEYS_VERSION", message)
                .with("current_version", current)
        }
        BackupError::WrongAlgorithm | BackupError::TooLong => ApiError::invalid_param(message),
        BackupError::Storage(error) => ApiError::internal(error),
    }
}
