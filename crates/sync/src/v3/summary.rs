//! The summary of a room: how many are in it, and whom to name it after.

use std::sync::Arc;

use hs_model::{
    ids::{EventNid, UserNid},
    membership::Membership,
};
use hs_rooms::{Room, room::Member};
use hs_storage::StorageError;
use ruma::OwnedUserId;
use serde::Serialize;

use super::{Context, state::Extent, timeline::Timeline};
use crate::service::Inner;

/// How many members a room is named after.
const MAX_HEROES: usize = 5;

/// As it is sent.
#[derive(Debug, Serialize)]
pub(super) struct Summary {
    #[serde(rename = "m.heroes", skip_serializing_if = "Option::is_none")]
    heroes: Option<Vec<String>>,
    #[serde(rename = "m.joined_member_count")]
    joined_member_count: usize,
    #[serde(rename = "m.invited_member_count")]
    invited_member_count: usize,
}

/// The summary, and the heroes whose member events a lazily loading client needs.
#[derive(Debug)]
pub(super) struct Found {
    pub(super) summary: Summary,
    pub(super) heroes: Vec<OwnedUserId>,
}

/// The summary, when it may have changed.
pub(super) async fn section(
    context: &Context<'_>,
    room: &Arc<Room>,
    timeline: &Timeline,
    extent: Extent,
) -> Result<Option<Found>, StorageError> {
    let concerns_summary =
        |event_type: &str| matches!(event_type, "m.room.member" | "m.room.name" | "m.room.canonical_alias");
    let may_have_changed = extent == Extent::Full
        || timeline.is_limited
        || context.has_become_whole(room)
        || timeline
            .events
            .iter()
            .chain(&timeline.withheld_state)
            .any(|event| concerns_summary(&event.event_type));
    if !may_have_changed {
        return Ok(None);
    }
    let heroes = if has_name(context, room).await? {
        None
    } else {
        Some(heroes(context.inner, context.request.user, room).await?)
    };
    let state = room.read();
    let summary = Summary {
        heroes: heroes.as_ref().map(|heroes| heroes.iter().map(ToString::to_string).collect()),
        joined_member_count: state.joined_count(),
        invited_member_count: state.invited_count(),
    };
    Ok(Some(Found { summary, heroes: heroes.unwrap_or_default() }))
}

/// Whether the room has a name or canonical alias that is not empty.
async fn has_name(context: &Context<'_>, room: &Room) -> Result<bool, StorageError> {
    #[derive(serde::Deserialize)]
    struct Content {
        name: Option<String>,
        alias: Option<String>,
    }
    let nids: Vec<EventNid> = {
        let state = room.read();
        ["m.room.name", "m.room.canonical_alias"]
            .iter()
            .filter_map(|kind| state.state_event(kind, ""))
            .collect()
    };
    if nids.is_empty() {
        return Ok(false);
    }
    let events = context.inner.store.reader().await?.list_events(&nids).await?;
    for event in events {
        let content = hs_rooms::client_event::visible_content(room, &event);
        if let Ok(content) = serde_json::from_str::<Content>(content.get())
            && content.name.or(content.alias).is_some_and(|name| !name.is_empty())
        {
            return Ok(true);
        }
    }
    Ok(false)
}

/// The first members who are joined or invited, or else who have been; never the user themself.
pub(crate) async fn heroes(
    inner: &Inner,
    viewer: UserNid,
    room: &Room,
) -> Result<Vec<OwnedUserId>, StorageError> {
    let chosen: Vec<UserNid> = {
        let state = room.read();
        let is_present = |member: Member| matches!(member.membership, Membership::Join | Membership::Invite);
        let wants_present = state.joined_count() + state.invited_count() > 1;
        let mut chosen: Vec<(EventNid, UserNid)> = state
            .members()
            .filter(|(user, member)| *user != viewer && is_present(*member) == wants_present)
            .map(|(user, member)| (member.event, user))
            .collect();
        if chosen.len() > MAX_HEROES {
            chosen.select_nth_unstable(MAX_HEROES);
            chosen.truncate(MAX_HEROES);
        }
        chosen.sort_unstable();
        chosen.into_iter().map(|(_, user)| user).collect()
    };
    let ids = inner.store.user_ids(&chosen).await?;
    Ok(chosen.iter().filter_map(|user| ids.get(user).cloned()).collect())
}
