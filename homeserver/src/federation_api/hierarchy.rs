//! `GET /_matrix/federation/v1/hierarchy/{roomId}`
//!
//! <https://spec.matrix.org/v1.19/server-server-api/#get_matrixfederationv1hierarchyroomid>

use axum::extract::State;
use federation::inbound::rooms::RoomAnswers;
use hs_http::{ApiError, JsonReply};
use hs_rooms::hierarchy::HierarchyRoom;
use ruma::{OwnedRoomId, api::federation::space::get_hierarchy::v1::Request};
use serde::Serialize;
use serde_json::value::RawValue;

use super::{FederationArgs, room_error::answer_error};
use crate::client_api::Summary;

#[derive(Debug, Serialize)]
pub(super) struct Response {
    room: Entry,
    children: Vec<Entry>,
    inaccessible_children: Vec<OwnedRoomId>,
}

#[derive(Debug, Serialize)]
struct Entry {
    #[serde(flatten)]
    summary: Summary,
    children_state: Vec<Box<RawValue>>,
}

impl From<HierarchyRoom> for Entry {
    fn from(room: HierarchyRoom) -> Self {
        Self { summary: room.preview.into(), children_state: room.children }
    }
}

pub(super) async fn get(
    State(answers): State<RoomAnswers>,
    FederationArgs(origin, request): FederationArgs<Request>,
) -> Result<JsonReply<Response>, ApiError> {
    let found = answers.hierarchy(&origin, &request.room_id, request.suggested_only).await;
    let found = found.map_err(answer_error)?;
    Ok(JsonReply(Response {
        room: found.room.into(),
        children: found.children.into_iter().map(Entry::from).collect(),
        inaccessible_children: found.inaccessible,
    }))
}
