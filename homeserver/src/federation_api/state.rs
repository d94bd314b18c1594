//! `GET /_matrix/federation/v1/state/{roomId}`, `GET /_matrix/federation/v1/state_ids/{roomId}`
//!
//! <https://spec.matrix.org/v1.19/server-server-api/#get_matrixfederationv1stateroomid>

use axum::extract::State;
use federation::inbound::rooms::RoomAnswers;
use hs_http::{ApiError, Reply};
use ruma::api::federation::event::{get_room_state, get_room_state_ids};

use super::{FederationArgs, room_error::answer_error};

pub(super) async fn get(
    State(answers): State<RoomAnswers>,
    FederationArgs(origin, request): FederationArgs<get_room_state::v1::Request>,
) -> Result<Reply<get_room_state::v1::Response>, ApiError> {
    let found = answers.state(&origin, &request.room_id, &request.event_id).await.map_err(answer_error)?;
    Ok(Reply(get_room_state::v1::Response::new(found.auth_chain, found.state)))
}

pub(super) async fn get_ids(
    State(answers): State<RoomAnswers>,
    FederationArgs(origin, request): FederationArgs<get_room_state_ids::v1::Request>,
) -> Result<Reply<get_room_state_ids::v1::Response>, ApiError> {
    let found = answers.state_ids(&origin, &request.room_id, &request.event_id).await;
    let found = found.map_err(answer_error)?;
    Ok(Reply(get_room_state_ids::v1::Response::new(found.auth_chain, found.state)))
}
