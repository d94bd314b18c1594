//! `/_matrix/client/v3/directory`

pub(super) mod list;
pub(super) mod room;

use axum::Router;
use hs_http::{ApiError, RouteOptions, RouterExt};
use hs_rooms::{
    Sender,
    aliases::{AliasError, Asker},
};
use http::StatusCode;
use ruma::api::client::directory::set_room_visibility;

use super::{ClientState, auth::Session, rooms::alias_server_error};

pub(super) fn routes() -> Router<ClientState> {
    Router::new()
        .ruma_route(list::get)
        .route_like::<set_room_visibility::v3::Request, _, _>(RouteOptions::default(), list::put)
        .ruma_route(room::get)
        .ruma_route(room::put)
        .ruma_route(room::delete)
}

fn asker(session: &Session) -> Asker {
    Asker { user: Sender::from(session), is_admin: session.is_admin }
}

/// Why an alias was not made, shown or deleted, for clients.
pub(super) fn alias_error(error: AliasError) -> ApiError {
    let message = error.to_string();
    match error {
        AliasError::NotOurs(_) | AliasError::TooLong => ApiError::invalid_param(message),
        AliasError::Taken(_) => ApiError::new(StatusCode::CONFLICT, "M_UNKNOWN", message),
        AliasError::NotFound(_) => ApiError::not_found(message),
        AliasError::Forbidden(why) => ApiError::forbidden(why),
        AliasError::Remote(error) => alias_server_error(&error),
        AliasError::Storage(error) => ApiError::internal(error),
    }
}
