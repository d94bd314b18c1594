//! `GET /_matrix/federation/v1/make_join/{roomId}/{userId}`, and the same for knocks and leaves
//!
//! <https://spec.matrix.org/v1.19/server-server-api/#get_matrixfederationv1make_joinroomiduserid>

use axum::extract::State;
use federation::inbound::rooms::RoomAnswers;
use hs_http::{ApiError, Reply};
use hs_model::membership::Membership;
use ruma::api::federation::membership::{prepare_join_event, prepare_knock_event, prepare_leave_event};

use super::{FederationArgs, room_error::answer_error};

pub(super) async fn get_join(
    State(answers): State<RoomAnswers>,
    FederationArgs(origin, request): FederationArgs<prepare_join_event::v1::Request>,
) -> Result<Reply<prepare_join_event::v1::Response>, ApiError> {
    let what = (&*request.room_id, &*request.user_id);
    let template = answers.draft(&origin, Membership::Join, what, Some(&request.ver)).await;
    let template = template.map_err(answer_error)?;
    let mut response = prepare_join_event::v1::Response::new(template.event);
    response.room_version = Some(template.version);
    Ok(Reply(response))
}

pub(super) async fn get_knock(
    State(answers): State<RoomAnswers>,
    FederationArgs(origin, request): FederationArgs<prepare_knock_event::v1::Request>,
) -> Result<Reply<prepare_knock_event::v1::Response>, ApiError> {
    let what = (&*request.room_id, &*request.user_id);
    let template = answers.draft(&origin, Membership::Knock, what, Some(&request.ver)).await;
    let template = template.map_err(answer_error)?;
    Ok(Reply(prepare_knock_event::v1::Response::new(template.version, template.event)))
}

pub(super) async fn get_leave(
    State(answers): State<RoomAnswers>,
    FederationArgs(origin, request): FederationArgs<prepare_leave_event::v1::Request>,
) -> Result<Reply<prepare_leave_event::v1::Response>, ApiError> {
    let what = (&*request.room_id, &*request.user_id);
    let template = answers.draft(&origin, Membership::Leave, what, None).await.map_err(answer_error)?;
    Ok(Reply(prepare_leave_event::v1::Response::new(Some(template.version), template.event)))
}
