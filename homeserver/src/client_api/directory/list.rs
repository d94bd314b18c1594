//! `/_matrix/client/v3/directory/list/room/{roomId}`
//!
//! <https://spec.matrix.org/v1.19/client-server-api/#published-room-directory>

use std::sync::Arc;

use axum::extract::State;
use hs_http::{ApiError, Args, JsonBody, PathArgs, Reply};
use hs_rooms::{RoomActions, directory::ListingError};
use ruma::{
    OwnedRoomId,
    api::client::{
        directory::{get_room_visibility, set_room_visibility},
        room::Visibility,
    },
};
use serde::Deserialize;

use super::asker;
use crate::client_api::{auth::Session, limits::RoomLimits, rooms::no_such_room};

/// `GET /_matrix/client/v3/directory/list/room/{roomId}`
pub(super) async fn get(
    State(actions): State<RoomActions>,
    Args(request): Args<get_room_visibility::v3::Request>,
) -> Result<Reply<get_room_visibility::v3::Response>, ApiError> {
    let is_listed = actions.is_listed(&request.room_id).await.map_err(api_error)?;
    let visibility = if is_listed { Visibility::Public } else { Visibility::Private };
    Ok(Reply(get_room_visibility::v3::Response::new(visibility)))
}

/// A room is listed unless the body says otherwise.
#[derive(Deserialize)]
pub(super) struct Body {
    #[serde(default = "public")]
    visibility: Visibility,
}

fn public() -> Visibility {
    Visibility::Public
}

/// `PUT /_matrix/client/v3/directory/list/room/{roomId}`
pub(super) async fn put(
    session: Session,
    State(actions): State<RoomActions>,
    State(limits): State<Arc<RoomLimits>>,
    PathArgs(room_id): PathArgs<OwnedRoomId>,
    JsonBody(body): JsonBody<Body>,
) -> Result<Reply<set_room_visibility::v3::Response>, ApiError> {
    session.must_not_be_suspended()?;
    limits.writes.check(session.user)?;
    let is_listed = match body.visibility {
        Visibility::Public => true,
        Visibility::Private => false,
        _ => return Err(ApiError::invalid_param("`visibility` must be `public` or `private`")),
    };
    actions.set_listed(&room_id, &asker(&session), is_listed).await.map_err(api_error)?;
    Ok(Reply(set_room_visibility::v3::Response::new()))
}

fn api_error(error: ListingError) -> ApiError {
    match error {
        ListingError::UnknownRoom(room) => no_such_room(room),
        ListingError::Forbidden => ApiError::forbidden(error.to_string()),
        ListingError::Storage(error) => ApiError::internal(error),
    }
}
