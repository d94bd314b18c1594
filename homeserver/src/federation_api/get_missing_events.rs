//! `POST /_matrix/federation/v1/get_missing_events/{roomId}`
//!
//! <https://spec.matrix.org/v1.19/server-server-api/#post_matrixfederationv1get_missing_eventsroomid>

use axum::extract::State;
use federation::inbound::rooms::{MissingEvents, RoomAnswers};
use hs_http::{ApiError, Reply};
use ruma::api::federation::event::get_missing_events::v1::{Request, Response};

use super::{FederationArgs, count, room_error::answer_error};

pub(super) async fn post(
    State(answers): State<RoomAnswers>,
    FederationArgs(origin, request): FederationArgs<Request>,
) -> Result<Reply<Response>, ApiError> {
    let missing = MissingEvents {
        earliest: &request.earliest_events,
        latest: &request.latest_events,
        min_depth: request.min_depth.into(),
        limit: count(request.limit),
    };
    let events = answers.missing_events(&origin, &request.room_id, missing).await;
    Ok(Reply(Response::new(events.map_err(answer_error)?)))
}
