//! `POST /_matrix/federation/v1/user/keys/query` and `claim`
//!
//! <https://spec.matrix.org/v1.19/server-server-api/#end-to-end-encryption>

use std::collections::BTreeMap;

use axum::extract::State;
use hs_e2ee::{E2ee, ports::WantedClaims};
use hs_http::{ApiError, JsonReply, RouteOptions};
use ruma::api::federation::keys::{claim_keys, get_keys};
use serde::Serialize;
use serde_json::{Value, json};

use crate::federation_api::FederationArgs;

/// Questions about everybody in a large room.
pub(in crate::federation_api) const OPTIONS: RouteOptions =
    RouteOptions { max_body_bytes: 4 * 1024 * 1024, allow_nul: false, requires_body: false };

#[derive(Debug, Serialize)]
pub(in crate::federation_api) struct Answer {
    device_keys: BTreeMap<String, BTreeMap<String, Value>>,
    master_keys: BTreeMap<String, Value>,
    self_signing_keys: BTreeMap<String, Value>,
}

/// `POST /_matrix/federation/v1/user/keys/query`
pub(in crate::federation_api) async fn query(
    State(e2ee): State<E2ee>,
    FederationArgs(_, request): FederationArgs<get_keys::v1::Request>,
) -> Result<JsonReply<Answer>, ApiError> {
    let found = e2ee.query_keys_for_server(&request.device_keys).await.map_err(ApiError::internal)?;
    Ok(JsonReply(Answer {
        device_keys: found.device_keys,
        master_keys: found.master_keys,
        self_signing_keys: found.self_signing_keys,
    }))
}

/// `POST /_matrix/federation/v1/user/keys/claim`
pub(in crate::federation_api) async fn claim(
    State(e2ee): State<E2ee>,
    FederationArgs(_, request): FederationArgs<claim_keys::v1::Request>,
) -> Result<JsonReply<Value>, ApiError> {
    let wanted: WantedClaims = request
        .one_time_keys
        .into_iter()
        .map(|(user_id, devices)| {
            let devices = devices.into_iter().map(|(id, algorithm)| (id, algorithm.to_string()));
            (user_id, devices.collect())
        })
        .collect();
    let claimed = e2ee.claim_own_keys(&wanted).await.map_err(ApiError::internal)?;
    Ok(JsonReply(json!({ "one_time_keys": claimed.one_time_keys })))
}
