//! `GET /.well-known/matrix/client`
//!
//! <https://spec.matrix.org/v1.19/client-server-api/#getwell-knownmatrixclient>

use std::sync::Arc;

use axum::extract::State;
use hs_http::JsonReply;
use serde_json::{Value, json};

use super::{CallFacts, ServerFacts, rtc_transports};

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
