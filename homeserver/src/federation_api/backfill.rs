//! `GET /_matrix/federation/v1/backfill/{roomId}`
//!
//! <https://spec.matrix.org/v1.19/server-server-api/#get_matrixfederationv1backfillroomid>

use axum::extract::State;
use federation::inbound::rooms::RoomAnswers;
use hs_http::{ApiError, Reply};
use ruma::{
    MilliSecondsSinceUnixEpoch, OwnedServerName,
    api::federation::backfill::get_backfill::v1::{Request, Response},
};

use super::{FederationArgs, count, room_error::answer_error};

pub(super) async fn get(
    State(answers): State<RoomAnswers>,
    State(server_name): State<OwnedServerName>,
    FederationArgs(origin, request): FederationArgs<Request>,
) -> Result<Reply<Response>, ApiError> {
    let pdus = answers.backfill(&origin, &request.room_id, &request.v, count(request.limit)).await;
    let pdus = pdus.map_err(answer_error)?;
    Ok(Reply(Response::new(server_name, MilliSecondsSinceUnixEpoch::now(), pdus)))
}
