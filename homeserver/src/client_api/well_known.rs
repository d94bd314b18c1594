//! `/.well-known/matrix`
//!
//! <https://spec.matrix.org/v1.19/client-server-api/#well-known-uris>

use std::sync::Arc;

use axum::extract::State;
use hs_http::{ApiError, JsonReply};
use serde_json::{Value, json};

use super::{CallFacts, ServerFacts, rtc_transports};
use crate::config::WellKnown;

/// `GET /.well-known/matrix/client`
pub(super) async fn get(
    State(facts): State<Arc<ServerFacts>>,
    State(calls): State<Arc<CallFacts>>,
) -> JsonReply<Value> {
    let mut answer = json!({ "m.homeserver": { "base_url": facts.public_base_url } });
    let transports = rtc_transports::transports(&calls);
    if !transports.is_empty() {
        // Where older clients look for them.
        answer["org.matrix.msc4143.rtc_foci"] = Value::Array(transports);
    }
    JsonReply(answer)
}

/// `GET /.well-known/matrix/server`
///
/// <https://spec.matrix.org/v1.19/server-server-api/#getwell-knownmatrixserver>
pub(super) async fn get_server(State(facts): State<Arc<ServerFacts>>) -> Result<JsonReply<Value>, ApiError> {
    let server = &facts.well_known.server;
    if server.is_empty() {
        return Err(ApiError::not_found("This server delegates to no other host"));
    }
    Ok(JsonReply(json!({ "m.server": server })))
}

/// `GET /.well-known/matrix/support`
///
/// <https://spec.matrix.org/v1.19/client-server-api/#getwell-knownmatrixsupport>
pub(super) async fn get_support(State(facts): State<Arc<ServerFacts>>) -> Result<JsonReply<Value>, ApiError> {
    let WellKnown { support_page, support_contacts, .. } = &facts.well_known;
    let mut answer = serde_json::Map::new();
    if !support_contacts.is_empty() {
        answer.insert("contacts".to_owned(), json!(support_contacts));
    }
    if !support_page.is_empty() {
        answer.insert("support_page".to_owned(), json!(support_page));
    }
    if answer.is_empty() {
        return Err(ApiError::not_found("This server names nobody to write to"));
    }
    Ok(JsonReply(Value::Object(answer)))
}

/// `GET /.well-known/matrix/policy_server`
///
/// <https://spec.matrix.org/v1.19/client-server-api/#getwell-knownmatrixpolicy_server>
pub(super) async fn get_policy_server(
    State(facts): State<Arc<ServerFacts>>,
) -> Result<JsonReply<Value>, ApiError> {
    let key = &facts.well_known.policy_server_key;
    if key.is_empty() {
        return Err(ApiError::not_found("There is no policy server of this name"));
    }
    Ok(JsonReply(json!({ "public_keys": { "ed25519": key } })))
}
