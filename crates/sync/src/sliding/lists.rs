//! Which rooms a request is about: the windows of its lists, and its subscriptions.

use std::{
    cmp::Reverse,
    collections::{BTreeMap, HashMap, HashSet},
};

use hs_model::{ids::RoomNid, membership::Membership, stream::Position};
use hs_rooms::client_event::visible_content;
use hs_storage::StorageError;
use ruma::{OwnedRoomId, RoomId};
use serde_json::Value;

use super::{
    Context,
    connection::Shown,
    request::{Filters, List},
    room_facts::RoomFacts,
    user_facts::Departure,
};
use crate::feed::Stay;

/// Why a room is looked at.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub(super) struct Reason {
    /// A bit for each list that has the room in its window, in the order of their names.
    pub(super) lists: u128,
    /// The subscription, counted in the order of the room ids.
    pub(super) subscription: Option<usize>,
}

/// What a request is about.
#[derive(Debug, Default)]
pub(super) struct Selection {
    /// How many rooms pass the filters of each list.
    pub(super) counts: BTreeMap<String, usize>,
    pub(super) rooms: HashMap<RoomNid, Reason>,
}

/// A room that can be in a list.
#[derive(Clone, Copy, Debug)]
struct Candidate<'a> {
    nid: RoomNid,
    stay: &'a Stay,
    activity: Position,
    facts: &'a RoomFacts,
}

/// Finds the rooms that a request is about.
pub(super) async fn select(context: &Context<'_>) -> Result<Selection, StorageError> {
    let mut selection = Selection::default();
    let mut spaces = Vec::with_capacity(context.request.lists.len());
    for list in context.request.lists.values() {
        spaces.push(match &list.filters.spaces {
            Some(spaces) => Some(children(context, spaces).await?),
            None => None,
        });
    }
    context.inner.room_facts.with(|facts| {
        let candidates: Vec<Candidate<'_>> =
            context.stays.iter().filter_map(|(nid, stay)| candidate(context, facts, *nid, stay)).collect();
        for (bit, ((name, list), spaces)) in context.request.lists.iter().zip(&spaces).enumerate() {
            let mut rooms: Vec<(Reverse<Position>, RoomNid)> = candidates
                .iter()
                .filter(|candidate| passes(context, &list.filters, spaces.as_ref(), candidate))
                .map(|candidate| (Reverse(candidate.activity), candidate.nid))
                .collect();
            selection.counts.insert(name.clone(), rooms.len());
            keep_window(&mut rooms, list);
            for (_, nid) in rooms {
                selection.rooms.entry(nid).or_default().lists |= 1_u128 << bit;
            }
        }
    });
    for (number, room_id) in context.request.subscriptions.keys().enumerate() {
        let Some(nid) = context.inner.rooms.find(room_id).await?.map(|room| room.nid) else { continue };
        if context.stays.get(&nid).is_some_and(|stay| !stay.is_forgotten && may_look(context, nid, stay)) {
            selection.rooms.entry(nid).or_default().subscription = Some(number);
        }
    }
    Ok(selection)
}

/// Whether a user may know of a room at all, for a subscription.
fn may_look(context: &Context<'_>, nid: RoomNid, stay: &Stay) -> bool {
    match stay.membership {
        Membership::Join | Membership::Invite | Membership::Knock => true,
        Membership::Leave | Membership::Ban => context.departures.get(&nid) != Some(&Departure::NeverThere),
    }
}

fn candidate<'a>(
    context: &Context<'_>,
    facts: &'a HashMap<RoomNid, RoomFacts>,
    nid: RoomNid,
    stay: &'a Stay,
) -> Option<Candidate<'a>> {
    if stay.is_forgotten || !is_listed(context, nid, stay) {
        return None;
    }
    let facts = facts.get(&nid)?;
    let activity = if stay.membership == Membership::Join { facts.last } else { stay.since };
    Some(Candidate { nid, stay, activity, facts })
}

/// Whether a room belongs to the user's rooms. Those that they left themselves do as long as the client has not been told.
pub(super) fn is_listed(context: &Context<'_>, nid: RoomNid, stay: &Stay) -> bool {
    match stay.membership {
        Membership::Join | Membership::Invite | Membership::Knock => true,
        Membership::Leave | Membership::Ban => {
            context.departures.get(&nid) == Some(&Departure::Removed)
                || context.connection.state.rooms.get(&nid).is_some_and(|sent| sent.shown != Shown::Left)
        }
    }
}

fn passes(
    context: &Context<'_>,
    filters: &Filters,
    spaces: Option<&HashSet<RoomNid>>,
    room: &Candidate<'_>,
) -> bool {
    let has_type = |types: &[Option<String>]| {
        types.iter().any(|wanted| wanted.as_deref() == room.facts.room_type.as_deref())
    };
    let has_tag = |tags: &[String]| {
        let own = context.user_facts.tags.get(&room.nid);
        own.is_some_and(|own| tags.iter().any(|tag| own.contains(tag)))
    };
    filters.is_dm.is_none_or(|wanted| context.user_facts.direct.contains(&room.nid) == wanted)
        && filters.is_encrypted.is_none_or(|wanted| room.facts.is_encrypted == wanted)
        && filters.is_invited.is_none_or(|wanted| (room.stay.membership == Membership::Invite) == wanted)
        && filters.room_types.as_deref().is_none_or(has_type)
        && !filters.not_room_types.as_deref().is_some_and(has_type)
        && filters.tags.as_deref().is_none_or(has_tag)
        && !filters.not_tags.as_deref().is_some_and(has_tag)
        && spaces.is_none_or(|children| children.contains(&room.nid))
}

/// Leaves only the rooms within the list's ranges, which count the most recently active first.
fn keep_window(rooms: &mut Vec<(Reverse<Position>, RoomNid)>, list: &List) {
    let Some(ranges) = &list.ranges else { return };
    let index = |number: u64| usize::try_from(number).unwrap_or(usize::MAX);
    let ranges: Vec<(usize, usize)> =
        ranges.iter().map(|(start, end)| (index(*start), index(*end))).filter(|(s, e)| s <= e).collect();
    let Some(last) = ranges.iter().map(|(_, end)| *end).max() else {
        rooms.clear();
        return;
    };
    if last < rooms.len() {
        // Sorting all of a long list for the first few would be the greater part of the work.
        rooms.select_nth_unstable(last);
        rooms.truncate(last + 1);
    }
    if ranges.iter().any(|(start, end)| *start == 0 && *end == last) {
        return;
    }
    rooms.sort_unstable();
    let mut at = 0;
    rooms.retain(|_| {
        let is_within = ranges.iter().any(|(start, end)| (*start..=*end).contains(&at));
        at += 1;
        is_within
    });
}

/// The rooms that are children of spaces which the user has joined.
async fn children(context: &Context<'_>, spaces: &[OwnedRoomId]) -> Result<HashSet<RoomNid>, StorageError> {
    let mut ids: HashSet<OwnedRoomId> = HashSet::new();
    for space in spaces {
        let Some(space) = context.inner.rooms.find(space).await? else { continue };
        let is_joined = context.is_joined(space.nid);
        if !is_joined {
            continue;
        }
        let links: Vec<_> = {
            let state = space.read();
            state.state.get("m.space.child").into_iter().flat_map(|slots| slots.values().copied()).collect()
        };
        for event in context.inner.store.list_events(&links).await? {
            let content = visible_content(&space, &event);
            let content: Value = serde_json::from_str(content.get()).unwrap_or_default();
            // A child that was removed has no servers any more.
            let has_servers = content["via"].as_array().is_some_and(|via| !via.is_empty());
            if has_servers && let Some(Ok(child)) = event.state_key.as_deref().map(RoomId::parse) {
                ids.insert(child);
            }
        }
    }
    if ids.is_empty() {
        return Ok(HashSet::new());
    }
    let ids: Vec<OwnedRoomId> = ids.into_iter().collect();
    Ok(context.inner.store.reader().await?.list_room_nids_by_id(&ids).await?.into_iter().collect())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn window(count: i64, ranges: &[(u64, u64)]) -> Vec<i64> {
        // Scrambled: the order of arrival must not matter.
        let mut rooms: Vec<_> =
            (0..count).map(|n| (n * 7) % count).map(|n| (Reverse(Position(1000 - n)), RoomNid(n))).collect();
        keep_window(&mut rooms, &List { ranges: Some(ranges.to_vec()), ..List::default() });
        let mut kept: Vec<i64> = rooms.into_iter().map(|(_, nid)| nid.0).collect();
        kept.sort_unstable();
        kept
    }

    #[test]
    fn windows_count_from_the_most_recent_and_hold_both_ends() {
        assert_eq!(window(10, &[(0, 2)]), [0, 1, 2]);
        assert_eq!(window(10, &[(2, 3), (5, 5)]), [2, 3, 5]);
        assert_eq!(window(3, &[(0, u64::MAX)]), [0, 1, 2]);
        assert_eq!(window(10, &[(8, 100)]), [8, 9]);
    }

    #[test]
    fn senseless_windows_are_empty() {
        assert!(window(5, &[]).is_empty());
        assert!(window(5, &[(3, 1)]).is_empty());
        assert!(window(5, &[(50, 60)]).is_empty());
    }
}
