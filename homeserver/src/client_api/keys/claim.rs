//! `POST /_matrix/client/v3/keys/claim`
//!
//! <https://spec.matrix.org/v1.19/client-server-api/#post_matrixclientv3keysclaim>

use std::collections::BTreeMap;

use axum::extract::State;
use hs_e2ee::{ClaimedKeys, E2ee};
use hs_http::{ApiError, JsonBody, JsonReply};
use ruma::{OwnedDeviceId, OwnedUserId};
use serde::Deserialize;

use super::patience;
use crate::client_api::auth::Session;

#[derive(Debug, Deserialize)]
pub(in crate::client_api) struct Body {
    one_time_keys: BTreeMap<OwnedUserId, BTreeMap<OwnedDeviceId, String>>,
    /// How long other servers may take, in milliseconds.
    #[serde(default)]
    timeout: Option<u64>,
}

pub(in crate::client_api) async fn post(
    _: Session,
    State(e2ee): State<E2ee>,
    JsonBody(body): JsonBody<Body>,
) -> Result<JsonReply<ClaimedKeys>, ApiError> {
    e2ee.claim_keys(&body.one_time_keys, patience(body.timeout))
        .await
        .map(JsonReply)
        .map_err(ApiError::internal)
}
