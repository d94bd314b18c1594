//! `GET /.well-known/matrix/client`
//!
//! <https://spec.matrix.org/v1.19/client-server-api/#getwell-knownmatrixclient>

use std::sync::Arc;

use axum::extract::State;
use hs_http::JsonReply;
use serde_json::{Value, json};

use super::ServerFacts;

pub(super) async fn get(State(facts): State<Arc<ServerFacts>>) -> JsonReply<Value> {
    JsonReply(json!({ "m.homeserver": { "base_url": facts.public_base_url } }))
}
