//! What other servers are told of a room's events: which they may see, and in which shape.
//!
//! A server may see an event when any of its users could. Another server needs even those that it may not see, since the graph
//! holds together by them: it gets them redacted, which leaves ids and signatures as they were.
//!
//! <https://spec.matrix.org/v1.19/server-server-api/#transactions>,
//! <https://spec.matrix.org/v1.19/client-server-api/#room-history-visibility>

use std::{
    collections::{HashMap, HashSet},
    sync::Arc,
};

use hs_model::{
    ids::{EventNid, SlotNid, StateGroupNid, UserNid},
    membership::Membership,
    records::{EventRecord, Outcome},
    stream::Position,
};
use hs_room_rules::visibility::HistoryVisibility;
use hs_storage::{
    Reader, StorageError,
    events::{Order, Place},
    history::TimePlace,
    walks::WalkBack,
};
use ruma::{EventId, OwnedEventId, ServerName};
use serde_json::value::RawValue;

use crate::{
    Room, Rooms,
    client_event::{membership_of, pdu_json},
    erasure::concerns_person,
    visibility::{HISTORY_VISIBILITY, history_visibility_of},
};

/// How many events an auth chain has at most when it is told to another server.
pub const MAX_AUTH_CHAIN: i64 = 100_000;
/// How many members a room without a name is called by.
const MAX_HEROES: usize = 5;
/// How many events of a time are looked at first in search of one that a server may see, and at last.
const FIRST_BATCH: i64 = 10;
const LAST_BATCH: i64 = 1000;

/// Which events before others are wanted.
#[derive(Clone, Copy, Debug)]
pub struct EventsBefore<'a> {
    /// Where to begin.
    pub from: &'a [OwnedEventId],
    /// Events that are not wanted, nor what is before them.
    pub except: &'a [OwnedEventId],
    /// Whether the events of `from` are wanted themselves.
    pub with_from: bool,
    /// How deep an event must be at least.
    pub min_depth: i64,
    /// How many at most.
    pub limit: usize,
}

/// The state of a room at a point, and what authorises it.
#[derive(Clone, Debug, Default)]
pub struct StateAndChain {
    /// The state events.
    pub state: Vec<EventNid>,
    /// The events that authorise them, those of the state left out.
    pub auth_chain: Vec<EventNid>,
}

impl Rooms {
    /// Whether this server takes part in a room: one of its users is in it. A room that nobody is left in belongs to those who
    /// have it.
    pub async fn is_resident(&self, room: &Room) -> Result<bool, StorageError> {
        let mut reader = self.inner.store.reader().await?;
        if reader.is_server_joined(room.nid, self.server_name()).await? {
            return Ok(true);
        }
        drop(reader);
        let state = room.read();
        Ok(state.joined_count() == 0 && state.state_event("m.room.create", "").is_some())
    }

    /// Whether a server takes part in a room.
    pub async fn is_in_room(&self, room: &Room, server: &ServerName) -> Result<bool, StorageError> {
        let mut reader = self.inner.store.reader().await?;
        if reader.is_server_joined(room.nid, server).await? {
            return Ok(true);
        }
        if room.read().is_partial() {
            reader.is_server_said_to_be_in(room.nid, server).await
        } else {
            Ok(false)
        }
    }

    /// Whether a server had users in a room before each of some events, of which there is at least one.
    pub async fn was_in_room_before(
        &self,
        room: &Room,
        events: &[OwnedEventId],
        server: &ServerName,
    ) -> Result<bool, StorageError> {
        let mut reader = self.inner.store.reader().await?;
        let ids: Vec<&EventId> = events.iter().map(|id| &**id).collect();
        let nids: Vec<EventNid> = reader.find_event_nids(&ids).await?.into_values().collect();
        let found = reader.list_events(&nids).await?;
        drop(reader);
        if found.is_empty() || found.len() < events.len() || found.iter().any(|event| event.room != room.nid)
        {
            return Ok(false);
        }
        Ok(self.list_events_with_server(room, &found, server).await?.len() == found.len())
    }

    /// An event of a room by its id.
    pub async fn find_event_in(
        &self,
        room: &Room,
        event_id: &EventId,
    ) -> Result<Option<Arc<EventRecord>>, StorageError> {
        let event = self.inner.store.reader().await?.find_event(event_id).await?;
        Ok(event.filter(|event| event.room == room.nid))
    }

    /// The events before some events of a room, the oldest first.
    pub async fn list_before(
        &self,
        room: &Room,
        wanted: EventsBefore<'_>,
    ) -> Result<Vec<Arc<EventRecord>>, StorageError> {
        let mut reader = self.inner.store.reader().await?;
        let ids: Vec<&EventId> = wanted.from.iter().chain(wanted.except).map(|id| &**id).collect();
        let known = reader.find_event_nids(&ids).await?;
        let nids = |ids: &[OwnedEventId]| -> Vec<EventNid> {
            ids.iter().filter_map(|id| known.get(id).copied()).collect()
        };
        let (from, except) = (nids(wanted.from), nids(wanted.except));
        let skipped = if wanted.with_from { 0 } else { from.len() };
        let walk = WalkBack {
            room: room.nid,
            from: &from,
            except: &except,
            min_depth: wanted.min_depth,
            limit: (wanted.limit + skipped) as i64,
        };
        let mut found = reader.list_events_before(walk).await?;
        if !wanted.with_from {
            found.retain(|nid| !from.contains(nid));
        }
        let mut events = reader.list_events(&found).await?;
        events.retain(|event| event.outcome != Outcome::Rejected);
        events.sort_by_key(|event| (event.depth, event.position, event.nid));
        Ok(events)
    }

    /// The state before an event with its auth chain; `None` for an event whose state is unknown.
    pub async fn state_before_with_chain(
        &self,
        event: &EventRecord,
    ) -> Result<Option<StateAndChain>, StorageError> {
        let Some(group) = event.state_before else { return Ok(None) };
        let mut reader = self.inner.store.reader().await?;
        let mut state: Vec<EventNid> = reader.find_state(group).await?.into_values().collect();
        state.sort_unstable();
        let mut from = state.clone();
        from.push(event.nid);
        let auth_chain = reader.list_auth_chain(&from, MAX_AUTH_CHAIN).await?;
        Ok(Some(StateAndChain { auth_chain: without(auth_chain, &state), state }))
    }

    /// As [`state_before_with_chain`](Self::state_before_with_chain), with as few members as a server needs to begin with: those
    /// by whom a room without a name is called, and in the auth chain those who authorise the rest.
    ///
    /// <https://spec.matrix.org/v1.19/server-server-api/#put_matrixfederationv2send_joinroomideventid>
    pub async fn partial_state_before(
        &self,
        room: &Room,
        event: &EventRecord,
    ) -> Result<Option<StateAndChain>, StorageError> {
        let Some(group) = event.state_before else { return Ok(None) };
        let all = self.inner.store.reader().await?.find_state(group).await?;
        let slots: Vec<SlotNid> = all.keys().copied().collect();
        let names = self.inner.store.slot_names(&slots).await?;
        let is_of = |slot: &SlotNid, wanted: &str| names.get(slot).is_some_and(|(kind, _)| &**kind == wanted);
        let is_named =
            all.keys().any(|slot| is_of(slot, "m.room.name") || is_of(slot, "m.room.canonical_alias"));
        let mut state: Vec<EventNid> =
            all.iter().filter(|(slot, _)| !is_of(slot, "m.room.member")).map(|(_, nid)| *nid).collect();
        if !is_named {
            let present: HashSet<EventNid> = all.values().copied().collect();
            state.extend(heroes(room, event.sender_nid).into_iter().filter(|nid| present.contains(nid)));
        }
        state.sort_unstable();
        let mut from = state.clone();
        from.push(event.nid);
        let auth_chain = self.inner.store.reader().await?.list_auth_chain(&from, MAX_AUTH_CHAIN).await?;
        Ok(Some(StateAndChain { auth_chain: without(auth_chain, &state), state }))
    }

    /// The auth chain of an event.
    pub async fn auth_chain_of(&self, event: &EventRecord) -> Result<Vec<EventNid>, StorageError> {
        self.inner.store.reader().await?.list_auth_chain(&[event.nid], MAX_AUTH_CHAIN).await
    }

    /// Those of the events of a room that a server may see which is in the room.
    pub async fn list_visible_to_server(
        &self,
        room: &Room,
        events: &[Arc<EventRecord>],
        server: &ServerName,
    ) -> Result<HashSet<EventNid>, StorageError> {
        let all = || events.iter().map(|event| event.nid).collect();
        if events.is_empty() || self.is_always_open(room).await? {
            return Ok(all());
        }
        let past = ServerPast::read(self, room, events, server).await?;
        Ok(events.iter().filter(|event| past.allows(event)).map(|event| event.nid).collect())
    }

    /// Events of a room for a server that is in it: what it may not see is redacted.
    pub async fn render_for_server(
        &self,
        room: &Room,
        events: &[Arc<EventRecord>],
        server: &ServerName,
    ) -> Result<Vec<Box<RawValue>>, StorageError> {
        let visible = self.list_visible_to_server(room, events, server).await?;
        let erased = self.erased_senders(events).await?;
        let is_hidden = |event: &EventRecord| {
            !visible.contains(&event.nid)
                || (erased.contains_key(&event.sender_nid) && concerns_person(event))
        };
        events.iter().map(|event| pdu_json(room, event, is_hidden(event))).collect()
    }

    /// Events that servers in a room need to judge others by: state, and what authorises it.
    pub async fn render_for_judging(
        &self,
        room: &Room,
        events: &[EventNid],
    ) -> Result<Vec<Box<RawValue>>, StorageError> {
        let events = self.inner.store.list_events(events).await?;
        events.iter().map(|event| pdu_json(room, event, false)).collect()
    }

    /// The event nearest to a time that a server may see: at or after it forward, at or before it backward.
    pub async fn find_event_by_time_for_server(
        &self,
        room: &Room,
        server: &ServerName,
        ts: i64,
        order: Order,
    ) -> Result<Option<Arc<EventRecord>>, StorageError> {
        let end = match order {
            Order::Forward => i64::MIN,
            Order::Backward => i64::MAX,
        };
        let mut beyond = TimePlace { ts, place: Place { depth: end, position: Position(end) } };
        let mut batch = FIRST_BATCH;
        while batch <= LAST_BATCH {
            let mut reader = self.inner.store.reader().await?;
            let rows = reader.list_rows_by_time(room.nid, beyond, order, batch).await?;
            drop(reader);
            let nids: Vec<EventNid> = rows.iter().map(|row| row.nid).collect();
            let events = self.inner.store.list_events(&nids).await?;
            let visible = self.list_visible_to_server(room, &events, server).await?;
            if let Some(event) = events.into_iter().find(|event| visible.contains(&event.nid)) {
                return Ok(Some(event));
            }
            match rows.last() {
                Some(last) if rows.len() as i64 == batch => {
                    beyond = TimePlace { ts: last.origin_server_ts, place: last.place };
                }
                _ => return Ok(None),
            }
            batch *= 10;
        }
        Ok(None)
    }
}

/// The member events of those by whom a room without a name is called, other than one user.
fn heroes(room: &Room, except: UserNid) -> Vec<EventNid> {
    let state = room.read();
    let mut members: Vec<EventNid> = state
        .members()
        .filter(|(user, member)| {
            *user != except && matches!(member.membership, Membership::Join | Membership::Invite)
        })
        .map(|(_, member)| member.event)
        .collect();
    drop(state);
    members.sort_unstable();
    members.truncate(MAX_HEROES);
    members
}

/// Those of `nids` that are not among `taken`, which is sorted.
pub(crate) fn without(mut nids: Vec<EventNid>, taken: &[EventNid]) -> Vec<EventNid> {
    nids.retain(|nid| taken.binary_search(nid).is_err());
    nids
}

/// What fills some slots in the states before some events.
pub(crate) struct SlotsBefore {
    states: HashMap<StateGroupNid, HashMap<SlotNid, EventNid>>,
    events: HashMap<EventNid, Arc<EventRecord>>,
}

impl SlotsBefore {
    pub(crate) async fn read(
        reader: &mut Reader,
        events: &[Arc<EventRecord>],
        slots: &[SlotNid],
    ) -> Result<Self, StorageError> {
        let mut groups: Vec<StateGroupNid> = events.iter().filter_map(|event| event.state_before).collect();
        groups.sort_unstable();
        groups.dedup();
        let states = reader.find_state_slots(&groups, slots).await?;
        let mut nids: Vec<EventNid> = states.values().flat_map(|state| state.values().copied()).collect();
        nids.sort_unstable();
        nids.dedup();
        Ok(Self { states, events: reader.find_events(&nids).await? })
    }

    /// Before one of the events.
    pub(crate) fn before(&self, event: &EventRecord) -> impl Iterator<Item = (SlotNid, &EventRecord)> {
        let state = event.state_before.and_then(|group| self.states.get(&group));
        state.into_iter().flatten().filter_map(|(slot, nid)| Some((*slot, &**self.events.get(nid)?)))
    }
}

/// The history visibility and the memberships of a server's users in the states before some events.
struct ServerPast {
    visibility_slot: Option<SlotNid>,
    member_slots: HashSet<SlotNid>,
    slots: SlotsBefore,
}

impl ServerPast {
    async fn read(
        rooms: &Rooms,
        room: &Room,
        events: &[Arc<EventRecord>],
        server: &ServerName,
    ) -> Result<Self, StorageError> {
        let store = &rooms.inner.store;
        let users: Vec<(UserNid, _)> = store.reader().await?.list_users_of_server(room.nid, server).await?;
        let members = users.iter().map(|(_, user_id)| ("m.room.member", user_id.as_str()));
        let names: Vec<(&str, &str)> = members.chain([(HISTORY_VISIBILITY, "")]).collect();
        let slots = store.find_slots(&names).await?;
        let (mut visibility_slot, mut member_slots) = (None, HashSet::new());
        for ((event_type, _), slot) in &slots {
            if &**event_type == HISTORY_VISIBILITY {
                visibility_slot = Some(*slot);
            } else {
                member_slots.insert(*slot);
            }
        }
        let wanted: Vec<SlotNid> = slots.into_values().collect();
        let slots = SlotsBefore::read(&mut store.reader().await?, events, &wanted).await?;
        Ok(Self { visibility_slot, member_slots, slots })
    }

    fn allows(&self, event: &EventRecord) -> bool {
        let events_in = |slots: &dyn Fn(&SlotNid) -> bool| -> Vec<&EventRecord> {
            self.slots.before(event).filter(|(slot, _)| slots(slot)).map(|(_, event)| event).collect()
        };
        let is_visibility = |slot: &SlotNid| Some(*slot) == self.visibility_slot;
        let own = |is_wanted: bool| is_wanted.then_some(event);
        // An event that changes one of the two may be seen if the state before or after it allows that.
        let mut visibilities: Vec<HistoryVisibility> =
            events_in(&is_visibility).into_iter().map(history_visibility_of).collect();
        if visibilities.is_empty() {
            visibilities.push(HistoryVisibility::Shared);
        }
        visibilities
            .extend(own(event.slot.is_some_and(|slot| is_visibility(&slot))).map(history_visibility_of));
        let is_member = |slot: &SlotNid| self.member_slots.contains(slot);
        let members = events_in(&is_member).into_iter();
        let memberships: Vec<Membership> = members
            .chain(own(event.slot.is_some_and(|slot| is_member(&slot))))
            .filter_map(membership_of)
            .collect();
        visibilities.into_iter().any(|visibility| match visibility {
            // The server is in the room, or was after the event, so that one of its users has joined since.
            HistoryVisibility::WorldReadable | HistoryVisibility::Shared => true,
            HistoryVisibility::Invited => {
                memberships.iter().any(|m| matches!(m, Membership::Join | Membership::Invite))
            }
            HistoryVisibility::Joined => memberships.contains(&Membership::Join),
        })
    }
}
