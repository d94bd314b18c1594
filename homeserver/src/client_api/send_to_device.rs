//! `PUT /_matrix/client/v3/sendToDevice/{eventType}/{txnId}`
//!
//! <https://spec.matrix.org/v1.19/client-server-api/#put_matrixclientv3sendtodeviceeventtypetxnid>

use std::collections::BTreeMap;

use axum::extract::State;
use hs_e2ee::{E2ee, SendToDevice, SendToDeviceError};
use hs_http::{ApiError, JsonBody, JsonReply, PathArgs, RouteOptions};
use ruma::OwnedUserId;
use serde::Deserialize;
use serde_json::{Value, json, value::RawValue};

use super::{auth::Session, keys::own_device};

/// Messages to many devices at once. Contents are kept as they are.
pub(super) const OPTIONS: RouteOptions =
    RouteOptions { max_body_bytes: 4 * 1024 * 1024, allow_nul: true, requires_body: true };

#[derive(Debug, Deserialize)]
pub(super) struct Body {
    messages: BTreeMap<OwnedUserId, BTreeMap<String, Box<RawValue>>>,
}

pub(super) async fn put(
    session: Session,
    State(e2ee): State<E2ee>,
    PathArgs((event_type, txn_id)): PathArgs<(String, String)>,
    JsonBody(body): JsonBody<Body>,
) -> Result<JsonReply<Value>, ApiError> {
    let request = SendToDevice {
        device: own_device(&session),
        sender: &session.user_id,
        event_type: &event_type,
        txn_id: &txn_id,
        messages: &body.messages,
    };
    e2ee.send_to_device(request).await.map_err(api_error)?;
    Ok(JsonReply(json!({})))
}

fn api_error(error: SendToDeviceError) -> ApiError {
    let message = error.to_string();
    match error {
        SendToDeviceError::Malformed => ApiError::bad_json(message),
        SendToDeviceError::TooLarge => ApiError::too_large(message),
        SendToDeviceError::Storage(error) => ApiError::internal(error),
    }
}
