//! `/_matrix/client/unstable/org.matrix.msc3814.v1/dehydrated_device`
//!
//! <https://github.com/matrix-org/matrix-spec-proposals/pull/3814>

use axum::{
    Extension, Router,
    extract::State,
    routing::{get, post},
};
use hs_e2ee::{DehydratedDeviceError, DehydratedEvents, E2ee, KeysUpload, NewDehydratedDevice};
use hs_http::{ApiError, JsonBody, JsonReply, PathArgs, QueryArgs, RouteOptions};
use hs_model::stream::StreamToken;
use ruma::OwnedDeviceId;
use serde::Deserialize;
use serde_json::{Map, Value, json, value::RawValue};

use super::{ClientState, auth::Session, keys};

const PATH: &str = "/_matrix/client/unstable/org.matrix.msc3814.v1/dehydrated_device";
const EVENTS_PATH: &str =
    "/_matrix/client/unstable/org.matrix.msc3814.v1/dehydrated_device/{device_id}/events";

#[derive(Debug, Deserialize)]
pub(super) struct PutBody {
    device_id: OwnedDeviceId,
    device_data: Map<String, Value>,
    #[serde(default)]
    initial_device_display_name: Option<String>,
    #[serde(default)]
    device_keys: Option<Box<RawValue>>,
    #[serde(default)]
    one_time_keys: Option<std::collections::BTreeMap<String, Box<RawValue>>>,
    #[serde(default)]
    fallback_keys: Option<std::collections::BTreeMap<String, Box<RawValue>>>,
}

#[derive(Debug, Deserialize)]
pub(super) struct EventsQuery {
    from: Option<String>,
}

#[derive(Debug, Deserialize)]
pub(super) struct EventsBody {
    #[serde(default)]
    next_batch: Option<String>,
}

/// All routes of dehydrated devices.
pub(super) fn routes() -> Router<ClientState> {
    let options = RouteOptions { max_body_bytes: 4 * 1024 * 1024, ..RouteOptions::default() };
    Router::new()
        .route(PATH, get(find).put(put).delete(delete).layer(Extension(options)))
        .route(EVENTS_PATH, get(get_events).merge(post(post_events)).layer(Extension(options)))
}

/// `PUT …/dehydrated_device`
async fn put(
    session: Session,
    State(e2ee): State<E2ee>,
    JsonBody(body): JsonBody<PutBody>,
) -> Result<JsonReply<Value>, ApiError> {
    if !body.device_data.get("algorithm").is_some_and(Value::is_string) {
        return Err(ApiError::bad_json("device_data names no algorithm"));
    }
    let device_data = Value::Object(body.device_data).to_string();
    let new = NewDehydratedDevice {
        device_id: &body.device_id,
        display_name: body.initial_device_display_name.as_deref(),
        device_data: &device_data,
        keys: KeysUpload {
            device_keys: body.device_keys,
            one_time_keys: body.one_time_keys,
            fallback_keys: body.fallback_keys,
        },
    };
    e2ee.put_dehydrated_device(session.user, &session.user_id, &new).await.map_err(api_error)?;
    Ok(JsonReply(json!({ "device_id": body.device_id })))
}

/// `GET …/dehydrated_device`
async fn find(session: Session, State(e2ee): State<E2ee>) -> Result<JsonReply<Value>, ApiError> {
    let device = e2ee.find_dehydrated_device(session.user).await.map_err(api_error)?;
    let data: Value = serde_json::from_str(&device.device_data).map_err(ApiError::internal)?;
    Ok(JsonReply(json!({ "device_id": device.device_id, "device_data": data })))
}

/// `DELETE …/dehydrated_device`
async fn delete(session: Session, State(e2ee): State<E2ee>) -> Result<JsonReply<Value>, ApiError> {
    let device_id = e2ee.delete_dehydrated_device(session.user).await.map_err(api_error)?;
    Ok(JsonReply(json!({ "device_id": device_id })))
}

/// `GET …/dehydrated_device/{device_id}/events`: the last batch has no token.
async fn get_events(
    session: Session,
    State(e2ee): State<E2ee>,
    PathArgs(device_id): PathArgs<OwnedDeviceId>,
    QueryArgs(query): QueryArgs<EventsQuery>,
) -> Result<JsonReply<Value>, ApiError> {
    let found = events(&session, &e2ee, &device_id, query.from).await?;
    let mut reply = json!({ "events": found.events });
    if found.has_more {
        reply["next_batch"] = found.next.to_string().into();
    }
    Ok(JsonReply(reply))
}

/// `POST …/dehydrated_device/{device_id}/events`, as clients of an earlier draft ask: always with a token, until there are no
/// events.
async fn post_events(
    session: Session,
    State(e2ee): State<E2ee>,
    PathArgs(device_id): PathArgs<OwnedDeviceId>,
    JsonBody(body): JsonBody<EventsBody>,
) -> Result<JsonReply<Value>, ApiError> {
    let found = events(&session, &e2ee, &device_id, body.next_batch).await?;
    Ok(JsonReply(json!({ "events": found.events, "next_batch": found.next.to_string() })))
}

async fn events(
    session: &Session,
    e2ee: &E2ee,
    device_id: &OwnedDeviceId,
    from: Option<String>,
) -> Result<DehydratedEvents, ApiError> {
    let from = from
        .map(|token| token.parse::<StreamToken>())
        .transpose()
        .map_err(|error| ApiError::invalid_param(format!("The token: {error}")))?;
    e2ee.dehydrated_device_events(session.user, device_id, from).await.map_err(api_error)
}

fn api_error(error: DehydratedDeviceError) -> ApiError {
    let message = error.to_string();
    match error {
        DehydratedDeviceError::Malformed(_) => ApiError::invalid_param(message),
        DehydratedDeviceError::NotFound => ApiError::not_found(message),
        DehydratedDeviceError::IdInUse | DehydratedDeviceError::AnotherDevice => ApiError::forbidden(message),
        DehydratedDeviceError::Keys(error) => keys::upload_error(error),
        DehydratedDeviceError::Storage(error) => ApiError::internal(error),
    }
}
