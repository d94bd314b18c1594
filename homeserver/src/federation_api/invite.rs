//! `PUT /_matrix/federation/v2/invite/{roomId}/{eventId}`, and its first version
//!
//! <https://spec.matrix.org/v1.19/server-server-api/#put_matrixfederationv2inviteroomideventid>

use axum::extract::State;
use federation::{
    adapters::rooms::raw_shown,
    inbound::rooms::{ReceivedInvite, RoomAnswers},
};
use hs_http::{ApiError, JsonReply, Reply};
use ruma::{
    RoomVersionId,
    api::federation::membership::{
        create_invite::v2::{Request, Response},
        create_leave_event,
    },
};
use serde::Deserialize;
use serde_json::value::RawValue;

use super::{FederationArgs, room_error::answer_error};

/// Where servers that know only the first version ask.
pub(super) const V1: [&str; 1] = ["/_matrix/federation/v1/invite/{room_id}/{event_id}"];

pub(super) async fn put(
    State(answers): State<RoomAnswers>,
    FederationArgs(origin, request): FederationArgs<Request>,
) -> Result<Reply<Response>, ApiError> {
    let invite = ReceivedInvite {
        room_id: &request.room_id,
        event_id: &request.event_id,
        version: &request.room_version,
        event: &request.event,
        shown: request.invite_room_state.into_iter().map(raw_shown).collect(),
    };
    let event = answers.invite(&origin, invite).await.map_err(answer_error)?;
    Ok(Reply(Response::new(event)))
}

/// Of the first version the body is the event itself, as it is of leaves.
pub(super) async fn put_v1(
    State(answers): State<RoomAnswers>,
    FederationArgs(origin, request): FederationArgs<create_leave_event::v2::Request>,
) -> Result<JsonReply<(u16, Response1)>, ApiError> {
    #[derive(Deserialize)]
    struct Event {
        #[serde(default)]
        unsigned: Unsigned,
    }
    #[derive(Default, Deserialize)]
    struct Unsigned {
        #[serde(default)]
        invite_room_state: Vec<Box<RawValue>>,
    }
    let event: Event =
        serde_json::from_str(request.pdu.get()).map_err(|error| ApiError::bad_json(error.to_string()))?;
    let invite = ReceivedInvite {
        room_id: &request.room_id,
        event_id: &request.event_id,
        // Whoever asks this way has a room of one of the first two versions, whose events look the same.
        version: &RoomVersionId::V1,
        event: &request.pdu,
        shown: event.unsigned.invite_room_state,
    };
    let event = answers.invite(&origin, invite).await.map_err(answer_error)?;
    Ok(JsonReply((200, Response1 { event })))
}

#[derive(Debug, serde::Serialize)]
pub(super) struct Response1 {
    event: Box<RawValue>,
}
