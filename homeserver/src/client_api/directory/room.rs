//! `/_matrix/client/v3/directory/room/{roomAlias}`
//!
//! <https://spec.matrix.org/v1.19/client-server-api/#room-aliases>

use std::sync::Arc;

use axum::extract::State;
use hs_http::{ApiError, Args, Reply};
use hs_rooms::{RoomActions, Sender};
use ruma::api::client::alias::{create_alias, delete_alias, get_alias};

use super::{alias_error, asker};
use crate::client_api::{auth::Session, limits::RoomLimits};

/// `GET /_matrix/client/v3/directory/room/{roomAlias}`
pub(super) async fn get(
    State(actions): State<RoomActions>,
    Args(request): Args<get_alias::v3::Request>,
) -> Result<Reply<get_alias::v3::Response>, ApiError> {
    let found = actions.look_up_alias(&request.room_alias).await.map_err(alias_error)?;
    Ok(Reply(get_alias::v3::Response::new(found.room_id, found.servers)))
}

/// `PUT /_matrix/client/v3/directory/room/{roomAlias}`
pub(super) async fn put(
    session: Session,
    State(actions): State<RoomActions>,
    State(limits): State<Arc<RoomLimits>>,
    Args(request): Args<create_alias::v3::Request>,
) -> Result<Reply<create_alias::v3::Response>, ApiError> {
    session.must_not_be_suspended()?;
    limits.writes.check(session.user)?;
    let made = actions.create_alias(&request.room_alias, &request.room_id, &Sender::from(&session)).await;
    made.map_err(alias_error)?;
    Ok(Reply(create_alias::v3::Response::new()))
}

/// `DELETE /_matrix/client/v3/directory/room/{roomAlias}`
pub(super) async fn delete(
    session: Session,
    State(actions): State<RoomActions>,
    State(limits): State<Arc<RoomLimits>>,
    Args(request): Args<delete_alias::v3::Request>,
) -> Result<Reply<delete_alias::v3::Response>, ApiError> {
    session.must_not_be_suspended()?;
    limits.writes.check(session.user)?;
    actions.delete_alias(&request.room_alias, &asker(&session)).await.map_err(alias_error)?;
    Ok(Reply(delete_alias::v3::Response::new()))
}
