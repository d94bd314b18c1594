//! Reports of events, rooms and users.
//!
//! <https://spec.matrix.org/v1.19/client-server-api/#reporting-content>

use std::sync::Arc;

use axum::{Router, extract::State};
use hs_http::{ApiError, JsonBody, JsonReply, PathArgs, RouteOptions, RouterExt};
use hs_model::clock::{Clock, SystemClock};
use hs_rooms::Rooms;
use hs_storage::{
    StorageError,
    moderation::{NewReport, ReportKind},
};
use ruma::{
    OwnedEventId, OwnedRoomId, OwnedUserId,
    api::client::{
        reporting::report_user,
        room::{report_content, report_room},
    },
};
use serde::Deserialize;
use serde_json::{Value, json};

use super::{ClientState, auth::Session, limits::RoomLimits, rooms::reading::viewer};

/// The longest reason.
const MAX_REASON_BYTES: usize = 10_000;

pub(super) fn routes() -> Router<ClientState> {
    let options = RouteOptions::default();
    Router::new()
        .route_like::<report_content::v3::Request, _, _>(options, post_event)
        .route_like::<report_room::v3::Request, _, _>(options, post_room)
        .route_like::<report_user::v3::Request, _, _>(options, post_user)
}

#[derive(Debug, Deserialize)]
struct Body {
    reason: Option<String>,
    score: Option<i32>,
}

impl Body {
    fn check(&self) -> Result<(), ApiError> {
        if self.reason.as_ref().is_some_and(|reason| reason.len() > MAX_REASON_BYTES) {
            return Err(ApiError::invalid_param("`reason` is too long"));
        }
        if self.score.is_some_and(|score| !(-100..=0).contains(&score)) {
            return Err(ApiError::invalid_param("`score` is a number from -100 to 0"));
        }
        Ok(())
    }

    fn required_reason(&self) -> Result<&str, ApiError> {
        self.check()?;
        self.reason.as_deref().ok_or_else(|| ApiError::missing_param("`reason` is missing"))
    }
}

/// `POST /_matrix/client/v3/rooms/{roomId}/report/{eventId}`
async fn post_event(
    session: Session,
    State(rooms): State<Rooms>,
    State(limits): State<Arc<RoomLimits>>,
    PathArgs((room_id, event_id)): PathArgs<(OwnedRoomId, OwnedEventId)>,
    JsonBody(body): JsonBody<Body>,
) -> Result<JsonReply<Value>, ApiError> {
    limits.writes.check(session.user)?;
    body.check()?;
    let found = async {
        let Some(room) = rooms.find(&room_id).await? else { return Ok(None) };
        if rooms.membership(&room, session.user).await? != Some(hs_model::membership::Membership::Join) {
            return Ok(None);
        }
        let event = rooms.store().reader().await?.find_event(&event_id).await?;
        let Some(event) = event.filter(|event| event.room == room.nid) else { return Ok(None) };
        let viewer = viewer(&session);
        Ok::<_, StorageError>(rooms.is_visible(&room, &event, &viewer).await?.then_some(event))
    };
    let unknown = || ApiError::not_found("The event was not found, or you are not in the room");
    let event = found.await.map_err(ApiError::internal)?.ok_or_else(unknown)?;
    let report = NewReport {
        kind: ReportKind::Event,
        reporter: session.user,
        room: Some(event.room),
        event: Some(event.nid),
        user: Some(event.sender_nid),
        reason: body.reason.as_deref().unwrap_or_default(),
        score: body.score,
        now_ms: SystemClock.now_ms(),
    };
    store(&rooms, &report).await
}

/// `POST /_matrix/client/v3/rooms/{roomId}/report`
async fn post_room(
    session: Session,
    State(rooms): State<Rooms>,
    State(limits): State<Arc<RoomLimits>>,
    PathArgs(room_id): PathArgs<OwnedRoomId>,
    JsonBody(body): JsonBody<Body>,
) -> Result<JsonReply<Value>, ApiError> {
    limits.writes.check(session.user)?;
    let reason = body.required_reason()?;
    let room = rooms.find(&room_id).await.map_err(ApiError::internal)?;
    let room = room.ok_or_else(|| ApiError::not_found("The room was not found"))?;
    let report = NewReport {
        kind: ReportKind::Room,
        reporter: session.user,
        room: Some(room.nid),
        event: None,
        user: None,
        reason,
        score: None,
        now_ms: SystemClock.now_ms(),
    };
    store(&rooms, &report).await
}

/// `POST /_matrix/client/v3/users/{userId}/report`
async fn post_user(
    session: Session,
    State(rooms): State<Rooms>,
    State(limits): State<Arc<RoomLimits>>,
    PathArgs(user_id): PathArgs<OwnedUserId>,
    JsonBody(body): JsonBody<Body>,
) -> Result<JsonReply<Value>, ApiError> {
    limits.writes.check(session.user)?;
    let reason = body.required_reason()?;
    let found = async {
        let Some(user) = rooms.store().find_user(&user_id).await? else { return Ok(None) };
        if rooms.is_local(&user_id) && rooms.store().reader().await?.find_account(user).await?.is_none() {
            return Ok(None);
        }
        Ok::<_, StorageError>(Some(user))
    };
    let user = found.await.map_err(ApiError::internal)?;
    let user = user.ok_or_else(|| ApiError::not_found("The user was not found"))?;
    let report = NewReport {
        kind: ReportKind::User,
        reporter: session.user,
        room: None,
        event: None,
        user: Some(user),
        reason,
        score: None,
        now_ms: SystemClock.now_ms(),
    };
    store(&rooms, &report).await
}

async fn store(rooms: &Rooms, report: &NewReport<'_>) -> Result<JsonReply<Value>, ApiError> {
    let stored = async {
        let mut txn = rooms.store().begin().await?;
        let id = txn.insert_report(report).await?;
        txn.commit().await?;
        Ok::<_, StorageError>(id)
    };
    let report_id = stored.await.map_err(ApiError::internal)?;
    tracing::info!(report_id, kind = ?report.kind, "something was reported: see `kith report list`");
    Ok(JsonReply(json!({})))
}
