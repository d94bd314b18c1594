//! `GET /_matrix/client/v3/rooms/{roomId}/aliases`
//!
//! <https://spec.matrix.org/v1.19/client-server-api/#get_matrixclientv3roomsroomidaliases>

use axum::extract::State;
use hs_http::{ApiError, Args, Reply};
use hs_rooms::{RoomActions, Sender};
use ruma::api::client::room::aliases;

use crate::client_api::{auth::Session, directory::alias_error};

pub(super) async fn get(
    session: Session,
    State(actions): State<RoomActions>,
    Args(request): Args<aliases::v3::Request>,
) -> Result<Reply<aliases::v3::Response>, ApiError> {
    let listed = actions.list_aliases(&request.room_id, &Sender::from(&session)).await;
    Ok(Reply(aliases::v3::Response::new(listed.map_err(alias_error)?)))
}
