//! `/_matrix/client/unstable/io.element.msc4306/rooms/{roomId}/thread/{eventId}/subscription`, and
//! `/_matrix/client/unstable/io.element.msc4308/thread_subscriptions`
//!
//! <https://github.com/matrix-org/matrix-spec-proposals/pull/4306>,
//! <https://github.com/matrix-org/matrix-spec-proposals/pull/4308>

use std::{collections::BTreeMap, sync::Arc};

use axum::extract::State;
use hs_http::{ApiError, JsonBody, JsonReply, PathArgs, QueryArgs};
use hs_model::stream::{Position, RoomStreamToken, StreamToken};
use hs_push::Push;
use hs_rooms::{Room, Rooms, thread_subscriptions::ThreadSubscriptionError};
use http::StatusCode;
use ruma::{OwnedEventId, OwnedRoomId, RoomId};
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};

use super::reading::viewer;
use crate::client_api::{auth::Session, limits::RoomLimits, pushrules};

/// The path of one subscription.
pub(super) const PATH: &str =
    "/_matrix/client/unstable/io.element.msc4306/rooms/{room_id}/thread/{event_id}/subscription";
/// The path of the list of them.
pub(super) const LIST_PATH: &str = "/_matrix/client/unstable/io.element.msc4308/thread_subscriptions";

/// How many subscriptions are listed at once, without a wish and at most.
const DEFAULT_LIMIT: u64 = 100;
const MAX_LIMIT: u64 = 1000;

type Thread = PathArgs<(OwnedRoomId, OwnedEventId)>;

#[derive(Debug, Deserialize)]
pub(super) struct Subscribe {
    /// The event that made the client subscribe by itself.
    automatic: Option<OwnedEventId>,
}

pub(super) async fn get(
    session: Session,
    State(rooms): State<Rooms>,
    PathArgs((room_id, root)): Thread,
) -> Result<JsonReply<Value>, ApiError> {
    let room = find_room(&rooms, &room_id).await?;
    let found = rooms.find_thread_subscription(&room, &viewer(&session), &root).await.map_err(api_error)?;
    let found = found.ok_or_else(|| ApiError::not_found("You are not subscribed to this thread"))?;
    Ok(JsonReply(json!({ "automatic": found.is_automatic })))
}

pub(super) async fn put(
    session: Session,
    State(rooms): State<Rooms>,
    State(push): State<Push>,
    State(limits): State<Arc<RoomLimits>>,
    PathArgs((room_id, root)): Thread,
    JsonBody(body): JsonBody<Subscribe>,
) -> Result<JsonReply<Value>, ApiError> {
    limits.writes.check(session.user)?;
    let room = find_room(&rooms, &room_id).await?;
    let cause = body.automatic.as_deref();
    rooms.subscribe_to_thread(&room, &viewer(&session), &root, cause).await.map_err(api_error)?;
    push.add_thread_rules(session.user, &session.user_id).await.map_err(pushrules::api_error)?;
    Ok(JsonReply(json!({})))
}

pub(super) async fn delete(
    session: Session,
    State(rooms): State<Rooms>,
    State(limits): State<Arc<RoomLimits>>,
    PathArgs((room_id, root)): Thread,
) -> Result<JsonReply<Value>, ApiError> {
    limits.writes.check(session.user)?;
    let room = find_room(&rooms, &room_id).await?;
    rooms.unsubscribe_from_thread(&room, &viewer(&session), &root).await.map_err(api_error)?;
    Ok(JsonReply(json!({})))
}

#[derive(Debug, Deserialize)]
pub(super) struct ListQuery {
    dir: Option<String>,
    from: Option<String>,
    to: Option<String>,
    limit: Option<u64>,
}

/// A page of the list.
#[derive(Debug, Default, Serialize)]
pub(super) struct Page {
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    subscribed: BTreeMap<OwnedRoomId, BTreeMap<OwnedEventId, Value>>,
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    unsubscribed: BTreeMap<OwnedRoomId, BTreeMap<OwnedEventId, Value>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    end: Option<String>,
}

pub(super) async fn list(
    session: Session,
    State(rooms): State<Rooms>,
    QueryArgs(query): QueryArgs<ListQuery>,
) -> Result<JsonReply<Page>, ApiError> {
    if query.dir.as_deref().is_some_and(|dir| dir != "b") {
        return Err(ApiError::invalid_param("dir: only `b` is supported"));
    }
    let from = position(query.from.as_deref(), "from")?.unwrap_or(Position(i64::MAX));
    let to = position(query.to.as_deref(), "to")?.unwrap_or(Position::START);
    let limit = query.limit.unwrap_or(DEFAULT_LIMIT).clamp(1, MAX_LIMIT) as usize;
    let mut reader = rooms.store().reader().await.map_err(ApiError::internal)?;
    // One more tells whether there are more.
    let rows = reader.list_thread_subscriptions(session.user, to, from, limit as i64 + 1).await;
    let mut rows = rows.map_err(ApiError::internal)?;
    let has_more = rows.len() > limit;
    rows.truncate(limit);
    let mut page = Page::default();
    if has_more && let Some(last) = rows.last() {
        page.end = Some(StreamToken(Position(last.subscription.position.0 - 1)).to_string());
    }
    for row in rows {
        let stamp = row.subscription.position.0;
        if row.subscription.is_subscribed {
            let value = json!({ "automatic": row.subscription.is_automatic, "bump_stamp": stamp });
            page.subscribed.entry(row.room_id).or_default().insert(row.root, value);
        } else {
            let value = json!({ "bump_stamp": stamp });
            page.unsubscribed.entry(row.room_id).or_default().insert(row.root, value);
        }
    }
    Ok(JsonReply(page))
}

/// The position that a token stands for: one of ours, or a `pos` of sliding sync.
fn position(token: Option<&str>, name: &str) -> Result<Option<Position>, ApiError> {
    let token = token.map(str::parse::<RoomStreamToken>).transpose();
    match token.map_err(|error| ApiError::invalid_param(format!("{name}: {error}")))? {
        Some(RoomStreamToken::Stream(position)) => Ok(Some(position)),
        Some(RoomStreamToken::Topological { .. }) => {
            Err(ApiError::invalid_param(format!("{name}: this token is for messages")))
        }
        None => Ok(None),
    }
}

async fn find_room(rooms: &Rooms, room_id: &RoomId) -> Result<Arc<Room>, ApiError> {
    let room = rooms.find(room_id).await.map_err(ApiError::internal)?;
    room.ok_or_else(|| api_error(ThreadSubscriptionError::UnknownThread))
}

fn api_error(error: ThreadSubscriptionError) -> ApiError {
    let message = error.to_string();
    match error {
        ThreadSubscriptionError::UnknownThread => ApiError::not_found(message),
        ThreadSubscriptionError::NotInThread => {
            ApiError::new(StatusCode::BAD_REQUEST, "IO.ELEMENT.MSC4306.M_NOT_IN_THREAD", message)
        }
        ThreadSubscriptionError::EndedSince => {
            ApiError::new(StatusCode::CONFLICT, "IO.ELEMENT.MSC4306.M_CONFLICTING_UNSUBSCRIPTION", message)
        }
        ThreadSubscriptionError::Storage(error) => ApiError::internal(error),
    }
}
