//! `POST /_matrix/client/v3/rooms/{roomId}/join`
//!
//! <https://spec.matrix.org/v1.19/client-server-api/#post_matrixclientv3roomsroomidjoin>

use std::sync::Arc;

use axum::extract::State;
use hs_http::{ApiError, Args, Reply};
use hs_rooms::{RoomActions, Sender};
use ruma::api::client::membership::join_room_by_id;

use super::{membership_error, no_such_room};
use crate::client_api::{auth::Session, guests::check_join, limits::RoomLimits};

pub(super) async fn post(
    session: Session,
    State(actions): State<RoomActions>,
    State(limits): State<Arc<RoomLimits>>,
    Args(request): Args<join_room_by_id::v3::Request>,
) -> Result<Reply<join_room_by_id::v3::Response>, ApiError> {
    session.must_not_be_suspended()?;
    limits.joins.check(session.user)?;
    let room = (&*request.room_id).into();
    check_join(&session, &actions, room).await?;
    let joined = actions.join(room, &Sender::from(&session), request.reason.as_deref()).await;
    let room_id = joined.map_err(|error| membership_error(error, no_such_room))?;
    Ok(Reply(join_room_by_id::v3::Response::new(room_id)))
}
