//! `GET /_matrix/client/v3/joined_rooms`
//!
//! <https://spec.matrix.org/v1.19/client-server-api/#get_matrixclientv3joined_rooms>

use axum::extract::State;
use hs_http::{ApiError, Args, Reply};
use hs_rooms::RoomActions;
use ruma::api::client::membership::joined_rooms;

use super::auth::Session;

pub(super) async fn get(
    session: Session,
    State(actions): State<RoomActions>,
    Args(_): Args<joined_rooms::v3::Request>,
) -> Result<Reply<joined_rooms::v3::Response>, ApiError> {
    let rooms = actions.rooms().list_joined(session.user).await.map_err(ApiError::internal)?;
    Ok(Reply(joined_rooms::v3::Response::new(rooms)))
}
