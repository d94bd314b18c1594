//! What guests may do.
//!
//! <https://spec.matrix.org/v1.19/client-server-api/#guest-access>

use axum::extract::MatchedPath;
use hs_accounts::Session;
use hs_http::ApiError;
use hs_rooms::{RoomActions, actions::FindRoomError};
use http::{Method, StatusCode, request::Parts};
use ruma::RoomOrAliasId;
use serde::Deserialize;

/// The endpoints that are open to guests, without the version, and with `{}` for each parameter. Those of delayed events
/// are, so that guests can take part in calls.
const OPEN: [(Method, &str); 48] = [
    (Method::GET, "rooms/{}/state"),
    (Method::GET, "rooms/{}/state/{}"),
    (Method::GET, "rooms/{}/state/{}/"),
    (Method::GET, "rooms/{}/state/{}/{}"),
    (Method::GET, "rooms/{}/context/{}"),
    (Method::GET, "rooms/{}/event/{}"),
    (Method::GET, "rooms/{}/messages"),
    (Method::GET, "rooms/{}/members"),
    (Method::GET, "rooms/{}/initialSync"),
    (Method::GET, "sync"),
    (Method::GET, "events"),
    (Method::GET, "media/download/{}/{}"),
    (Method::GET, "media/download/{}/{}/{}"),
    (Method::GET, "media/thumbnail/{}/{}"),
    (Method::POST, "rooms/{}/join"),
    (Method::POST, "join/{}"),
    (Method::POST, "rooms/{}/leave"),
    (Method::PUT, "rooms/{}/send/{}/{}"),
    (Method::PUT, "rooms/{}/state/{}"),
    (Method::PUT, "rooms/{}/state/{}/"),
    (Method::PUT, "rooms/{}/state/{}/{}"),
    (Method::PUT, "sendToDevice/{}/{}"),
    (Method::PUT, "profile/{}/{}"),
    (Method::DELETE, "profile/{}/{}"),
    (Method::PUT, "profile/{}/displayname"),
    (Method::DELETE, "profile/{}/displayname"),
    (Method::GET, "devices"),
    (Method::GET, "devices/{}"),
    (Method::PUT, "devices/{}"),
    (Method::GET, "account/whoami"),
    (Method::POST, "keys/upload"),
    (Method::POST, "keys/upload/{}"),
    (Method::POST, "keys/query"),
    (Method::POST, "keys/claim"),
    (Method::PUT, "rooms/{}/delayed_event/{}/{}"),
    (Method::PUT, "org.matrix.msc4140/rooms/{}/delayed_event/{}/{}"),
    (Method::GET, "delayed_events"),
    (Method::GET, "delayed_events/{}"),
    (Method::POST, "delayed_events/{}/{}"),
    (Method::GET, "org.matrix.msc4140/delayed_events"),
    (Method::GET, "org.matrix.msc4140/delayed_events/{}"),
    (Method::POST, "org.matrix.msc4140/delayed_events/{}"),
    (Method::POST, "org.matrix.msc4140/delayed_events/{}/{}"),
    (Method::GET, "rtc/transports"),
    (Method::GET, "voip/turnServer"),
    // The same without a token was open to everybody; what guests may read has pictures.
    (Method::GET, "media/download/{}/{}"),
    (Method::GET, "media/download/{}/{}/{}"),
    (Method::GET, "media/thumbnail/{}/{}"),
];

/// Lets guests through where they may go.
pub(super) fn check(session: &Session, parts: &Parts) -> Result<(), ApiError> {
    if !session.is_guest || is_open(parts) { Ok(()) } else { Err(forbidden()) }
}

fn is_open(parts: &Parts) -> bool {
    let Some(path) = parts.extensions.get::<MatchedPath>() else { return false };
    let after_version = path.as_str().strip_prefix("/_matrix/client/").and_then(|rest| rest.split_once('/'));
    let Some((_, endpoint)) = after_version else { return false };
    let endpoint: Vec<_> =
        endpoint.split('/').map(|part| if part.starts_with('{') { "{}" } else { part }).collect();
    let endpoint = endpoint.join("/");
    OPEN.iter().any(|(method, open)| *method == parts.method && *open == endpoint)
}

/// What guests are told.
pub(super) fn forbidden() -> ApiError {
    ApiError::new(StatusCode::FORBIDDEN, "M_GUEST_ACCESS_FORBIDDEN", "Guests may not do this")
}

/// Refuses guests who want to join a room that does not let them in.
pub(super) async fn check_join(
    session: &Session,
    actions: &RoomActions,
    room: &RoomOrAliasId,
) -> Result<(), ApiError> {
    if !session.is_guest {
        return Ok(());
    }
    let room = match actions.find_room(room).await {
        Ok(room) => room,
        Err(FindRoomError::Unknown(room)) => return Err(super::rooms::no_such_room(room)),
        Err(FindRoomError::Storage(error)) => return Err(ApiError::internal(error)),
    };
    let nid = room.read().state_event("m.room.guest_access", "");
    let events = actions.rooms().store().list_events(nid.as_slice()).await.map_err(ApiError::internal)?;
    if events.first().is_some_and(|event| event.redacted_by.is_none() && lets_guests_in(&event.json)) {
        Ok(())
    } else {
        Err(forbidden())
    }
}

/// The same for guests who write the event of their membership themselves.
pub(super) async fn check_member_event(
    session: &Session,
    actions: &RoomActions,
    (room, content): (&RoomOrAliasId, &str),
) -> Result<(), ApiError> {
    #[derive(Deserialize)]
    struct Content {
        membership: String,
    }
    if !session.is_guest {
        return Ok(());
    }
    match serde_json::from_str::<Content>(content) {
        Ok(content) if content.membership == "join" => check_join(session, actions, room).await,
        _ => Ok(()),
    }
}

/// Whether an `m.room.guest_access` event says that guests may join.
pub(crate) fn lets_guests_in(json: &str) -> bool {
    #[derive(Deserialize)]
    struct Event {
        content: Content,
    }
    #[derive(Deserialize)]
    struct Content {
        guest_access: String,
    }
    serde_json::from_str::<Event>(json).is_ok_and(|event| event.content.guest_access == "can_join")
}
