//! `POST /_matrix/client/v3/rooms/{roomId}/unban`
//!
//! <https://spec.matrix.org/v1.19/client-server-api/#post_matrixclientv3roomsroomidunban>

use std::sync::Arc;

use axum::extract::State;
use hs_http::{ApiError, Args, Reply};
use hs_rooms::{RoomActions, Sender, membership::MembershipOptions};
use ruma::api::client::membership::unban_user;

use super::{membership_error, not_in_the_room};
use crate::client_api::{auth::Session, limits::RoomLimits};

pub(super) async fn post(
    session: Session,
    State(actions): State<RoomActions>,
    State(limits): State<Arc<RoomLimits>>,
    Args(request): Args<unban_user::v3::Request>,
) -> Result<Reply<unban_user::v3::Response>, ApiError> {
    session.must_not_be_suspended()?;
    limits.writes.check(session.user)?;
    let options = MembershipOptions { target: &request.user_id, reason: request.reason.as_deref() };
    let done = actions.unban(&request.room_id, &Sender::from(&session), options).await;
    done.map_err(|error| membership_error(error, not_in_the_room))?;
    Ok(Reply(unban_user::v3::Response::new()))
}
