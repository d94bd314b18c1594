//! `GET /_matrix/federation/v1/query/directory`
//!
//! <https://spec.matrix.org/v1.19/server-server-api/#get_matrixfederationv1querydirectory>

use axum::extract::State;
use hs_http::{ApiError, Reply};
use hs_rooms::{RoomActions, aliases::AliasError};
use ruma::{OwnedServerName, api::federation::query::get_room_information::v1};

use crate::federation_api::FederationArgs;

pub(in crate::federation_api) async fn get(
    State(server_name): State<OwnedServerName>,
    State(actions): State<RoomActions>,
    FederationArgs(_, request): FederationArgs<v1::Request>,
) -> Result<Reply<v1::Response>, ApiError> {
    if request.room_alias.server_name() != server_name {
        return Err(ApiError::invalid_param("The alias is not one of this server"));
    }
    let found = actions.look_up_alias(&request.room_alias).await.map_err(|error| match error {
        AliasError::Storage(error) => ApiError::internal(error),
        _ => ApiError::not_found("There is no room with this alias"),
    })?;
    Ok(Reply(v1::Response::new(found.room_id, found.servers)))
}
