//! `GET /_matrix/client/v3/capabilities`
//!
//! <https://spec.matrix.org/v1.19/client-server-api/#get_matrixclientv3capabilities>

use std::sync::Arc;

use axum::extract::State;
use hs_http::{Args, JsonReply};
use ruma::api::client::discovery::get_capabilities::v3::Request;
use serde_json::{Map, Value, json};

use super::{ServerFacts, auth::Session};
use crate::delayed_events::DelayedEvents;

/// Each of them is as stable as the others.
const ROOM_VERSIONS: [&str; 12] = ["1", "2", "3", "4", "5", "6", "7", "8", "9", "10", "11", "12"];

pub(super) async fn get(
    session: Session,
    State(facts): State<Arc<ServerFacts>>,
    State(delayed): State<DelayedEvents>,
    _: Args<Request>,
) -> JsonReply<Value> {
    let available: Map<String, Value> =
        ROOM_VERSIONS.iter().map(|version| ((*version).to_owned(), "stable".into())).collect();
    let mut capabilities = json!({
        "m.change_password": { "enabled": true },
        "m.room_versions": { "default": facts.default_room_version, "available": available },
        "m.profile_fields": { "enabled": true },
        "m.set_displayname": { "enabled": true },
        "m.set_avatar_url": { "enabled": true },
        "m.3pid_changes": { "enabled": false },
        "m.get_login_token": { "enabled": true },
        "m.forget_forced_upon_leave": { "enabled": false },
    });
    let limits = delayed.options();
    let limits = json!({
        "max_delay_ms": limits.max_delay_seconds.saturating_mul(1000),
        "max_scheduled": limits.max_per_user,
    });
    for name in ["m.delayed_events", "org.matrix.msc4140.delayed_events"] {
        capabilities[name] = limits.clone();
    }
    if session.is_admin {
        capabilities["m.account_moderation"] = json!({ "suspend": true, "lock": true });
    }
    JsonReply(json!({ "capabilities": capabilities }))
}
