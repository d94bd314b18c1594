//! Rooms that the user is invited to, or has asked to join: only what is needed to decide.

use std::sync::Arc;

use hs_model::ids::EventNid;
use hs_rooms::{Room, client_event::stripped};
use hs_storage::StorageError;
use serde::Serialize;
use serde_json::value::RawValue;

use super::{Batch, Context};
use crate::{feed::Stay, service::Inner};

/// The state that is shown to those outside.
///
/// <https://spec.matrix.org/v1.19/client-server-api/#stripped-state>
const SHOWN: [&str; 7] = [
    "m.room.create",
    "m.room.name",
    "m.room.avatar",
    "m.room.topic",
    "m.room.join_rules",
    "m.room.canonical_alias",
    "m.room.encryption",
];

/// A room that the user is invited to.
#[derive(Debug, Serialize)]
pub(super) struct InvitedRoom {
    pub(super) invite_state: Batch,
}

/// A room that the user has asked to join.
#[derive(Debug, Serialize)]
pub(super) struct KnockedRoom {
    pub(super) knock_state: Batch,
}

/// `None` for an invite from somebody whom the user ignores.
pub(super) async fn invited(
    context: &Context<'_>,
    room: &Arc<Room>,
    stay: &Stay,
) -> Result<Option<InvitedRoom>, StorageError> {
    if !context.ignored.is_empty() {
        let invite = context.inner.store.list_events(&[stay.event]).await?;
        if invite.iter().any(|invite| context.ignored.contains(&invite.sender)) {
            return Ok(None);
        }
    }
    Ok(Some(InvitedRoom { invite_state: Batch { events: shown_state(context.inner, room, stay).await? } }))
}

pub(super) async fn knocked(
    context: &Context<'_>,
    room: &Arc<Room>,
    stay: &Stay,
) -> Result<KnockedRoom, StorageError> {
    Ok(KnockedRoom { knock_state: Batch { events: shown_state(context.inner, room, stay).await? } })
}

pub(crate) async fn shown_state(
    inner: &Inner,
    room: &Room,
    stay: &Stay,
) -> Result<Vec<Box<RawValue>>, StorageError> {
    let mut reader = inner.store.reader().await?;
    let own = reader.list_events(&[stay.event]).await?;
    let nids: Vec<EventNid> = {
        let state = room.read();
        let shown = SHOWN.iter().filter_map(|event_type| state.state_event(event_type, ""));
        // Who sent the invite, by name and picture; for a knock that is the user.
        let inviter = own.first().and_then(|event| state.state_event("m.room.member", event.sender.as_str()));
        shown.chain(inviter.filter(|nid| *nid != stay.event)).collect()
    };
    let events = reader.list_events(&nids).await?;
    events.iter().chain(&own).map(|event| stripped(room, event)).collect()
}
