//! `POST /_matrix/client/v3/rooms/{roomId}/upgrade`
//!
//! <https://spec.matrix.org/v1.19/client-server-api/#post_matrixclientv3roomsroomidupgrade>

use std::sync::Arc;

use axum::extract::State;
use hs_http::{ApiError, Args, Reply};
use hs_rooms::{
    RoomActions, Sender,
    upgrade::{Upgrade, UpgradeError},
};
use http::StatusCode;
use ruma::api::client::room::upgrade_room;

use super::{not_in_the_room, write_error};
use crate::client_api::{auth::Session, limits::RoomLimits};

pub(super) async fn post(
    session: Session,
    State(actions): State<RoomActions>,
    State(limits): State<Arc<RoomLimits>>,
    Args(request): Args<upgrade_room::v3::Request>,
) -> Result<Reply<upgrade_room::v3::Response>, ApiError> {
    limits.joins.check(session.user)?;
    let upgrade = Upgrade { version: request.new_version, additional_creators: request.additional_creators };
    let upgraded = actions.upgrade_room(&request.room_id, Sender::from(&session), upgrade).await;
    Ok(Reply(upgrade_room::v3::Response::new(upgraded.map_err(api_error)?)))
}

fn api_error(error: UpgradeError) -> ApiError {
    let message = error.to_string();
    match error {
        UpgradeError::UnsupportedVersion(_) => {
            ApiError::new(StatusCode::BAD_REQUEST, "M_UNSUPPORTED_ROOM_VERSION", message)
        }
        UpgradeError::UnknownRoom(room) => not_in_the_room(room),
        UpgradeError::Forbidden(why) => ApiError::forbidden(why),
        UpgradeError::Write(error) => write_error(error),
        UpgradeError::Storage(error) => ApiError::internal(error),
    }
}
