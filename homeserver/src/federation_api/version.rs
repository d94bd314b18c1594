//! `GET /_matrix/federation/v1/version`
//!
//! <https://spec.matrix.org/v1.19/server-server-api/#get_matrixfederationv1version>

use hs_http::JsonReply;
use serde_json::{Value, json};

pub(super) async fn get() -> JsonReply<Value> {
    JsonReply(json!({ "server": { "name": "Kith", "version": env!("CARGO_PKG_VERSION") } }))
}
