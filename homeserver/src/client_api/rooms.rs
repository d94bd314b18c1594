//! `/_matrix/client/v3/rooms/{roomId}/…`

mod aliases;
mod ban;
mod context;
mod event;
mod forget;
mod hierarchy;
mod initial_sync;
mod invite;
mod join;
mod joined_members;
mod kick;
mod later;
mod leave;
mod members;
mod messages;
mod read_markers;
pub(super) mod reading;
mod receipt;
mod redact;
mod relations;
mod send;
mod state;
mod thread_subscription;
mod threads;
mod timestamp_to_event;
mod typing;
mod unban;
mod upgrade;

use std::sync::Arc;

use axum::{Router, routing::get};
use hs_http::{ApiError, RouteOptions, RouterExt};
use hs_model::membership::Membership;
use hs_room_rules::{build::BuildError, client_content::ContentError};
use hs_rooms::{
    Room, Rooms, Sender, WriteError,
    actions::UnknownRoom,
    membership::MembershipError,
    ports::{RemoteError, RemoteFailure},
    send::SendError,
};
use http::StatusCode;
use ruma::{
    RoomId,
    api::client::{receipt::create_receipt, room::upgrade_room, typing::create_typing_event},
};

use super::{ClientState, auth::Session};

pub(super) use self::{event::find_visible, later::SendOptions};

/// What is said to those who are not in a room, and to those who ask for one that does not exist: the difference is
/// nobody's business who is outside.
pub(super) const NOT_IN_THE_ROOM: &str = "You are not in this room";

pub(super) fn routes() -> Router<ClientState> {
    let opaque = RouteOptions::OPAQUE_JSON;
    Router::new()
        .ruma_route(aliases::get)
        .ruma_route(ban::post)
        .ruma_route(forget::post)
        .ruma_route(invite::post)
        .ruma_route(join::post)
        .ruma_route(kick::post)
        .ruma_route(leave::post)
        .ruma_route(read_markers::post)
        .route_like::<create_receipt::v3::Request, _, _>(RouteOptions::default(), receipt::post)
        .ruma_route_with(opaque, redact::put)
        .ruma_route_with(opaque, send::put)
        .ruma_route(state::get_all)
        .ruma_route_at(state::PATHS, RouteOptions::default(), state::get)
        .ruma_route_at(state::PATHS, opaque, state::put)
        .route_like::<create_typing_event::v3::Request, _, _>(RouteOptions::default(), typing::put)
        .ruma_route(unban::post)
        .route_like::<upgrade_room::v3::Request, _, _>(RouteOptions::default(), upgrade::post)
        .merge(reading_routes())
}

/// What reads rooms, and what a user notes beside them.
fn reading_routes() -> Router<ClientState> {
    Router::new()
        .ruma_route(context::get)
        .ruma_route(event::get)
        .ruma_route(hierarchy::get)
        .route(initial_sync::PATHS[0], get(initial_sync::get))
        .route(initial_sync::PATHS[1], get(initial_sync::get))
        .ruma_route(joined_members::get)
        .ruma_route(members::get)
        .ruma_route(messages::get)
        .ruma_route(relations::get)
        .ruma_route(relations::get_of_type)
        .ruma_route(relations::get_of_event_type)
        .ruma_route(threads::get)
        .route(
            thread_subscription::PATH,
            get(thread_subscription::get).put(thread_subscription::put).delete(thread_subscription::delete),
        )
        .route(thread_subscription::LIST_PATH, get(thread_subscription::list))
        .ruma_route(timestamp_to_event::get)
}

impl From<&Session> for Sender {
    fn from(session: &Session) -> Self {
        Self { nid: session.user, user_id: session.user_id.clone() }
    }
}

/// A room that the user is in.
async fn joined_room(rooms: &Rooms, session: &Session, room_id: &RoomId) -> Result<Arc<Room>, ApiError> {
    let outside = || ApiError::forbidden(NOT_IN_THE_ROOM);
    let room = rooms.find(room_id).await.map_err(ApiError::internal)?.ok_or_else(outside)?;
    let membership = rooms.membership(&room, session.user).await.map_err(ApiError::internal)?;
    if membership == Some(Membership::Join) { Ok(room) } else { Err(outside()) }
}

/// Why an event was not written, for clients.
pub(super) fn write_error(error: WriteError) -> ApiError {
    let message = error.to_string();
    match error {
        WriteError::Forbidden(why) => ApiError::forbidden(why),
        WriteError::BadState(_) => ApiError::new(StatusCode::FORBIDDEN, "M_BAD_STATE", message),
        WriteError::Build(BuildError::Content(_)) | WriteError::Content(ContentError::Malformed(_)) => {
            ApiError::bad_json(message)
        }
        WriteError::Build(BuildError::TooLarge | BuildError::FieldTooLong(_)) => ApiError::too_large(message),
        WriteError::Build(BuildError::NulInField(_)) | WriteError::Content(ContentError::InvalidValue(_)) => {
            ApiError::invalid_param(message)
        }
        WriteError::DuplicateAnnotation => {
            ApiError::new(StatusCode::BAD_REQUEST, "M_DUPLICATE_ANNOTATION", message)
        }
        WriteError::NestedThread => ApiError::new(StatusCode::BAD_REQUEST, "M_UNKNOWN", message),
        WriteError::UnknownRedactionTarget => ApiError::not_found(message),
        WriteError::Policy(RemoteError::Refused { message, .. }) => {
            ApiError::new(StatusCode::BAD_REQUEST, "M_FORBIDDEN", message)
        }
        WriteError::Policy(RemoteError::Unreachable(_)) => ApiError::new(
            StatusCode::SERVICE_UNAVAILABLE,
            "M_UNKNOWN",
            "The room's policy server cannot be asked",
        ),
        WriteError::Busy => ApiError::limit_exceeded(std::time::Duration::from_secs(1)),
        WriteError::AliasTaken => ApiError::new(StatusCode::BAD_REQUEST, "M_ROOM_IN_USE", message),
        WriteError::Build(BuildError::Misuse(_)) | WriteError::Storage(_) => ApiError::internal(error),
    }
}

/// Why the server of an alias did not say where it leads: with the code that it gave, if it gave one.
pub(super) fn alias_server_error(error: &RemoteError) -> ApiError {
    let code = match error {
        RemoteError::Refused { errcode, .. } if errcode == "M_FORBIDDEN" => "M_FORBIDDEN",
        RemoteError::Refused { errcode, .. } if errcode == "M_LIMIT_EXCEEDED" => "M_LIMIT_EXCEEDED",
        RemoteError::Refused { .. } | RemoteError::Unreachable(_) => "M_UNKNOWN",
    };
    ApiError::new(StatusCode::BAD_GATEWAY, code, error.to_string())
}

/// Why an event was not sent, for clients.
pub(crate) fn send_error(error: SendError) -> ApiError {
    let message = error.to_string();
    match error {
        SendError::UnknownRoom(_) => ApiError::forbidden(NOT_IN_THE_ROOM),
        SendError::RedactsNothing => ApiError::bad_json(message),
        SendError::BadAlias(_) => ApiError::new(StatusCode::BAD_REQUEST, "M_BAD_ALIAS", message),
        SendError::RemoteUser(_) => remote_user(message),
        SendError::Remote(failure) => remote_failure(failure),
        SendError::InvitesBlocked(_) => invites_blocked(message),
        SendError::Write(error) => write_error(error),
        SendError::Storage(error) => ApiError::internal(error),
    }
}

/// Why a membership was not changed, for clients. `unknown` is what they learn of a room that is not there.
pub(super) fn membership_error(error: MembershipError, unknown: fn(UnknownRoom) -> ApiError) -> ApiError {
    let message = error.to_string();
    match error {
        MembershipError::UnknownRoom(room) => unknown(room),
        MembershipError::RemoteUser(_) => remote_user(message),
        MembershipError::Remote(failure) => remote_failure(failure),
        MembershipError::AliasServer(error) => alias_server_error(&error),
        MembershipError::InvitesBlocked(_) => invites_blocked(message),
        MembershipError::NotAllowed(why) | MembershipError::NobodyCanAuthorise(why) => {
            ApiError::forbidden(why)
        }
        MembershipError::Write(error) => write_error(error),
        MembershipError::Storage(error) => ApiError::internal(error),
    }
}

/// For what other servers do not do, or do not do rightly. What they refuse is told in their words; that a request was wrong is
/// not the client's fault.
fn remote_failure(failure: RemoteFailure) -> ApiError {
    let text = failure.to_string();
    let bad_gateway = || ApiError::new(StatusCode::BAD_GATEWAY, "M_UNKNOWN", text.clone());
    match failure {
        RemoteFailure::Refused { errcode, status, room_version, .. } => {
            let is_ours = matches!(&*errcode, "" | "M_MISSING_PARAM" | "M_INVALID_PARAM" | "M_UNAUTHORIZED");
            let status = StatusCode::from_u16(status).ok().filter(StatusCode::is_client_error);
            let Some(status) = status.filter(|_| !is_ours) else { return bad_gateway() };
            let error = ApiError::new(status, errcode, text);
            match room_version {
                Some(version) => error.with("room_version", version),
                None => error,
            }
        }
        RemoteFailure::Unreachable { .. } | RemoteFailure::Nonsense { .. } => bad_gateway(),
    }
}

/// For what other servers would have to take part in.
pub(super) fn remote_user(message: String) -> ApiError {
    ApiError::new(StatusCode::BAD_REQUEST, "M_UNKNOWN", message)
}

/// For invites to users who want none.
pub(super) fn invites_blocked(message: String) -> ApiError {
    ApiError::new(StatusCode::FORBIDDEN, "M_INVITE_BLOCKED", message)
}

/// For actions of those who are in the room already.
fn not_in_the_room(_: UnknownRoom) -> ApiError {
    ApiError::forbidden(NOT_IN_THE_ROOM)
}

/// For actions by which one comes into the room, or gets rid of it.
pub(super) fn no_such_room(room: UnknownRoom) -> ApiError {
    ApiError::not_found(room.to_string())
}
