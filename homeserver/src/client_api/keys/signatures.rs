//! `POST /_matrix/client/v3/keys/signatures/upload`
//!
//! <https://spec.matrix.org/v1.19/client-server-api/#post_matrixclientv3keyssignaturesupload>

use std::collections::BTreeMap;

use axum::extract::State;
use hs_e2ee::E2ee;
use hs_http::{ApiError, JsonBody, JsonReply};
use ruma::OwnedUserId;
use serde_json::{Value, json, value::RawValue};

use crate::client_api::auth::Session;

pub(in crate::client_api) async fn post(
    session: Session,
    State(e2ee): State<E2ee>,
    JsonBody(signed): JsonBody<BTreeMap<OwnedUserId, BTreeMap<String, Box<RawValue>>>>,
) -> Result<JsonReply<Value>, ApiError> {
    let failures = e2ee.upload_signatures(session.user, &session.user_id, &signed).await;
    Ok(JsonReply(json!({ "failures": failures.map_err(ApiError::internal)? })))
}
