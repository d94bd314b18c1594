//! `POST /_matrix/client/v3/knock/{roomIdOrAlias}`
//!
//! <https://spec.matrix.org/v1.19/client-server-api/#post_matrixclientv3knockroomidoralias>

use std::sync::Arc;

use axum::extract::State;
use hs_http::{ApiError, Args, Reply};
use hs_rooms::{RoomActions, Sender};
use ruma::api::client::knock::knock_room;

use super::{
    auth::Session,
    limits::RoomLimits,
    rooms::{membership_error, no_such_room},
};

pub(super) async fn post(
    session: Session,
    State(actions): State<RoomActions>,
    State(limits): State<Arc<RoomLimits>>,
    Args(request): Args<knock_room::v3::Request>,
) -> Result<Reply<knock_room::v3::Response>, ApiError> {
    session.must_not_be_suspended()?;
    limits.joins.check(session.user)?;
    let sender = Sender::from(&session);
    let knocked =
        actions.knock_via(&request.room_id_or_alias, &request.via, &sender, request.reason.as_deref()).await;
    let room_id = knocked.map_err(|error| membership_error(error, no_such_room))?;
    Ok(Reply(knock_room::v3::Response::new(room_id)))
}
