//! `POST /_matrix/client/v3/createRoom`
//!
//! <https://spec.matrix.org/v1.19/client-server-api/#post_matrixclientv3createroom>

use std::sync::Arc;

use axum::extract::State;
use hs_http::{ApiError, JsonBody, Reply};
use hs_rooms::{
    RoomActions, Sender,
    create::{CreateRoom, CreateRoomError, InitialState, Preset, RawObject},
};
use http::StatusCode;
use ruma::{OwnedUserId, RoomVersionId, api::client::room::create_room};
use serde::{Deserialize, de::IgnoredAny};
use serde_json::value::RawValue;

use super::{
    auth::Session,
    limits::RoomLimits,
    rooms::{invites_blocked, remote_user, write_error},
};

/// The body. Whatever is `null` counts as absent.
#[derive(Debug, Deserialize)]
pub(super) struct Body {
    creation_content: Option<RawObject>,
    initial_state: Option<Vec<StateEvent>>,
    invite: Option<Vec<OwnedUserId>>,
    invite_3pid: Option<Vec<IgnoredAny>>,
    is_direct: Option<bool>,
    name: Option<String>,
    power_level_content_override: Option<RawObject>,
    preset: Option<String>,
    room_alias_name: Option<String>,
    room_version: Option<String>,
    topic: Option<String>,
    visibility: Option<String>,
}

#[derive(Debug, Deserialize)]
struct StateEvent {
    #[serde(rename = "type")]
    event_type: String,
    state_key: Option<String>,
    content: Box<RawValue>,
}

pub(super) async fn post(
    session: Session,
    State(actions): State<RoomActions>,
    State(limits): State<Arc<RoomLimits>>,
    JsonBody(body): JsonBody<Body>,
) -> Result<Reply<create_room::v3::Response>, ApiError> {
    session.must_not_be_suspended()?;
    limits.joins.check(session.user)?;
    if body.invite_3pid.as_ref().is_some_and(|invites| !invites.is_empty()) {
        return Err(third_party_invites_refused());
    }
    let created = actions.create_room(Sender::from(&session), parameters(body)?).await;
    Ok(Reply(create_room::v3::Response::new(created.map_err(api_error)?)))
}

/// Inviting by e-mail address or telephone number needs an identity server, and there is none.
pub(super) fn third_party_invites_refused() -> ApiError {
    ApiError::new(
        StatusCode::FORBIDDEN,
        "M_THREEPID_DENIED",
        "This server does not invite by e-mail address or telephone number: invite a user id",
    )
}

fn parameters(body: Body) -> Result<CreateRoom, ApiError> {
    let is_published = match body.visibility.as_deref() {
        Some("public") => true,
        Some("private") | None => false,
        Some(_) => return Err(ApiError::invalid_param("`visibility` must be `public` or `private`")),
    };
    let preset = match body.preset.as_deref() {
        Some("private_chat") => Preset::Private,
        Some("trusted_private_chat") => Preset::TrustedPrivate,
        Some("public_chat") => Preset::Public,
        Some(_) => {
            return Err(ApiError::invalid_param(
                "`preset` must be `private_chat`, `trusted_private_chat` or `public_chat`",
            ));
        }
        None if is_published => Preset::Public,
        None => Preset::Private,
    };
    let initial_state = body.initial_state.unwrap_or_default().into_iter().map(|event| InitialState {
        event_type: event.event_type,
        state_key: event.state_key.unwrap_or_default(),
        content: Box::<str>::from(event.content).into_string(),
    });
    Ok(CreateRoom {
        version: body.room_version.as_deref().map(room_version).transpose()?,
        preset,
        is_published,
        alias_localpart: body.room_alias_name,
        name: body.name,
        topic: body.topic,
        invite: body.invite.unwrap_or_default(),
        is_direct: body.is_direct.unwrap_or_default(),
        creation_content: body.creation_content.unwrap_or_default(),
        initial_state: initial_state.collect(),
        power_levels: body.power_level_content_override.unwrap_or_default(),
    })
}

/// Reads the name of a room version. What can be none is an unknown one.
pub(super) fn room_version(name: &str) -> Result<RoomVersionId, ApiError> {
    RoomVersionId::try_from(name)
        .map_err(|_| unsupported_version(format!("This server does not support room version `{name}`")))
}

/// For room versions that this server does not know.
pub(super) fn unsupported_version(message: String) -> ApiError {
    ApiError::new(StatusCode::BAD_REQUEST, "M_UNSUPPORTED_ROOM_VERSION", message)
}

fn api_error(error: CreateRoomError) -> ApiError {
    let message = error.to_string();
    let bad_request =
        |errcode: &'static str| ApiError::new(StatusCode::BAD_REQUEST, errcode, message.clone());
    match error {
        CreateRoomError::UnsupportedVersion(_) => unsupported_version(message),
        CreateRoomError::AliasTaken => bad_request("M_ROOM_IN_USE"),
        CreateRoomError::BadAlias(_) => bad_request("M_BAD_ALIAS"),
        CreateRoomError::InvalidState(_) => bad_request("M_INVALID_ROOM_STATE"),
        CreateRoomError::InvalidAlias(_) | CreateRoomError::TooManyEvents => ApiError::invalid_param(message),
        CreateRoomError::RemoteUser(_) => remote_user(message),
        CreateRoomError::InvitesBlocked(_) => invites_blocked(message),
        CreateRoomError::Write(error) => write_error(error),
        CreateRoomError::Storage(error) => ApiError::internal(error),
    }
}
