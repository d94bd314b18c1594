//! `/_matrix/client/v3/rooms/{roomId}/state`
//!
//! <https://spec.matrix.org/v1.19/client-server-api/#getting-events-for-a-room>

use std::sync::Arc;

use axum::extract::State;
use hs_http::{ApiError, Args, JsonReply, QueryArgs, Reply};
use hs_model::membership::Membership;
use hs_rooms::{
    Intent, RoomActions, Sender,
    client_event::{RoomId, visible_content},
};
use ruma::{
    api::client::state::{
        get_state_event_for_key::{self, v3::StateEventFormat},
        get_state_events, send_state_event,
    },
    events::StateEventType,
};
use serde_json::{Value, json};

use super::{
    NOT_IN_THE_ROOM,
    later::SendOptions,
    reading::{find_room, raw, viewer, wait_whole},
    send_error,
};
use crate::{
    client_api::{auth::Session, guests::check_member_event, limits::RoomLimits},
    delayed_events::DelayedEvents,
};

/// An empty state key may be left off, with the slash before it or without.
pub(super) const PATHS: [&str; 6] = [
    "/_matrix/client/r0/rooms/{room_id}/state/{event_type}",
    "/_matrix/client/r0/rooms/{room_id}/state/{event_type}/",
    "/_matrix/client/r0/rooms/{room_id}/state/{event_type}/{state_key}",
    "/_matrix/client/v3/rooms/{room_id}/state/{event_type}",
    "/_matrix/client/v3/rooms/{room_id}/state/{event_type}/",
    "/_matrix/client/v3/rooms/{room_id}/state/{event_type}/{state_key}",
];

/// `PUT /_matrix/client/v3/rooms/{roomId}/state/{eventType}/{stateKey}`
pub(super) async fn put(
    session: Session,
    State(actions): State<RoomActions>,
    State(limits): State<Arc<RoomLimits>>,
    State(delayed): State<DelayedEvents>,
    QueryArgs(options): QueryArgs<SendOptions>,
    Args(request): Args<send_state_event::v3::Request>,
) -> Result<JsonReply<Value>, ApiError> {
    session.must_not_be_suspended()?;
    let content = Box::<str>::from(request.body.into_json());
    if request.event_type == StateEventType::RoomMember {
        check_member_event(&session, &actions, ((&*request.room_id).into(), &content)).await?;
    }
    let intent = Intent {
        sticky_ms: options.sticky_ms()?,
        ..Intent::state(request.event_type.to_string(), request.state_key, content)
    };
    let services = (&delayed, &*limits);
    if let Some(reply) = options.schedule(&session, services, &request.room_id, (&intent, None)).await? {
        return Ok(reply);
    }
    limits.messages.check(session.user)?;
    let sent = actions.send_state(&request.room_id, Sender::from(&session), intent, None).await;
    Ok(JsonReply(json!({ "event_id": sent.map_err(send_error)? })))
}

/// `GET /_matrix/client/v3/rooms/{roomId}/state/{eventType}/{stateKey}`
pub(super) async fn get(
    session: Session,
    State(actions): State<RoomActions>,
    Args(request): Args<get_state_event_for_key::v3::Request>,
) -> Result<Reply<get_state_event_for_key::v3::Response>, ApiError> {
    if !matches!(request.format, StateEventFormat::Content | StateEventFormat::Event) {
        return Err(ApiError::invalid_param("`format` must be `content` or `event`"));
    }
    let room = find_room(actions.rooms(), &request.room_id).await?;
    let event_type = request.event_type.to_string();
    let slot = (&*event_type, &*request.state_key);
    let seen = actions.rooms().find_seen_state_event(&room, &viewer(&session), slot).await;
    let event = seen
        .map_err(ApiError::internal)?
        .ok_or_else(|| ApiError::forbidden(NOT_IN_THE_ROOM))?
        .ok_or_else(|| ApiError::not_found("There is no such state"))?;
    let json = if request.format == StateEventFormat::Event {
        let rendered = actions.rooms().render(&room, &[event], &viewer(&session), RoomId::Included).await;
        rendered
            .map_err(ApiError::internal)?
            .pop()
            .ok_or_else(|| ApiError::not_found("There is no such state"))?
    } else {
        visible_content(&room, &event)
    };
    Ok(Reply(get_state_event_for_key::v3::Response::new(json)))
}

/// `GET /_matrix/client/v3/rooms/{roomId}/state`
pub(super) async fn get_all(
    session: Session,
    State(actions): State<RoomActions>,
    Args(request): Args<get_state_events::v3::Request>,
) -> Result<Reply<get_state_events::v3::Response>, ApiError> {
    let room = find_room(actions.rooms(), &request.room_id).await?;
    if actions.rooms().membership(&room, session.user).await.map_err(ApiError::internal)?
        == Some(Membership::Join)
    {
        wait_whole(actions.rooms(), &room).await;
    }
    let seen = actions.rooms().list_seen_state(&room, &viewer(&session)).await.map_err(ApiError::internal)?;
    let events = seen.ok_or_else(|| ApiError::forbidden(NOT_IN_THE_ROOM))?;
    let rendered = actions.rooms().render_state(&room, &events, &viewer(&session), RoomId::Included).await;
    Ok(Reply(get_state_events::v3::Response::new(raw(rendered.map_err(ApiError::internal)?))))
}
