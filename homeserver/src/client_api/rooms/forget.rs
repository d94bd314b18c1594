//! `POST /_matrix/client/v3/rooms/{roomId}/forget`
//!
//! <https://spec.matrix.org/v1.19/client-server-api/#post_matrixclientv3roomsroomidforget>

use std::sync::Arc;

use axum::extract::State;
use hs_http::{ApiError, Args, Reply};
use hs_rooms::{RoomActions, Sender, membership::ForgetError};
use http::StatusCode;
use ruma::api::client::membership::forget_room;

use super::no_such_room;
use crate::client_api::{auth::Session, limits::RoomLimits};

pub(super) async fn post(
    session: Session,
    State(actions): State<RoomActions>,
    State(limits): State<Arc<RoomLimits>>,
    Args(request): Args<forget_room::v3::Request>,
) -> Result<Reply<forget_room::v3::Response>, ApiError> {
    limits.writes.check(session.user)?;
    actions.forget(&request.room_id, &Sender::from(&session)).await.map_err(api_error)?;
    Ok(Reply(forget_room::v3::Response::new()))
}

fn api_error(error: ForgetError) -> ApiError {
    match error {
        ForgetError::UnknownRoom(room) => no_such_room(room),
        ForgetError::StillThere => ApiError::new(StatusCode::BAD_REQUEST, "M_UNKNOWN", error.to_string()),
        ForgetError::Storage(error) => ApiError::internal(error),
    }
}
