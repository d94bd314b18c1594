//! Which events of a room a user may see, decided for many events at once.
//!
//! Who is in the room and was so before the oldest of the events sees them all; so does a member of a room whose history
//! was never closed. Neither needs the database. Otherwise the state before each event decides, which is read for all
//! events together.
//!
//! <https://spec.matrix.org/v1.19/client-server-api/#room-history-visibility>

use std::{
    borrow::Cow,
    collections::{HashMap, HashSet},
    sync::Arc,
};

use hs_model::{
    ids::{EventNid, SlotNid, StateGroupNid},
    membership::Membership,
    records::{EventRecord, Outcome},
    stream::Position,
};
use hs_room_rules::{
    pdu::Pdu,
    visibility::{self, Circumstances, HistoryVisibility},
};
use hs_storage::{StorageError, history::TimelineRow};
use serde::Deserialize;

use crate::{
    Room, Rooms,
    client_event::{Viewer, membership_of},
    room::RoomState,
};

pub(crate) const HISTORY_VISIBILITY: &str = "m.room.history_visibility";

/// What the decision about an event needs to know of it.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Facts {
    nid: EventNid,
    position: Position,
    state_before: Option<StateGroupNid>,
    slot: Option<SlotNid>,
}

impl From<&TimelineRow> for Facts {
    fn from(row: &TimelineRow) -> Self {
        Self { nid: row.nid, position: row.place.position, state_before: row.state_before, slot: row.slot }
    }
}

/// The facts of an event that may be shown to anybody at all: not those of outliers, soft-failed and rejected events.
fn facts_of(event: &EventRecord) -> Option<Facts> {
    let position = event.position.filter(|_| event.outcome == Outcome::Accepted)?;
    Some(Facts { nid: event.nid, position, state_before: event.state_before, slot: event.slot })
}

/// Which events a user may see.
#[derive(Clone, Debug)]
pub(crate) enum Visible {
    /// All that were asked for.
    All,
    /// These.
    Only(HashSet<EventNid>),
}

impl Visible {
    pub(crate) fn contains(&self, nid: EventNid) -> bool {
        match self {
            Self::All => true,
            Self::Only(nids) => nids.contains(&nid),
        }
    }
}

impl Rooms {
    /// Those of the events of a room that a user may see, in the order given.
    pub async fn filter_visible(
        &self,
        room: &Room,
        mut events: Vec<Arc<EventRecord>>,
        viewer: &Viewer<'_>,
    ) -> Result<Vec<Arc<EventRecord>>, StorageError> {
        events.retain(|event| facts_of(event).is_some());
        let facts: Vec<Facts> = events.iter().filter_map(|event| facts_of(event)).collect();
        let visible = self.visible(room, &facts, viewer).await?;
        events.retain(|event| visible.contains(event.nid));
        Ok(events)
    }

    /// Whether a user may see an event.
    pub async fn is_visible(
        &self,
        room: &Room,
        event: &EventRecord,
        viewer: &Viewer<'_>,
    ) -> Result<bool, StorageError> {
        let Some(facts) = facts_of(event) else { return Ok(false) };
        Ok(self.visible(room, &[facts], viewer).await?.contains(event.nid))
    }

    /// Which of these accepted events of a room a user may see.
    pub(crate) async fn visible(
        &self,
        room: &Room,
        facts: &[Facts],
        viewer: &Viewer<'_>,
    ) -> Result<Visible, StorageError> {
        let joined_since = room.read().joined_since(viewer.user);
        let must_ask: Vec<&Facts> = facts
            .iter()
            .filter(|facts| joined_since.is_none_or(|since| since < Position(1) || facts.position < since))
            .collect();
        if must_ask.is_empty() || (joined_since.is_some() && self.is_always_open(room).await?) {
            return Ok(Visible::All);
        }
        let last_join = match joined_since {
            Some(_) => Some(Position(i64::MAX)),
            None => self.last_stay(room, viewer).await?.map(|stay| stay.last_join),
        };
        let asked: HashSet<EventNid> = must_ask.iter().map(|facts| facts.nid).collect();
        let mut visible: HashSet<EventNid> =
            facts.iter().map(|facts| facts.nid).filter(|nid| !asked.contains(nid)).collect();
        let past = Past::read(self, room, &must_ask, viewer).await?;
        visible.extend(must_ask.iter().filter(|facts| past.allows(facts, last_join)).map(|facts| facts.nid));
        Ok(Visible::Only(visible))
    }

    /// Whether every event of the room may be seen by everybody who is in it now, since the history visibility was never
    /// other than `shared` or `world_readable`.
    pub(crate) async fn is_always_open(&self, room: &Room) -> Result<bool, StorageError> {
        let (known, epoch) = {
            let state = room.read();
            (state.known_openness(), state.visibility_epoch())
        };
        if let Some(known) = known {
            return Ok(known);
        }
        let store = &self.inner.store;
        let slots = store.find_slots(&[(HISTORY_VISIBILITY, "")]).await?;
        let is_always_open = match slots.into_values().next() {
            None => true,
            Some(slot) => {
                const MANY: i64 = 20;
                let mut reader = store.reader().await?;
                // The state of a room that was joined elsewhere has no place in the timeline, and counts all the same.
                let nids = reader.list_slot_values(room.nid, slot, MANY).await?;
                let is_complete = (nids.len() as i64) < MANY;
                let events = reader.find_events(&nids).await?;
                is_complete && events.values().all(|event| is_open(history_visibility_of(event)))
            }
        };
        room.update(|state| {
            if state.visibility_epoch() == epoch {
                state.set_openness(is_always_open);
            }
        });
        Ok(is_always_open)
    }
}

/// Events were stored elsewhere than at the end of the timeline: if one of them changes the history visibility, the history
/// may turn out to have been closed.
pub(crate) fn note_visibilities<'a>(room: &Room, pdus: impl IntoIterator<Item = &'a Arc<Pdu>>) {
    if pdus.into_iter().any(|pdu| pdu.is_state_of(HISTORY_VISIBILITY, "")) {
        room.update(RoomState::forget_openness);
    }
}

fn is_open(visibility: HistoryVisibility) -> bool {
    matches!(visibility, HistoryVisibility::Shared | HistoryVisibility::WorldReadable)
}

/// What an `m.room.history_visibility` event says.
pub(crate) fn history_visibility_of(event: &EventRecord) -> HistoryVisibility {
    #[derive(Deserialize)]
    struct Event<'a> {
        #[serde(borrow)]
        content: Content<'a>,
    }
    #[derive(Deserialize)]
    struct Content<'a> {
        #[serde(borrow)]
        history_visibility: Cow<'a, str>,
    }
    serde_json::from_str::<Event<'_>>(&event.json).map_or(HistoryVisibility::Shared, |event| {
        HistoryVisibility::from_value(&event.content.history_visibility)
    })
}

/// The history visibility and the viewer's membership in the states before some events.
struct Past {
    visibility_slot: Option<SlotNid>,
    member_slot: Option<SlotNid>,
    states: HashMap<StateGroupNid, HashMap<SlotNid, EventNid>>,
    events: HashMap<EventNid, Arc<EventRecord>>,
}

impl Past {
    async fn read(
        rooms: &Rooms,
        room: &Room,
        facts: &[&Facts],
        viewer: &Viewer<'_>,
    ) -> Result<Self, StorageError> {
        let store = &rooms.inner.store;
        let slots =
            store.find_slots(&[(HISTORY_VISIBILITY, ""), ("m.room.member", viewer.user_id.as_str())]).await?;
        let slot_of = |event_type: &str| {
            slots.iter().find(|((slot_type, _), _)| &**slot_type == event_type).map(|(_, slot)| *slot)
        };
        let (visibility_slot, member_slot) = (slot_of(HISTORY_VISIBILITY), slot_of("m.room.member"));
        let wanted: Vec<SlotNid> = [visibility_slot, member_slot].into_iter().flatten().collect();
        let mut groups: Vec<StateGroupNid> = facts.iter().filter_map(|facts| facts.state_before).collect();
        groups.sort_unstable();
        groups.dedup();
        let mut reader = store.reader().await?;
        let states = reader.find_state_slots(&groups, &wanted).await?;
        let own = facts.iter().filter(|facts| facts.slot.is_some_and(|slot| wanted.contains(&slot)));
        let mut nids: Vec<EventNid> = states.values().flat_map(|state| state.values().copied()).collect();
        nids.extend(own.map(|facts| facts.nid));
        nids.sort_unstable();
        nids.dedup();
        let events = reader.find_events(&nids).await?;
        debug_assert!(events.values().all(|event| event.room == room.nid), "states belong to one room");
        Ok(Self { visibility_slot, member_slot, states, events })
    }

    fn allows(&self, facts: &Facts, last_join: Option<Position>) -> bool {
        // Without a state nothing says that the event may be seen.
        let Some(group) = facts.state_before else { return false };
        let state = self.states.get(&group);
        let before = |slot: Option<SlotNid>| self.events.get(state?.get(&slot?)?).map(|event| &**event);
        // An event that changes one of the two may be seen if the state before or after it allows that.
        let after = |slot: Option<SlotNid>| {
            if slot.is_some() && facts.slot == slot {
                self.events.get(&facts.nid).map(|event| &**event)
            } else {
                before(slot)
            }
        };
        let has_joined_since = last_join.is_some_and(|last_join| last_join > facts.position);
        let is_allowed = |visibility: Option<&EventRecord>, member: Option<&EventRecord>| {
            visibility::is_allowed(Circumstances {
                visibility: visibility.map_or(HistoryVisibility::Shared, history_visibility_of),
                membership: rules_membership(member.and_then(membership_of)),
                has_joined_since,
            })
        };
        is_allowed(before(self.visibility_slot), before(self.member_slot))
            || is_allowed(after(self.visibility_slot), after(self.member_slot))
    }
}

fn rules_membership(membership: Option<Membership>) -> visibility::Membership {
    match membership {
        Some(Membership::Join) => visibility::Membership::Join,
        Some(Membership::Invite) => visibility::Membership::Invite,
        Some(Membership::Knock) => visibility::Membership::Knock,
        Some(Membership::Ban) => visibility::Membership::Ban,
        Some(Membership::Leave) | None => visibility::Membership::Leave,
    }
}
