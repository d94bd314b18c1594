//! `/_matrix/client/v3/room_keys/keys`, of all rooms, one room, or one session.
//!
//! <https://spec.matrix.org/v1.19/client-server-api/#put_matrixclientv3room_keyskeys>

use std::collections::BTreeMap;

use axum::extract::State;
use hs_e2ee::{BackupState, E2ee};
use hs_http::{ApiError, JsonBody, JsonReply, PathArgs, QueryArgs};
use hs_storage::key_backup::{BackedUpKey, BackupScope};
use ruma::OwnedRoomId;
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value, json, value::RawValue};

use super::api_error;
use crate::client_api::auth::Session;

/// The largest integer of canonical JSON.
const MAX_INTEGER: u64 = (1 << 53) - 1;

#[derive(Debug, Deserialize)]
pub(in crate::client_api) struct Query {
    version: Option<String>,
}

impl Query {
    fn version(&self) -> Result<&str, ApiError> {
        self.version.as_deref().ok_or_else(|| ApiError::missing_param("version is missing"))
    }
}

/// A key, as clients send it.
#[derive(Debug, Deserialize)]
pub(in crate::client_api) struct NewKey {
    first_message_index: u64,
    forwarded_count: u64,
    is_verified: bool,
    session_data: Map<String, Value>,
}

/// The keys of a room.
#[derive(Debug, Deserialize)]
pub(in crate::client_api) struct NewRoomKeys {
    sessions: BTreeMap<String, NewKey>,
}

/// The keys of all rooms.
#[derive(Debug, Deserialize)]
pub(in crate::client_api) struct NewKeys {
    rooms: BTreeMap<OwnedRoomId, NewRoomKeys>,
}

/// A key, as clients get it.
#[derive(Debug, Serialize)]
pub(in crate::client_api) struct Key {
    first_message_index: i64,
    forwarded_count: i64,
    is_verified: bool,
    session_data: Box<RawValue>,
}

/// The keys of a room.
#[derive(Debug, Default, Serialize)]
pub(in crate::client_api) struct RoomKeys {
    sessions: BTreeMap<String, Key>,
}

/// The keys of all rooms.
#[derive(Debug, Serialize)]
pub(in crate::client_api) struct Keys {
    rooms: BTreeMap<String, RoomKeys>,
}

impl NewKey {
    fn into_row(self, room_id: &str, session_id: &str) -> Result<BackedUpKey, ApiError> {
        if self.first_message_index > MAX_INTEGER || self.forwarded_count > MAX_INTEGER {
            return Err(ApiError::bad_json("An index or a count is too large"));
        }
        Ok(BackedUpKey {
            room_id: room_id.to_owned(),
            session_id: session_id.to_owned(),
            first_message_index: self.first_message_index as i64,
            forwarded_count: self.forwarded_count as i64,
            is_verified: self.is_verified,
            session_data: Value::Object(self.session_data).to_string(),
        })
    }
}

impl NewRoomKeys {
    fn into_rows(self, room_id: &str) -> Result<Vec<BackedUpKey>, ApiError> {
        self.sessions.into_iter().map(|(session_id, key)| key.into_row(room_id, &session_id)).collect()
    }
}

/// `PUT /_matrix/client/v3/room_keys/keys`
pub(in crate::client_api) async fn put_all(
    session: Session,
    State(e2ee): State<E2ee>,
    QueryArgs(query): QueryArgs<Query>,
    JsonBody(body): JsonBody<NewKeys>,
) -> Result<JsonReply<Value>, ApiError> {
    let mut keys = Vec::new();
    for (room_id, room) in body.rooms {
        keys.extend(room.into_rows(room_id.as_str())?);
    }
    put(&session, &e2ee, &query, &keys).await
}

/// `PUT /_matrix/client/v3/room_keys/keys/{roomId}`
pub(in crate::client_api) async fn put_room(
    session: Session,
    State(e2ee): State<E2ee>,
    PathArgs(room_id): PathArgs<OwnedRoomId>,
    QueryArgs(query): QueryArgs<Query>,
    JsonBody(body): JsonBody<NewRoomKeys>,
) -> Result<JsonReply<Value>, ApiError> {
    put(&session, &e2ee, &query, &body.into_rows(room_id.as_str())?).await
}

/// `PUT /_matrix/client/v3/room_keys/keys/{roomId}/{sessionId}`
pub(in crate::client_api) async fn put_session(
    session: Session,
    State(e2ee): State<E2ee>,
    PathArgs((room_id, session_id)): PathArgs<(OwnedRoomId, String)>,
    QueryArgs(query): QueryArgs<Query>,
    JsonBody(body): JsonBody<NewKey>,
) -> Result<JsonReply<Value>, ApiError> {
    put(&session, &e2ee, &query, &[body.into_row(room_id.as_str(), &session_id)?]).await
}

/// `GET /_matrix/client/v3/room_keys/keys`
pub(in crate::client_api) async fn get_all(
    session: Session,
    State(e2ee): State<E2ee>,
    QueryArgs(query): QueryArgs<Query>,
) -> Result<JsonReply<Keys>, ApiError> {
    let mut rooms: BTreeMap<String, RoomKeys> = BTreeMap::new();
    for row in read(&session, &e2ee, &query, BackupScope::default()).await? {
        let room = rooms.entry(row.room_id.clone()).or_default();
        room.sessions.insert(row.session_id.clone(), key(row)?);
    }
    Ok(JsonReply(Keys { rooms }))
}

/// `GET /_matrix/client/v3/room_keys/keys/{roomId}`
pub(in crate::client_api) async fn get_room(
    session: Session,
    State(e2ee): State<E2ee>,
    PathArgs(room_id): PathArgs<OwnedRoomId>,
    QueryArgs(query): QueryArgs<Query>,
) -> Result<JsonReply<RoomKeys>, ApiError> {
    let scope = BackupScope { room_id: Some(room_id.as_str()), session_id: None };
    let mut room = RoomKeys::default();
    for row in read(&session, &e2ee, &query, scope).await? {
        room.sessions.insert(row.session_id.clone(), key(row)?);
    }
    Ok(JsonReply(room))
}

/// `GET /_matrix/client/v3/room_keys/keys/{roomId}/{sessionId}`
pub(in crate::client_api) async fn get_session(
    session: Session,
    State(e2ee): State<E2ee>,
    PathArgs((room_id, session_id)): PathArgs<(OwnedRoomId, String)>,
    QueryArgs(query): QueryArgs<Query>,
) -> Result<JsonReply<Key>, ApiError> {
    let scope = BackupScope { room_id: Some(room_id.as_str()), session_id: Some(&session_id) };
    let found = read(&session, &e2ee, &query, scope).await?.pop();
    Ok(JsonReply(key(found.ok_or_else(|| ApiError::not_found("There is no such key in the backup"))?)?))
}

/// `DELETE /_matrix/client/v3/room_keys/keys`
pub(in crate::client_api) async fn delete_all(
    session: Session,
    State(e2ee): State<E2ee>,
    QueryArgs(query): QueryArgs<Query>,
) -> Result<JsonReply<Value>, ApiError> {
    delete(&session, &e2ee, &query, BackupScope::default()).await
}

/// `DELETE /_matrix/client/v3/room_keys/keys/{roomId}`
pub(in crate::client_api) async fn delete_room(
    session: Session,
    State(e2ee): State<E2ee>,
    PathArgs(room_id): PathArgs<OwnedRoomId>,
    QueryArgs(query): QueryArgs<Query>,
) -> Result<JsonReply<Value>, ApiError> {
    let scope = BackupScope { room_id: Some(room_id.as_str()), session_id: None };
    delete(&session, &e2ee, &query, scope).await
}

/// `DELETE /_matrix/client/v3/room_keys/keys/{roomId}/{sessionId}`
pub(in crate::client_api) async fn delete_session(
    session: Session,
    State(e2ee): State<E2ee>,
    PathArgs((room_id, session_id)): PathArgs<(OwnedRoomId, String)>,
    QueryArgs(query): QueryArgs<Query>,
) -> Result<JsonReply<Value>, ApiError> {
    let scope = BackupScope { room_id: Some(room_id.as_str()), session_id: Some(&session_id) };
    delete(&session, &e2ee, &query, scope).await
}

async fn put(
    session: &Session,
    e2ee: &E2ee,
    query: &Query,
    keys: &[BackedUpKey],
) -> Result<JsonReply<Value>, ApiError> {
    let state = e2ee.put_backed_up_keys(session.user, query.version()?, keys).await;
    state.map(reply).map_err(api_error)
}

async fn read(
    session: &Session,
    e2ee: &E2ee,
    query: &Query,
    scope: BackupScope<'_>,
) -> Result<Vec<BackedUpKey>, ApiError> {
    e2ee.list_backed_up_keys(session.user, query.version()?, scope).await.map_err(api_error)
}

async fn delete(
    session: &Session,
    e2ee: &E2ee,
    query: &Query,
    scope: BackupScope<'_>,
) -> Result<JsonReply<Value>, ApiError> {
    let state = e2ee.delete_backed_up_keys(session.user, query.version()?, scope).await;
    state.map(reply).map_err(api_error)
}

fn reply(state: BackupState) -> JsonReply<Value> {
    JsonReply(json!({ "etag": state.etag, "count": state.count }))
}

fn key(row: BackedUpKey) -> Result<Key, ApiError> {
    Ok(Key {
        first_message_index: row.first_message_index,
        forwarded_count: row.forwarded_count,
        is_verified: row.is_verified,
        session_data: RawValue::from_string(row.session_data).map_err(ApiError::internal)?,
    })
}
