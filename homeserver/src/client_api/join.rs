//! `POST /_matrix/client/v3/join/{roomIdOrAlias}`
//!
//! <https://spec.matrix.org/v1.19/client-server-api/#post_matrixclientv3joinroomidoralias>

use std::sync::Arc;

use axum::extract::State;
use hs_http::{ApiError, Args, Reply};
use hs_rooms::{RoomActions, Sender};
use ruma::api::client::membership::join_room_by_id_or_alias;

use super::{
    auth::Session,
    guests::check_join,
    limits::RoomLimits,
    rooms::{membership_error, no_such_room},
};

pub(super) async fn post(
    session: Session,
    State(actions): State<RoomActions>,
    State(limits): State<Arc<RoomLimits>>,
    Args(request): Args<join_room_by_id_or_alias::v3::Request>,
) -> Result<Reply<join_room_by_id_or_alias::v3::Response>, ApiError> {
    session.must_not_be_suspended()?;
    limits.joins.check(session.user)?;
    check_join(&session, &actions, &request.room_id_or_alias).await?;
    let sender = Sender::from(&session);
    let joined =
        actions.join_via(&request.room_id_or_alias, &request.via, &sender, request.reason.as_deref()).await;
    let room_id = joined.map_err(|error| membership_error(error, no_such_room))?;
    Ok(Reply(join_room_by_id_or_alias::v3::Response::new(room_id)))
}
