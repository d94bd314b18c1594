//! `GET /_matrix/federation/v1/event/{eventId}`
//!
//! <https://spec.matrix.org/v1.19/server-server-api/#get_matrixfederationv1eventeventid>

use axum::extract::State;
use federation::inbound::rooms::RoomAnswers;
use hs_http::{ApiError, Reply};
use ruma::{
    MilliSecondsSinceUnixEpoch, OwnedServerName,
    api::federation::event::get_event::v1::{Request, Response},
};

use super::{FederationArgs, room_error::answer_error};

pub(super) async fn get(
    State(answers): State<RoomAnswers>,
    State(server_name): State<OwnedServerName>,
    FederationArgs(origin, request): FederationArgs<Request>,
) -> Result<Reply<Response>, ApiError> {
    let event = answers.event(&origin, &request.event_id).await.map_err(answer_error)?;
    Ok(Reply(Response::new(server_name, MilliSecondsSinceUnixEpoch::now(), event)))
}
