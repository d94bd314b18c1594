//! `/_matrix/client/v3/notifications`
//!
//! <https://spec.matrix.org/v1.19/client-server-api/#listing-notifications>

use std::collections::HashMap;

use axum::extract::State;
use hs_http::{ApiError, JsonReply, QueryArgs};
use hs_model::{
    ids::{EventNid, RoomNid},
    stream::{Position, StreamToken},
};
use hs_push::{Notification, Page, Push};
use hs_rooms::{
    Rooms,
    client_event::{Format, RoomId, Viewer},
};
use hs_storage::StorageError;
use serde::{Deserialize, Serialize};
use serde_json::{Value, value::RawValue};

use super::auth::Session;

const DEFAULT_LIMIT: usize = 20;
const MAX_LIMIT: usize = 100;

#[derive(Debug, Deserialize)]
pub(super) struct Query {
    from: Option<String>,
    limit: Option<usize>,
    only: Option<String>,
}

#[derive(Debug, Serialize)]
pub(super) struct Response {
    #[serde(skip_serializing_if = "Option::is_none")]
    next_token: Option<String>,
    notifications: Vec<Entry>,
}

#[derive(Debug, Serialize)]
struct Entry {
    actions: Vec<Value>,
    event: Box<RawValue>,
    read: bool,
    room_id: ruma::OwnedRoomId,
    ts: i64,
}

/// `GET /_matrix/client/v3/notifications`
pub(super) async fn get(
    session: Session,
    State(push): State<Push>,
    State(rooms): State<Rooms>,
    QueryArgs(query): QueryArgs<Query>,
) -> Result<JsonReply<Response>, ApiError> {
    let before = match query.from.as_deref() {
        None | Some("") => Position(i64::MAX),
        Some(from) => {
            let token: StreamToken =
                from.parse().map_err(|_| ApiError::invalid_param("`from` is not a token of this server"))?;
            token.0
        }
    };
    let limit = query.limit.unwrap_or(DEFAULT_LIMIT).clamp(1, MAX_LIMIT);
    let page = Page { before, limit, only_highlights: query.only.as_deref() == Some("highlight") };
    let (found, next) = push.notifications(session.user, page).await.map_err(ApiError::internal)?;
    let next_token = next.map(|position| StreamToken(position).to_string());
    let notifications = render(&session, &rooms, found).await.map_err(ApiError::internal)?;
    Ok(JsonReply(Response { next_token, notifications }))
}

async fn render(
    session: &Session,
    rooms: &Rooms,
    found: Vec<Notification>,
) -> Result<Vec<Entry>, StorageError> {
    let viewer = Viewer {
        user: session.user,
        user_id: &session.user_id,
        device: Some(session.device),
        format: Format::Client,
    };
    let mut by_room: HashMap<RoomNid, Vec<EventNid>> = HashMap::new();
    for notification in &found {
        by_room.entry(notification.room).or_default().push(notification.event);
    }
    let mut rendered: HashMap<EventNid, (Box<RawValue>, i64)> = HashMap::new();
    for (nid, events) in by_room {
        let Some(room) = rooms.find_by_nid(nid).await? else { continue };
        let events = rooms.store().list_events(&events).await?;
        let json = rooms.render(&room, &events, &viewer, RoomId::Omitted).await?;
        for (event, json) in events.iter().zip(json) {
            rendered.insert(event.nid, (json, event.origin_server_ts));
        }
    }
    let entries = found.into_iter().filter_map(|notification| {
        let (event, ts) = rendered.remove(&notification.event)?;
        let Notification { actions, is_read: read, room_id, .. } = notification;
        Some(Entry { actions, event, read, room_id, ts })
    });
    Ok(entries.collect())
}
