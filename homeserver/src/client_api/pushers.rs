//! `/_matrix/client/v3/pushers`
//!
//! <https://spec.matrix.org/v1.19/client-server-api/#get_matrixclientv3pushers>

use axum::extract::State;
use hs_http::{ApiError, JsonBody, JsonReply};
use hs_push::{Push, SetPusherError};
use hs_storage::pushers::{NewPusher, PusherRow};
use http::StatusCode;
use serde::Deserialize;
use serde_json::{Map, Value, json};

use super::auth::Session;

/// A pusher as clients set it. What is required depends on the kind, which is null for one that is to go.
#[derive(Debug, Deserialize)]
pub(super) struct Request {
    pushkey: String,
    app_id: String,
    // With a function of its own, `null` and a missing key are told apart.
    #[serde(deserialize_with = "Option::deserialize")]
    kind: Option<String>,
    app_display_name: Option<String>,
    device_display_name: Option<String>,
    profile_tag: Option<String>,
    lang: Option<String>,
    data: Option<Map<String, Value>>,
    append: Option<bool>,
}

/// `GET /_matrix/client/v3/pushers`
pub(super) async fn get(session: Session, State(push): State<Push>) -> Result<JsonReply<Value>, ApiError> {
    let pushers = push.list_pushers(session.user).await.map_err(ApiError::internal)?;
    Ok(JsonReply(json!({ "pushers": pushers.iter().map(to_json).collect::<Vec<_>>() })))
}

/// `POST /_matrix/client/v3/pushers/set`
pub(super) async fn post_set(
    session: Session,
    State(push): State<Push>,
    JsonBody(request): JsonBody<Request>,
) -> Result<JsonReply<Value>, ApiError> {
    let Some(kind) = request.kind else {
        push.delete_pusher(session.user, &request.app_id, &request.pushkey)
            .await
            .map_err(ApiError::internal)?;
        return Ok(JsonReply(json!({})));
    };
    let missing = |key: &'static str| move || ApiError::missing_param(format!("{key} is missing"));
    let pusher = NewPusher {
        app_id: request.app_id,
        pushkey: request.pushkey,
        kind,
        app_display_name: request.app_display_name.ok_or_else(missing("app_display_name"))?,
        device_display_name: request.device_display_name.ok_or_else(missing("device_display_name"))?,
        profile_tag: request.profile_tag,
        lang: request.lang.ok_or_else(missing("lang"))?,
        data: Value::Object(request.data.ok_or_else(missing("data"))?).to_string(),
    };
    push.set_pusher(
        (session.user, &session.user_id),
        session.device,
        &pusher,
        request.append.unwrap_or_default(),
    )
    .await
    .map_err(api_error)?;
    Ok(JsonReply(json!({})))
}

fn to_json(row: &PusherRow) -> Value {
    let pusher = &row.pusher;
    let mut json = json!({
        "pushkey": pusher.pushkey,
        "kind": pusher.kind,
        "app_id": pusher.app_id,
        "app_display_name": pusher.app_display_name,
        "device_display_name": pusher.device_display_name,
        "lang": pusher.lang,
        "data": serde_json::from_str::<Value>(&pusher.data).unwrap_or_else(|_| json!({})),
    });
    if let Some(tag) = &pusher.profile_tag {
        json["profile_tag"] = Value::from(tag.as_str());
    }
    json
}

fn api_error(error: SetPusherError) -> ApiError {
    let message = error.to_string();
    match error {
        SetPusherError::UnknownKind | SetPusherError::Invalid(_) => ApiError::invalid_param(message),
        SetPusherError::Missing(_) => ApiError::missing_param(message),
        SetPusherError::ForeignAddress => {
            ApiError::new(StatusCode::BAD_REQUEST, "M_THREEPID_NOT_FOUND", message)
        }
        SetPusherError::TooMany => ApiError::forbidden(message),
        SetPusherError::Storage(error) => ApiError::internal(error),
    }
}
