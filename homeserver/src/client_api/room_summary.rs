//! `GET /_matrix/client/v1/room_summary/{roomIdOrAlias}`
//!
//! <https://spec.matrix.org/v1.19/client-server-api/#get_matrixclientv1room_summaryroomidoralias>

use axum::extract::State;
use hs_http::{ApiError, JsonReply, PathArgs};
use hs_rooms::{RoomActions, actions::FindRoomError, preview::Preview};
use ruma::{OwnedRoomId, OwnedRoomOrAliasId};
use serde::Serialize;

use super::auth::OptionalSession;

/// The second is what clients asked before the endpoint was part of the specification.
pub(super) const PATHS: [&str; 3] = [
    "/_matrix/client/v1/room_summary/{room}",
    "/_matrix/client/unstable/im.nheko.summary/summary/{room}",
    "/_matrix/client/unstable/im.nheko.summary/rooms/{room}/summary",
];

/// What is told of a room.
#[derive(Debug, Serialize)]
pub(super) struct Summary {
    room_id: OwnedRoomId,
    #[serde(skip_serializing_if = "Option::is_none")]
    name: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    topic: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    canonical_alias: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    avatar_url: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    room_type: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    encryption: Option<String>,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    allowed_room_ids: Vec<OwnedRoomId>,
    room_version: String,
    join_rule: String,
    num_joined_members: u64,
    world_readable: bool,
    guest_can_join: bool,
}

impl From<Preview> for Summary {
    fn from(preview: Preview) -> Self {
        let Preview { shown, version, encryption, allowed_rooms, .. } = preview;
        Self {
            room_id: shown.room_id,
            name: shown.name,
            topic: shown.topic,
            canonical_alias: shown.canonical_alias,
            avatar_url: shown.avatar_url,
            room_type: shown.room_type,
            encryption,
            allowed_room_ids: allowed_rooms,
            room_version: version.to_string(),
            join_rule: shown.join_rule.unwrap_or_else(|| "invite".to_owned()),
            num_joined_members: shown.joined,
            world_readable: shown.is_world_readable,
            guest_can_join: shown.guests_can_join,
        }
    }
}

#[derive(Debug, Serialize)]
pub(super) struct Response {
    #[serde(flatten)]
    summary: Summary,
    /// Under their names of before the endpoint was part of the specification.
    #[serde(rename = "im.nheko.summary.room_version")]
    room_version: String,
    #[serde(rename = "im.nheko.summary.encryption", skip_serializing_if = "Option::is_none")]
    encryption: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    membership: Option<&'static str>,
}

pub(super) async fn get(
    OptionalSession(session): OptionalSession,
    State(actions): State<RoomActions>,
    PathArgs(room): PathArgs<OwnedRoomOrAliasId>,
) -> Result<JsonReply<Response>, ApiError> {
    let unknown = || ApiError::not_found("There is no such room, or you may not see it");
    let room = match actions.find_room(&room).await {
        Ok(room) => room,
        Err(FindRoomError::Unknown(_)) => return Err(unknown()),
        Err(FindRoomError::Storage(error)) => return Err(ApiError::internal(error)),
    };
    let viewer = session.as_ref().map(|session| session.user);
    let mut previews = actions.rooms().previews(&[room.nid], viewer).await.map_err(ApiError::internal)?;
    let preview = previews.remove(&room.nid).filter(Preview::may_be_seen).ok_or_else(unknown)?;
    let membership = preview.membership.map_or("leave", hs_model::membership::Membership::as_str);
    let summary = Summary::from(preview);
    Ok(JsonReply(Response {
        room_version: summary.room_version.clone(),
        encryption: summary.encryption.clone(),
        membership: session.map(|_| membership),
        summary,
    }))
}
