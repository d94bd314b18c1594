//! `POST /_matrix/client/v3/rooms/{roomId}/upgrade`
//!
//! <https://spec.matrix.org/v1.19/client-server-api/#post_matrixclientv3roomsroomidupgrade>

use std::sync::Arc;

use axum::extract::State;
use hs_http::{ApiError, JsonBody, PathArgs, Reply};
use hs_rooms::{
    RoomActions, Sender,
    upgrade::{Upgrade, UpgradeError},
};
use ruma::{OwnedRoomId, OwnedUserId, api::client::room::upgrade_room};
use serde::Deserialize;

use super::{not_in_the_room, write_error};
use crate::client_api::{
    auth::Session,
    create_room::{room_version, unsupported_version},
    limits::RoomLimits,
};

#[derive(Debug, Deserialize)]
pub(super) struct Body {
    new_version: String,
    additional_creators: Option<Vec<OwnedUserId>>,
}

pub(super) async fn post(
    session: Session,
    State(actions): State<RoomActions>,
    State(limits): State<Arc<RoomLimits>>,
    PathArgs(room_id): PathArgs<OwnedRoomId>,
    JsonBody(body): JsonBody<Body>,
) -> Result<Reply<upgrade_room::v3::Response>, ApiError> {
    session.must_not_be_suspended()?;
    limits.joins.check(session.user)?;
    let version = room_version(&body.new_version)?;
    let upgrade = Upgrade { version, additional_creators: body.additional_creators.unwrap_or_default() };
    let upgraded = actions.upgrade_room(&room_id, Sender::from(&session), upgrade).await;
    Ok(Reply(upgrade_room::v3::Response::new(upgraded.map_err(api_error)?)))
}

fn api_error(error: UpgradeError) -> ApiError {
    let message = error.to_string();
    match error {
        UpgradeError::UnsupportedVersion(_) => unsupported_version(message),
        UpgradeError::UnknownRoom(room) => not_in_the_room(room),
        UpgradeError::Forbidden(why) => ApiError::forbidden(why),
        UpgradeError::Write(error) => write_error(error),
        UpgradeError::Storage(error) => ApiError::internal(error),
    }
}
