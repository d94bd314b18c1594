//! `GET /_matrix/federation/v1/event_auth/{roomId}/{eventId}`
//!
//! <https://spec.matrix.org/v1.19/server-server-api/#get_matrixfederationv1event_authroomideventid>

use axum::extract::State;
use federation::inbound::rooms::RoomAnswers;
use hs_http::{ApiError, Reply};
use ruma::api::federation::authorization::get_event_authorization::v1::{Request, Response};

use super::{FederationArgs, room_error::answer_error};

pub(super) async fn get(
    State(answers): State<RoomAnswers>,
    FederationArgs(origin, request): FederationArgs<Request>,
) -> Result<Reply<Response>, ApiError> {
    let chain = answers.auth_chain(&origin, &request.room_id, &request.event_id).await;
    Ok(Reply(Response::new(chain.map_err(answer_error)?)))
}
