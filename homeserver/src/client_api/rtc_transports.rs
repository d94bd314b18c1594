//! `GET /_matrix/client/v1/rtc/transports`, and the unstable path that clients ask today.
//!
//! MSC4143: where calls of many can be held.

use std::sync::Arc;

use axum::extract::State;
use hs_http::JsonReply;
use serde_json::{Value, json};

use super::{CallFacts, auth::Session};

pub(super) const PATHS: [&str; 2] =
    ["/_matrix/client/v1/rtc/transports", "/_matrix/client/unstable/org.matrix.msc4143/rtc/transports"];

pub(super) async fn get(_: Session, State(calls): State<Arc<CallFacts>>) -> JsonReply<Value> {
    JsonReply(json!({ "rtc_transports": transports(&calls) }))
}

/// The transports as this API and the well-known file list them.
pub(super) fn transports(calls: &CallFacts) -> Vec<Value> {
    let urls = calls.rtc.livekit_service_urls.iter();
    urls.map(|url| json!({ "type": "livekit", "livekit_service_url": url })).collect()
}
