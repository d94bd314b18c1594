//! `POST /_matrix/client/v3/createRoom`
//!
//! <https://spec.matrix.org/v1.19/client-server-api/#post_matrixclientv3createroom>

use std::sync::Arc;

use axum::extract::State;
use hs_http::{ApiError, Args, Reply};
use hs_rooms::{
    RoomActions, Sender,
    create::{CreateRoom, CreateRoomError, InitialState, Preset, RawObject},
};
use http::StatusCode;
use ruma::{
    api::client::room::{
        Visibility,
        create_room::v3::{Request, Response, RoomPreset},
    },
    serde::Raw,
};
use serde::{Deserialize, de::DeserializeOwned};
use serde_json::value::RawValue;

use super::{
    auth::Session,
    limits::RoomLimits,
    rooms::{remote_user, write_error},
};

pub(super) async fn post(
    session: Session,
    State(actions): State<RoomActions>,
    State(limits): State<Arc<RoomLimits>>,
    Args(request): Args<Request>,
) -> Result<Reply<Response>, ApiError> {
    limits.joins.check(session.user)?;
    if !request.invite_3pid.is_empty() {
        return Err(third_party_invites_refused());
    }
    let created = actions.create_room(Sender::from(&session), parameters(request)?).await;
    Ok(Reply(Response::new(created.map_err(api_error)?)))
}

/// Inviting by e-mail address or telephone number needs an identity server, and there is none.
pub(super) fn third_party_invites_refused() -> ApiError {
    ApiError::new(
        StatusCode::FORBIDDEN,
        "M_THREEPID_DENIED",
        "This server does not invite by e-mail address or telephone number: invite a user id",
    )
}

fn parameters(request: Request) -> Result<CreateRoom, ApiError> {
    let is_published = match request.visibility {
        Visibility::Public => true,
        Visibility::Private => false,
        _ => return Err(ApiError::invalid_param("`visibility` must be `public` or `private`")),
    };
    let preset = match request.preset {
        Some(RoomPreset::PrivateChat) => Preset::Private,
        Some(RoomPreset::TrustedPrivateChat) => Preset::TrustedPrivate,
        Some(RoomPreset::PublicChat) => Preset::Public,
        Some(_) => {
            return Err(ApiError::invalid_param(
                "`preset` must be `private_chat`, `trusted_private_chat` or `public_chat`",
            ));
        }
        None if is_published => Preset::Public,
        None => Preset::Private,
    };
    let initial_state = request.initial_state.iter().map(initial_state).collect::<Result<_, _>>()?;
    Ok(CreateRoom {
        version: request.room_version,
        preset,
        is_published,
        alias_localpart: request.room_alias_name,
        name: request.name,
        topic: request.topic,
        invite: request.invite,
        is_direct: request.is_direct,
        creation_content: object("creation_content", request.creation_content.as_ref())?,
        initial_state,
        power_levels: object("power_level_content_override", request.power_level_content_override.as_ref())?,
    })
}

fn initial_state<T>(event: &Raw<T>) -> Result<InitialState, ApiError> {
    #[derive(Deserialize)]
    struct Event {
        #[serde(rename = "type")]
        event_type: String,
        #[serde(default)]
        state_key: String,
        content: Box<RawValue>,
    }
    let event: Event = read("initial_state", event)?;
    let content = Box::<str>::from(event.content).into_string();
    Ok(InitialState { event_type: event.event_type, state_key: event.state_key, content })
}

fn object<T>(key: &str, value: Option<&Raw<T>>) -> Result<RawObject, ApiError> {
    value.map_or_else(|| Ok(RawObject::new()), |value| read(key, value))
}

fn read<T, U: DeserializeOwned>(key: &str, value: &Raw<T>) -> Result<U, ApiError> {
    serde_json::from_str(value.json().get())
        .map_err(|error| ApiError::bad_json(format!("`{key}` is malformed: {error}")))
}

fn api_error(error: CreateRoomError) -> ApiError {
    let message = error.to_string();
    let bad_request =
        |errcode: &'static str| ApiError::new(StatusCode::BAD_REQUEST, errcode, message.clone());
    match error {
        CreateRoomError::UnsupportedVersion(_) => bad_request("M_UNSUPPORTED_ROOM_VERSION"),
        CreateRoomError::AliasTaken => bad_request("M_ROOM_IN_USE"),
        CreateRoomError::BadAlias(_) => bad_request("M_BAD_ALIAS"),
        CreateRoomError::InvalidState(_) => bad_request("M_INVALID_ROOM_STATE"),
        CreateRoomError::InvalidAlias(_) | CreateRoomError::TooManyEvents => ApiError::invalid_param(message),
        CreateRoomError::RemoteUser(_) => remote_user(message),
        CreateRoomError::Write(error) => write_error(error),
        CreateRoomError::Storage(error) => ApiError::internal(error),
    }
}
