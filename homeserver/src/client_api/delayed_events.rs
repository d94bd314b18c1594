//! Delayed events: `/_matrix/client/v1/delayed_events`, `/_matrix/client/v3/rooms/{roomId}/delayed_event/…`, and the
//! unstable forms that clients speak today.
//!
//! <https://github.com/matrix-org/matrix-spec-proposals/pull/4140>

use std::sync::Arc;

use axum::{
    Extension, Router,
    extract::State,
    routing::{get, post, put},
};
use hs_http::{ApiError, JsonBody, JsonReply, PathArgs, QueryArgs, RouteOptions};
use hs_rooms::{Intent, Sender};
use hs_storage::delayed_events::DelayedEvent;
use http::StatusCode;
use ruma::{OwnedRoomId, RoomId};
use serde::Deserialize;
use serde_json::{Map, Value, json, value::RawValue};

use super::{
    ClientState,
    auth::{OptionalSession, Session},
    limits::RoomLimits,
    rooms::{SendOptions, send_error},
};
use crate::delayed_events::{ActError, Action, DelayedEvents, Draft, ScheduleError};

/// How many finalised events are listed.
const MAX_FINALISED: i64 = 100;
/// What clients that speak the unstable form look for.
const UNSTABLE_ERRCODE: &str = "org.matrix.msc4140.errcode";

pub(super) fn routes() -> Router<ClientState> {
    const UNSTABLE: &str = "/_matrix/client/unstable/org.matrix.msc4140";
    let mut router = Router::new()
        // The form of clients that say in the body what to do.
        .route(&format!("{UNSTABLE}/delayed_events/{{delay_id}}"), post(post_named))
        .route(&format!("{UNSTABLE}/delayed_events/{{delay_id}}/{{action}}"), post(post_with_id))
        .route(&format!("{UNSTABLE}/delayed_events"), get(list_all))
        .route("/_matrix/client/v1/delayed_events/{delay_id}/{action}", post(post_action))
        .route("/_matrix/client/v1/delayed_events", get(list));
    for prefix in ["/_matrix/client/v1", UNSTABLE] {
        router = router.route(&format!("{prefix}/delayed_events/{{delay_id}}"), get(get_one));
    }
    for prefix in ["/_matrix/client/v3", UNSTABLE] {
        let path = format!("{prefix}/rooms/{{room_id}}/delayed_event/{{event_type}}/{{txn_id}}");
        router = router.route(&path, put(put_draft).layer(Extension(RouteOptions::OPAQUE_JSON)));
    }
    router
}

/// A form of scheduling, and of what is said when it fails.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Form {
    /// An endpoint of its own.
    Endpoint,
    /// A parameter of those that send at once.
    Parameter,
}

#[derive(Debug, Deserialize)]
pub(super) struct Body {
    delay_ms: u64,
    state_key: Option<String>,
    content: Box<RawValue>,
}

async fn put_draft(
    session: Session,
    State(delayed): State<DelayedEvents>,
    State(limits): State<Arc<RoomLimits>>,
    QueryArgs(options): QueryArgs<SendOptions>,
    PathArgs((room_id, event_type, txn_id)): PathArgs<(OwnedRoomId, String, String)>,
    JsonBody(body): JsonBody<Body>,
) -> Result<JsonReply<Value>, ApiError> {
    if body.state_key.as_ref().is_some_and(|key| key.contains('\0')) {
        return Err(ApiError::invalid_param("`state_key` holds the character U+0000"));
    }
    let intent = Intent {
        state_key: body.state_key,
        sticky_ms: options.sticky_ms()?,
        ..Intent::message(event_type, Box::<str>::from(body.content))
    };
    let draft = Draft { intent, delay_ms: body.delay_ms, txn_id: Some(txn_id) };
    schedule(&session, (&delayed, &limits), &room_id, draft, Form::Endpoint).await
}

/// Schedules an event for whoever asks.
pub(super) async fn schedule(
    session: &Session,
    (delayed, limits): (&DelayedEvents, &RoomLimits),
    room_id: &RoomId,
    draft: Draft,
    form: Form,
) -> Result<JsonReply<Value>, ApiError> {
    session.must_not_be_suspended()?;
    limits.writes.check(session.user)?;
    let scheduled = delayed.schedule(room_id, &Sender::from(session), session.device, draft).await;
    let delay_id = scheduled.map_err(|error| schedule_error(error, form))?;
    Ok(JsonReply(json!({ "delay_id": delay_id })))
}

#[derive(Debug, Deserialize)]
struct Named {
    action: String,
}

async fn post_named(
    session: OptionalSession,
    State(delayed): State<DelayedEvents>,
    State(limits): State<Arc<RoomLimits>>,
    PathArgs(delay_id): PathArgs<String>,
    JsonBody(body): JsonBody<Named>,
) -> Result<JsonReply<Value>, ApiError> {
    let action = action(&body.action).ok_or_else(|| ApiError::invalid_param("There is no such `action`"))?;
    act(session.0.as_ref(), (&delayed, &limits), &delay_id, action).await
}

/// Without an access token too: the unstable form lets services act that were given the id, which keep track of who is
/// in a call.
async fn post_with_id(
    session: OptionalSession,
    State(delayed): State<DelayedEvents>,
    State(limits): State<Arc<RoomLimits>>,
    PathArgs((delay_id, name)): PathArgs<(String, String)>,
) -> Result<JsonReply<Value>, ApiError> {
    let action = action(&name).ok_or_else(ApiError::unrecognized)?;
    act(session.0.as_ref(), (&delayed, &limits), &delay_id, action).await
}

async fn post_action(
    session: Session,
    State(delayed): State<DelayedEvents>,
    State(limits): State<Arc<RoomLimits>>,
    PathArgs((delay_id, name)): PathArgs<(String, String)>,
) -> Result<JsonReply<Value>, ApiError> {
    let action = action(&name).ok_or_else(ApiError::unrecognized)?;
    act(Some(&session), (&delayed, &limits), &delay_id, action).await
}

fn action(name: &str) -> Option<Action> {
    Some(match name {
        "send" => Action::Send,
        "cancel" => Action::Cancel,
        "restart" => Action::Restart,
        _ => return None,
    })
}

async fn act(
    session: Option<&Session>,
    (delayed, limits): (&DelayedEvents, &RoomLimits),
    delay_id: &str,
    action: Action,
) -> Result<JsonReply<Value>, ApiError> {
    let owner = delayed.find_owner(delay_id).await.map_err(ApiError::internal)?;
    let owner = owner.filter(|owner| session.is_none_or(|session| session.user == *owner));
    let owner = owner.ok_or_else(|| act_error(ActError::NotFound))?;
    limits.writes.check(owner)?;
    delayed.act(delay_id, action).await.map_err(act_error)?;
    Ok(JsonReply(json!({})))
}

async fn get_one(
    session: Session,
    State(delayed): State<DelayedEvents>,
    PathArgs(delay_id): PathArgs<String>,
) -> Result<JsonReply<Value>, ApiError> {
    let event = delayed.find(session.user, &delay_id).await.map_err(ApiError::internal)?;
    let event = event.ok_or_else(|| act_error(ActError::NotFound))?;
    Ok(JsonReply(Value::Object(described(&event)?)))
}

async fn list(session: Session, State(delayed): State<DelayedEvents>) -> Result<JsonReply<Value>, ApiError> {
    let events = delayed.list_scheduled(session.user).await.map_err(ApiError::internal)?;
    let events = events.iter().map(described).collect::<Result<Vec<_>, _>>()?;
    Ok(JsonReply(json!({ "delayed_events": events })))
}

#[derive(Debug, Deserialize)]
struct ListQuery {
    status: Option<String>,
    delay_id: Option<String>,
}

/// As [`list`], with the names of older forms, and with what has ended.
async fn list_all(
    session: Session,
    State(delayed): State<DelayedEvents>,
    QueryArgs(query): QueryArgs<ListQuery>,
) -> Result<JsonReply<Value>, ApiError> {
    let (scheduled, finalised) = match query.status.as_deref() {
        None => (true, true),
        Some("scheduled") => (true, false),
        Some("finalised") => (false, true),
        Some(_) => return Err(ApiError::invalid_param("`status` is `scheduled` or `finalised`")),
    };
    let is_wanted = |event: &&DelayedEvent| query.delay_id.as_ref().is_none_or(|id| *id == event.delay_id);
    let mut body = Map::new();
    if scheduled {
        let events = delayed.list_scheduled(session.user).await.map_err(ApiError::internal)?;
        let events = events.iter().filter(is_wanted).map(described_twice).collect::<Result<Value, _>>()?;
        body.insert("delayed_events".to_owned(), events.clone());
        body.insert("scheduled".to_owned(), events);
    }
    if finalised {
        let events = delayed.list_finalised(session.user, MAX_FINALISED).await.map_err(ApiError::internal)?;
        let events = events.iter().filter(is_wanted).map(ended).collect::<Result<Value, _>>()?;
        body.insert("finalised".to_owned(), events);
    }
    Ok(JsonReply(Value::Object(body)))
}

/// A delayed event as its sender is told of it.
fn described(event: &DelayedEvent) -> Result<Map<String, Value>, ApiError> {
    let content: Value = serde_json::from_str(&event.content).map_err(ApiError::internal)?;
    let mut object = Map::new();
    let mut put = |key: &str, value: Value| object.insert(key.to_owned(), value);
    put("delay_id", event.delay_id.as_str().into());
    put("room_id", event.room_id.as_str().into());
    put("type", event.event_type.as_str().into());
    put("delay_ms", event.delay_ms.into());
    put("scheduled_at", event.scheduled_at.into());
    put("content", content);
    if let Some(key) = &event.state_key {
        put("state_key", key.as_str().into());
    }
    if let Some(at) = event.finalised_at {
        put("finalised_ts", at.into());
    }
    if let Some(event_id) = &event.event_id {
        put("event_id", event_id.as_str().into());
    }
    if let Some(error) = &event.error {
        put("error", serde_json::from_str(error).map_err(ApiError::internal)?);
    }
    Ok(object)
}

/// With the names that earlier forms have for the times.
fn described_twice(event: &DelayedEvent) -> Result<Value, ApiError> {
    let mut object = described(event)?;
    object.insert("delay".to_owned(), event.delay_ms.into());
    object.insert("running_since".to_owned(), event.scheduled_at.into());
    Ok(Value::Object(object))
}

/// What has become of an event, as the unstable form tells it.
fn ended(event: &DelayedEvent) -> Result<Value, ApiError> {
    let finalised_at = event.finalised_at.unwrap_or_default();
    let outcome = if event.event_id.is_some() { "send" } else { "cancel" };
    let reason = if event.error.is_some() {
        "error"
    } else if event.event_id.is_some() && finalised_at >= event.scheduled_at.saturating_add(event.delay_ms) {
        "delay"
    } else {
        "action"
    };
    let mut object = described(event)?;
    object.insert("delayed_event".to_owned(), described_twice(event)?);
    object.insert("outcome".to_owned(), outcome.into());
    object.insert("reason".to_owned(), reason.into());
    object.insert("origin_server_ts".to_owned(), finalised_at.into());
    Ok(Value::Object(object))
}

fn schedule_error(error: ScheduleError, form: Form) -> ApiError {
    let message = error.to_string();
    match (error, form) {
        (ScheduleError::TooLate(longest), Form::Parameter) => {
            ApiError::new(StatusCode::BAD_REQUEST, "M_UNKNOWN", message)
                .with(UNSTABLE_ERRCODE, "M_MAX_DELAY_EXCEEDED")
                .with("org.matrix.msc4140.max_delay", longest.as_millis() as u64)
        }
        (ScheduleError::TooLate(_) | ScheduleError::SwitchedOff, _) => ApiError::forbidden(message),
        (ScheduleError::NoDelay, _) => ApiError::invalid_param(message),
        (ScheduleError::TooMany { retry_after }, _) => {
            let mut error = ApiError::limit_exceeded(retry_after);
            error.message = message;
            error.with(UNSTABLE_ERRCODE, "M_MAX_DELAYED_EVENTS_EXCEEDED")
        }
        (ScheduleError::Send(error), _) => send_error(error),
        (ScheduleError::Storage(error), _) => ApiError::internal(error),
    }
}

fn act_error(error: ActError) -> ApiError {
    let message = error.to_string();
    match error {
        ActError::NotFound => ApiError::not_found(message),
        ActError::Ended { .. } => ApiError::new(StatusCode::CONFLICT, "M_UNKNOWN", message),
        ActError::Refused(error) => error,
        ActError::Storage(error) => ApiError::internal(error),
    }
}
