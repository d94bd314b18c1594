//! `PUT /_matrix/federation/v2/send_join/{roomId}/{eventId}`, and the same for knocks and leaves
//!
//! The first version of joins and leaves has the same requests, and puts its answers into a list after the status.
//!
//! <https://spec.matrix.org/v1.19/server-server-api/#put_matrixfederationv2send_joinroomideventid>

use axum::extract::State;
use federation::inbound::rooms::{Handed, JoinReply, RoomAnswers};
use hs_http::{ApiError, JsonReply, Reply};
use hs_model::membership::Membership;
use ruma::{
    OwnedServerName,
    api::federation::membership::{
        RawStrippedState, create_join_event, create_knock_event, create_leave_event,
    },
};
use serde::Serialize;
use serde_json::value::RawValue;

use super::{FederationArgs, room_error::answer_error};

/// Where servers that know only the first version ask.
pub(super) const JOIN_V1: [&str; 1] = ["/_matrix/federation/v1/send_join/{room_id}/{event_id}"];
/// As [`JOIN_V1`].
pub(super) const LEAVE_V1: [&str; 1] = ["/_matrix/federation/v1/send_leave/{room_id}/{event_id}"];

#[derive(Debug, Serialize)]
pub(super) struct Joined {
    origin: OwnedServerName,
    members_omitted: bool,
    #[serde(skip_serializing_if = "Option::is_none")]
    servers_in_room: Option<Vec<OwnedServerName>>,
    state: Vec<Box<RawValue>>,
    auth_chain: Vec<Box<RawValue>>,
    event: Box<RawValue>,
}

pub(super) async fn put_join(
    State(answers): State<RoomAnswers>,
    State(origin): State<OwnedServerName>,
    FederationArgs(asker, request): FederationArgs<create_join_event::v2::Request>,
) -> Result<JsonReply<Joined>, ApiError> {
    let handed = Handed {
        membership: Membership::Join,
        room_id: &request.room_id,
        event_id: &request.event_id,
        event: &request.pdu,
    };
    let reply = answers.join(&asker, handed, request.omit_members).await.map_err(answer_error)?;
    let JoinReply { state, auth_chain, event, servers } = reply;
    let members_omitted = servers.is_some();
    Ok(JsonReply(Joined { origin, members_omitted, servers_in_room: servers, state, auth_chain, event }))
}

pub(super) async fn put_join_v1(
    answers: State<RoomAnswers>,
    origin: State<OwnedServerName>,
    FederationArgs(asker, mut request): FederationArgs<create_join_event::v2::Request>,
) -> Result<JsonReply<(u16, Joined)>, ApiError> {
    // It knows no other answers than complete ones.
    request.omit_members = false;
    let JsonReply(joined) = put_join(answers, origin, FederationArgs(asker, request)).await?;
    Ok(JsonReply((200, joined)))
}

pub(super) async fn put_knock(
    State(answers): State<RoomAnswers>,
    FederationArgs(asker, request): FederationArgs<create_knock_event::v1::Request>,
) -> Result<Reply<create_knock_event::v1::Response>, ApiError> {
    let handed = Handed {
        membership: Membership::Knock,
        room_id: &request.room_id,
        event_id: &request.event_id,
        event: &request.pdu,
    };
    let shown = answers.knock(&asker, handed).await.map_err(answer_error)?;
    let shown = shown.into_iter().map(RawStrippedState::Pdu).collect();
    Ok(Reply(create_knock_event::v1::Response::new(shown)))
}

pub(super) async fn put_leave(
    State(answers): State<RoomAnswers>,
    FederationArgs(asker, request): FederationArgs<create_leave_event::v2::Request>,
) -> Result<Reply<create_leave_event::v2::Response>, ApiError> {
    let handed = Handed {
        membership: Membership::Leave,
        room_id: &request.room_id,
        event_id: &request.event_id,
        event: &request.pdu,
    };
    answers.leave(&asker, handed).await.map_err(answer_error)?;
    Ok(Reply(create_leave_event::v2::Response::new()))
}

pub(super) async fn put_leave_v1(
    answers: State<RoomAnswers>,
    args: FederationArgs<create_leave_event::v2::Request>,
) -> Result<JsonReply<serde_json::Value>, ApiError> {
    put_leave(answers, args).await?;
    Ok(JsonReply(serde_json::json!([200, {}])))
}
