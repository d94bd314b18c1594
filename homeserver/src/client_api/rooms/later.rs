//! What the endpoints that send events take beside what the specification has: when, and for how long.

use std::ops::RangeInclusive;

use hs_http::{ApiError, JsonReply};
use hs_rooms::Intent;
use hs_storage::sticky_events::MAX_STICKY_MS;
use ruma::RoomId;
use serde::Deserialize;
use serde_json::Value;

use crate::{
    client_api::{
        auth::Session,
        delayed_events::{Form, schedule},
        limits::RoomLimits,
    },
    delayed_events::{DelayedEvents, Draft},
};

/// When an event is sent, and for how long it is sticky.
///
/// <https://github.com/matrix-org/matrix-spec-proposals/pull/4140>,
/// <https://github.com/matrix-org/matrix-spec-proposals/pull/4354>
#[derive(Clone, Copy, Debug, Default, Deserialize)]
pub(in crate::client_api) struct SendOptions {
    #[serde(rename = "org.matrix.msc4140.delay")]
    delay_ms: Option<u64>,
    #[serde(rename = "org.matrix.msc4354.sticky_duration_ms")]
    sticky_ms: Option<i64>,
}

impl SendOptions {
    /// For how long the event is sticky, when that is possible.
    pub(in crate::client_api) fn sticky_ms(self) -> Result<Option<i64>, ApiError> {
        const VALID: RangeInclusive<i64> = 0..=MAX_STICKY_MS;
        match self.sticky_ms {
            Some(duration) if !VALID.contains(&duration) => {
                Err(ApiError::invalid_param("An event can be sticky for 0 to 3600000 ms"))
            }
            duration => Ok(duration),
        }
    }

    /// Schedules the event, unless it is to be sent at once.
    pub(super) async fn schedule(
        self,
        session: &Session,
        services: (&DelayedEvents, &RoomLimits),
        room_id: &RoomId,
        (intent, txn_id): (&Intent, Option<String>),
    ) -> Result<Option<JsonReply<Value>>, ApiError> {
        let Some(delay_ms) = self.delay_ms else { return Ok(None) };
        let draft = Draft { intent: intent.clone(), delay_ms, txn_id };
        schedule(session, services, room_id, draft, Form::Parameter).await.map(Some)
    }
}
