//! `POST /_matrix/client/v3/rooms/{roomId}/leave`
//!
//! <https://spec.matrix.org/v1.19/client-server-api/#post_matrixclientv3roomsroomidleave>

use std::sync::Arc;

use axum::extract::State;
use hs_http::{ApiError, Args, Reply};
use hs_model::membership::Membership;
use hs_rooms::{RoomActions, Sender};
use http::StatusCode;
use ruma::{RoomId, api::client::membership::leave_room};

use super::{membership_error, no_such_room};
use crate::{
    client_api::{auth::Session, limits::RoomLimits},
    server_notices::ServerNotices,
};

pub(super) async fn post(
    session: Session,
    State(actions): State<RoomActions>,
    State(limits): State<Arc<RoomLimits>>,
    State(notices): State<ServerNotices>,
    Args(request): Args<leave_room::v3::Request>,
) -> Result<Reply<leave_room::v3::Response>, ApiError> {
    limits.writes.check(session.user)?;
    check_not_from_server(&session, &actions, &notices, &request.room_id).await?;
    let left = actions.leave(&request.room_id, &Sender::from(&session), request.reason.as_deref()).await;
    left.map_err(|error| membership_error(error, no_such_room))?;
    Ok(Reply(leave_room::v3::Response::new()))
}

/// Invites of the server itself cannot be rejected.
///
/// <https://spec.matrix.org/v1.19/client-server-api/#server-notices>
async fn check_not_from_server(
    session: &Session,
    actions: &RoomActions,
    notices: &ServerNotices,
    room_id: &RoomId,
) -> Result<(), ApiError> {
    let rooms = actions.rooms();
    let Some(room) = rooms.find(room_id).await.map_err(ApiError::internal)? else { return Ok(()) };
    let is_invited = room.read().membership(session.user) == Some(Membership::Invite);
    if is_invited && notices.is_notice_room(session.user, &room).await.map_err(ApiError::internal)? {
        return Err(ApiError::new(
            StatusCode::FORBIDDEN,
            "M_CANNOT_LEAVE_SERVER_NOTICE_ROOM",
            "The server speaks to you in this room: you cannot reject the invite",
        ));
    }
    Ok(())
}
