//! `GET /_matrix/client/v1/room_summary/{roomIdOrAlias}`
//!
//! <https://spec.matrix.org/v1.19/client-server-api/#get_matrixclientv1room_summaryroomidoralias>

use axum::extract::State;
use federation::adapters::finding::RemoteFinder;
use hs_http::{ApiError, Args, JsonReply};
use hs_model::{ids::UserNid, membership::Membership};
use hs_rooms::{RoomActions, aliases::AliasError, preview::Preview};
use hs_storage::StorageError;
use ruma::{
    OwnedRoomId, RoomId,
    api::client::room::get_summary,
    room::{JoinRuleKind, JoinRuleSummary, RoomSummary},
};
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
pub(crate) struct Summary {
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

impl From<RoomSummary> for Summary {
    fn from(summary: RoomSummary) -> Self {
        let allowed_room_ids = match &summary.join_rule {
            JoinRuleSummary::Restricted(restricted) | JoinRuleSummary::KnockRestricted(restricted) => {
                restricted.allowed_room_ids.clone()
            }
            _ => Vec::new(),
        };
        Self {
            room_id: summary.room_id,
            name: summary.name,
            topic: summary.topic,
            canonical_alias: summary.canonical_alias.map(|alias| alias.to_string()),
            avatar_url: summary.avatar_url.map(|url| url.to_string()),
            room_type: summary.room_type.map(|room_type| room_type.as_str().to_owned()),
            encryption: summary.encryption.map(|algorithm| algorithm.as_str().to_owned()),
            allowed_room_ids,
            room_version: summary.room_version.map_or_else(|| "1".to_owned(), |version| version.to_string()),
            join_rule: summary.join_rule.kind().as_str().to_owned(),
            num_joined_members: summary.num_joined_members.into(),
            world_readable: summary.world_readable,
            guest_can_join: summary.guest_can_join,
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
    State(finder): State<RemoteFinder>,
    Args(request): Args<get_summary::v1::Request>,
) -> Result<JsonReply<Response>, ApiError> {
    let unknown = || ApiError::not_found("There is no such room, or you may not see it");
    let (room_id, servers) = match <&RoomId>::try_from(&*request.room_id_or_alias) {
        Ok(room_id) => (room_id.to_owned(), request.via),
        Err(alias) => match actions.look_up_alias(alias).await {
            Ok(found) => (found.room_id, found.servers),
            Err(AliasError::Storage(error)) => return Err(ApiError::internal(error)),
            Err(_) => return Err(unknown()),
        },
    };
    let viewer = session.as_ref().map(|session| session.user);
    if let Some(preview) = local_preview(&actions, &room_id, viewer).await.map_err(ApiError::internal)? {
        let preview = Some(preview).filter(Preview::may_be_seen).ok_or_else(unknown)?;
        let membership = preview.membership.map_or("leave", Membership::as_str);
        return Ok(reply(preview.into(), session.map(|_| membership)));
    }
    // Whom nobody knows may not send this server about.
    let viewer = viewer.ok_or_else(unknown)?;
    let membership = remote_membership(&actions, &room_id, viewer).await.map_err(ApiError::internal)?;
    let summary = finder.summary(&room_id, &servers).await.ok_or_else(unknown)?;
    let may_be_seen = may_see(&actions, &summary, (viewer, membership)).await.map_err(ApiError::internal)?;
    if !may_be_seen {
        return Err(unknown());
    }
    let membership = membership.map_or("leave", Membership::as_str);
    Ok(reply(summary.into(), session.map(|_| membership)))
}

fn reply(summary: Summary, membership: Option<&'static str>) -> JsonReply<Response> {
    JsonReply(Response {
        room_version: summary.room_version.clone(),
        encryption: summary.encryption.clone(),
        membership,
        summary,
    })
}

/// What this server knows of a room that it is in.
async fn local_preview(
    actions: &RoomActions,
    room_id: &RoomId,
    viewer: Option<UserNid>,
) -> Result<Option<Preview>, StorageError> {
    let rooms = actions.rooms();
    let Some(room) = rooms.find(room_id).await? else { return Ok(None) };
    if !rooms.is_resident(&room).await? {
        return Ok(None);
    }
    Ok(rooms.previews(&[room.nid], viewer).await?.remove(&room.nid))
}

/// What a user is in a room that this server is not in.
async fn remote_membership(
    actions: &RoomActions,
    room_id: &RoomId,
    viewer: UserNid,
) -> Result<Option<Membership>, StorageError> {
    let Some(room) = actions.rooms().find(room_id).await? else { return Ok(None) };
    actions.rooms().membership(&room, viewer).await
}

/// Whether a user may know of a room that another server has told of.
async fn may_see(
    actions: &RoomActions,
    summary: &RoomSummary,
    (viewer, membership): (UserNid, Option<Membership>),
) -> Result<bool, StorageError> {
    if summary.world_readable || membership == Some(Membership::Invite) {
        return Ok(true);
    }
    let JoinRuleSummary::Restricted(restricted) = &summary.join_rule else {
        let kind = summary.join_rule.kind();
        return Ok(matches!(
            kind,
            JoinRuleKind::Public | JoinRuleKind::Knock | JoinRuleKind::KnockRestricted
        ));
    };
    let allowed = restricted.allowed_room_ids.clone();
    actions.rooms().store().reader().await?.is_joined_to_any(&allowed, viewer).await
}
