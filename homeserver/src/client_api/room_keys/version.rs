//! `/_matrix/client/v3/room_keys/version`
//!
//! <https://spec.matrix.org/v1.19/client-server-api/#post_matrixclientv3room_keysversion>

use axum::extract::State;
use hs_e2ee::E2ee;
use hs_http::{ApiError, JsonBody, JsonReply, PathArgs};
use hs_storage::key_backup::KeyBackupRow;
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value, json, value::RawValue};

use super::api_error;
use crate::client_api::auth::Session;

/// How the keys of a version are encrypted.
#[derive(Debug, Deserialize)]
pub(in crate::client_api) struct Body {
    algorithm: String,
    auth_data: Map<String, Value>,
    #[serde(default)]
    version: Option<String>,
}

/// A version as clients see it.
#[derive(Debug, Serialize)]
pub(in crate::client_api) struct Backup {
    algorithm: String,
    auth_data: Box<RawValue>,
    count: i64,
    etag: String,
    version: String,
}

/// `POST /_matrix/client/v3/room_keys/version`
pub(in crate::client_api) async fn post(
    session: Session,
    State(e2ee): State<E2ee>,
    JsonBody(body): JsonBody<Body>,
) -> Result<JsonReply<Value>, ApiError> {
    let auth_data = Value::Object(body.auth_data).to_string();
    let version = e2ee.create_backup(session.user, &body.algorithm, &auth_data).await.map_err(api_error)?;
    Ok(JsonReply(json!({ "version": version })))
}

/// `GET /_matrix/client/v3/room_keys/version`
pub(in crate::client_api) async fn get_latest(
    session: Session,
    State(e2ee): State<E2ee>,
) -> Result<JsonReply<Backup>, ApiError> {
    reply(e2ee.find_backup(session.user, None).await.map_err(api_error)?)
}

/// `GET /_matrix/client/v3/room_keys/version/{version}`
pub(in crate::client_api) async fn get(
    session: Session,
    State(e2ee): State<E2ee>,
    PathArgs(version): PathArgs<String>,
) -> Result<JsonReply<Backup>, ApiError> {
    reply(e2ee.find_backup(session.user, Some(&version)).await.map_err(api_error)?)
}

/// `PUT /_matrix/client/v3/room_keys/version/{version}`
pub(in crate::client_api) async fn put(
    session: Session,
    State(e2ee): State<E2ee>,
    PathArgs(version): PathArgs<String>,
    JsonBody(body): JsonBody<Body>,
) -> Result<JsonReply<Value>, ApiError> {
    if body.version.as_ref().is_some_and(|named| *named != version) {
        return Err(ApiError::invalid_param("version is another one than that of the path"));
    }
    let auth_data = Value::Object(body.auth_data).to_string();
    e2ee.update_backup(session.user, &version, &body.algorithm, &auth_data).await.map_err(api_error)?;
    Ok(JsonReply(json!({})))
}

/// `DELETE /_matrix/client/v3/room_keys/version/{version}`
pub(in crate::client_api) async fn delete(
    session: Session,
    State(e2ee): State<E2ee>,
    PathArgs(version): PathArgs<String>,
) -> Result<JsonReply<Value>, ApiError> {
    e2ee.delete_backup(session.user, &version).await.map_err(api_error)?;
    Ok(JsonReply(json!({})))
}

fn reply(row: KeyBackupRow) -> Result<JsonReply<Backup>, ApiError> {
    Ok(JsonReply(Backup {
        algorithm: row.algorithm,
        auth_data: RawValue::from_string(row.auth_data).map_err(ApiError::internal)?,
        count: row.key_count,
        etag: row.etag.to_string(),
        version: row.version.to_string(),
    }))
}
