//! `POST /_matrix/client/v3/rooms/{roomId}/leave`
//!
//! <https://spec.matrix.org/v1.19/client-server-api/#post_matrixclientv3roomsroomidleave>

use std::sync::Arc;

use axum::extract::State;
use hs_http::{ApiError, Args, Reply};
use hs_rooms::{RoomActions, Sender};
use ruma::api::client::membership::leave_room;

use super::{membership_error, no_such_room};
use crate::client_api::{auth::Session, limits::RoomLimits};

pub(super) async fn post(
    session: Session,
    State(actions): State<RoomActions>,
    State(limits): State<Arc<RoomLimits>>,
    Args(request): Args<leave_room::v3::Request>,
) -> Result<Reply<leave_room::v3::Response>, ApiError> {
    limits.writes.check(session.user)?;
    let left = actions.leave(&request.room_id, &Sender::from(&session), request.reason.as_deref()).await;
    left.map_err(|error| membership_error(error, no_such_room))?;
    Ok(Reply(leave_room::v3::Response::new()))
}
