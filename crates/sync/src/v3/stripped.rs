//! Rooms that the user is invited to, or has asked to join: only what is needed to decide.

use std::sync::Arc;

use hs_rooms::{Room, client_event::stripped};
use hs_storage::StorageError;
use ruma::UserId;
use serde::Serialize;
use serde_json::value::RawValue;

use super::{Batch, Context};
use crate::{feed::Stay, service::Inner};

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
    let own = inner.store.list_events(&[stay.event]).await?;
    let user = match own.first().and_then(|event| event.state_key.as_deref()).map(UserId::parse) {
        Some(Ok(user_id)) => inner.store.find_user(&user_id).await?,
        _ => None,
    };
    // Of a room that this server is not in it knows what came with the invite.
    let kept = match user {
        Some(user) => inner.rooms.find_stripped_state(room, user).await?,
        None => None,
    };
    if let Some(kept) = kept {
        let mut events: Vec<Box<RawValue>> = serde_json::from_str(&kept.state).unwrap_or_default();
        for event in &own {
            events.push(stripped(room, event)?);
        }
        return Ok(events);
    }
    // Who sent the invite, by name and picture; for a knock that is the user.
    let inviter = own.first().map(|event| event.sender.clone());
    let mut events = inner.rooms.list_shown_state(room, inviter.as_deref()).await?;
    events.retain(|event| event.nid != stay.event);
    events.iter().chain(&own).map(|event| stripped(room, event)).collect()
}
