//! `/_synapse/admin/v1/event_reports`: what people have reported, for administrators. The paths and the shapes are Synapse's,
//! since that is what existing tools speak. Reports of rooms and users are shown by `kith report list`.

use axum::extract::State;
use hs_http::{ApiError, JsonReply, PathArgs, QueryArgs};
use hs_rooms::{Rooms, client_event::visible_json};
use hs_storage::moderation::{Report, ReportKind, ReportQuery};
use ruma::{OwnedRoomId, OwnedUserId};
use serde::Deserialize;
use serde_json::{Value, json};

use crate::client_api::auth::Session;

const DEFAULT_LIMIT: i64 = 100;
const MAX_LIMIT: i64 = 1_000;

#[derive(Debug, Deserialize)]
pub(in crate::client_api) struct Query {
    from: Option<u32>,
    limit: Option<u32>,
    dir: Option<String>,
    user_id: Option<OwnedUserId>,
    room_id: Option<OwnedRoomId>,
}

/// `GET /_synapse/admin/v1/event_reports`
pub(in crate::client_api) async fn list(
    session: Session,
    State(rooms): State<Rooms>,
    QueryArgs(query): QueryArgs<Query>,
) -> Result<JsonReply<Value>, ApiError> {
    session.must_be_admin()?;
    let oldest_first = match query.dir.as_deref() {
        None | Some("b") => false,
        Some("f") => true,
        Some(_) => return Err(ApiError::invalid_param("`dir` must be `f` or `b`")),
    };
    let store = rooms.store();
    let nothing = || JsonReply(json!({ "event_reports": [], "total": 0 }));
    let mut wanted = ReportQuery {
        kind: Some(ReportKind::Event),
        oldest_first,
        skip: query.from.unwrap_or_default().into(),
        limit: query.limit.map_or(DEFAULT_LIMIT, i64::from).min(MAX_LIMIT),
        ..ReportQuery::default()
    };
    if let Some(user_id) = &query.user_id {
        match store.find_user(user_id).await.map_err(ApiError::internal)? {
            Some(user) => wanted.reporter = Some(user),
            None => return Ok(nothing()),
        }
    }
    let mut reader = store.reader().await.map_err(ApiError::internal)?;
    if let Some(room_id) = &query.room_id {
        match reader.find_room(room_id).await.map_err(ApiError::internal)? {
            Some(room) => wanted.room = Some(room.nid),
            None => return Ok(nothing()),
        }
    }
    let (reports, total) = reader.list_reports(wanted).await.map_err(ApiError::internal)?;
    let next = wanted.skip + reports.len() as i64;
    let reports: Vec<Value> = reports.iter().map(body).collect();
    let mut answer = json!({ "event_reports": reports, "total": total });
    if next < total {
        answer["next_token"] = next.into();
    }
    Ok(JsonReply(answer))
}

/// `GET /_synapse/admin/v1/event_reports/{id}`
pub(in crate::client_api) async fn get(
    session: Session,
    State(rooms): State<Rooms>,
    PathArgs(id): PathArgs<i64>,
) -> Result<JsonReply<Value>, ApiError> {
    session.must_be_admin()?;
    let wanted =
        ReportQuery { kind: Some(ReportKind::Event), id: Some(id), limit: 1, ..ReportQuery::default() };
    let mut reader = rooms.store().reader().await.map_err(ApiError::internal)?;
    let (mut reports, _) = reader.list_reports(wanted).await.map_err(ApiError::internal)?;
    let report = reports.pop().ok_or_else(no_such_report)?;
    let events = reader.list_events(report.event.as_slice()).await.map_err(ApiError::internal)?;
    drop(reader);
    let mut answer = body(&report);
    if let Some(event) = events.first()
        && let Some(room) = rooms.find_by_nid(event.room).await.map_err(ApiError::internal)?
    {
        // Old room versions have numbers that no program reads.
        answer["event_json"] = serde_json::from_str(&visible_json(&room, event)).unwrap_or_default();
    }
    Ok(JsonReply(answer))
}

/// `DELETE /_synapse/admin/v1/event_reports/{id}`
pub(in crate::client_api) async fn delete(
    session: Session,
    State(rooms): State<Rooms>,
    PathArgs(id): PathArgs<i64>,
) -> Result<JsonReply<Value>, ApiError> {
    session.must_be_admin()?;
    let mut txn = rooms.store().begin().await.map_err(ApiError::internal)?;
    let was_there = txn.delete_report(id).await.map_err(ApiError::internal)?;
    txn.commit().await.map_err(ApiError::internal)?;
    if was_there { Ok(JsonReply(json!({}))) } else { Err(no_such_report()) }
}

fn body(report: &Report) -> Value {
    json!({
        "id": report.id,
        "received_ts": report.created_at,
        "room_id": report.room_id,
        "event_id": report.event_id,
        "user_id": report.reporter,
        "sender": report.user_id,
        "reason": report.reason,
        "score": report.score,
    })
}

fn no_such_report() -> ApiError {
    ApiError::not_found("There is no such report")
}
