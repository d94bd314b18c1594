//! `POST /_matrix/client/v3/keys/query`
//!
//! <https://spec.matrix.org/v1.19/client-server-api/#post_matrixclientv3keysquery>

use std::collections::BTreeMap;

use axum::extract::State;
use hs_e2ee::{E2ee, KeyQuery};
use hs_http::{ApiError, JsonBody, JsonReply};
use ruma::{OwnedDeviceId, OwnedUserId};
use serde::Deserialize;

use super::patience;
use crate::client_api::auth::Session;

#[derive(Debug, Deserialize)]
pub(in crate::client_api) struct Body {
    device_keys: BTreeMap<OwnedUserId, Vec<OwnedDeviceId>>,
    /// How long other servers may take, in milliseconds.
    #[serde(default)]
    timeout: Option<u64>,
}

pub(in crate::client_api) async fn post(
    session: Session,
    State(e2ee): State<E2ee>,
    JsonBody(body): JsonBody<Body>,
) -> Result<JsonReply<KeyQuery>, ApiError> {
    let found =
        e2ee.query_keys(session.user, &session.user_id, &body.device_keys, patience(body.timeout)).await;
    found.map(JsonReply).map_err(ApiError::internal)
}
