//! `PUT /_matrix/client/v3/rooms/{roomId}/typing/{userId}`
//!
//! <https://spec.matrix.org/v1.19/client-server-api/#put_matrixclientv3roomsroomidtypinguserid>

use std::{sync::Arc, time::Duration};

use axum::extract::State;
use hs_ephemeral::Ephemeral;
use hs_http::{ApiError, JsonBody, JsonReply, PathArgs};
use hs_rooms::Rooms;
use ruma::{OwnedRoomId, OwnedUserId};
use serde::Deserialize;
use serde_json::{Value, json};

use super::joined_room;
use crate::client_api::{auth::Session, limits::RoomLimits};

/// How long somebody types who does not say for how long.
const DEFAULT_TIMEOUT: Duration = Duration::from_secs(30);

/// The body. ruma insists on a timeout, which the specification does not.
#[derive(Debug, Deserialize)]
pub(super) struct Typing {
    typing: bool,
    timeout: Option<u64>,
}

pub(super) async fn put(
    session: Session,
    State(rooms): State<Rooms>,
    State(ephemeral): State<Ephemeral>,
    State(limits): State<Arc<RoomLimits>>,
    PathArgs((room_id, user_id)): PathArgs<(OwnedRoomId, OwnedUserId)>,
    JsonBody(body): JsonBody<Typing>,
) -> Result<JsonReply<Value>, ApiError> {
    limits.writes.check(session.user)?;
    session.must_be(&user_id)?;
    let room = joined_room(&rooms, &session, &room_id).await?;
    let timeout = body.typing.then(|| body.timeout.map_or(DEFAULT_TIMEOUT, Duration::from_millis));
    ephemeral
        .set_typing(room.nid, session.user, &session.user_id, timeout)
        .await
        .map_err(ApiError::internal)?;
    Ok(JsonReply(json!({})))
}
