//! Judging events anew, from where this server came into a room on: the state before that was not whole when they were
//! judged first.

use std::{
    collections::{BTreeSet, HashMap, HashSet},
    sync::Arc,
};

use hs_model::{
    ids::{EventNid, SlotNid, StateGroupNid},
    records::{EventRecord, Outcome},
};
use hs_room_rules::pdu::Pdu;
use hs_storage::{
    append::{AppendUnit, Completeness, NewHead, RejudgedEvent},
    graph::GraphNode,
    rooms::RoomHead,
};
use ruma::EventId;

use super::{Batch, Slot, partial::Entrance, policy::Approval, receive::Before, slots::slots_of_pdu};
use crate::{
    Room, Rooms, WriteError,
    adopt::changes,
    policy::Refusals,
    receive::{Incoming, PduOutcome},
    resolve::ResolveError,
    room::{Extremity, Head},
};

/// What is judged anew.
pub(crate) struct Replay<'a> {
    /// Where the room stands.
    pub(crate) head: &'a RoomHead,
    /// The event by which this server came in.
    pub(crate) join: &'a EventRecord,
    /// All of the state before it.
    pub(crate) state: &'a HashMap<SlotNid, EventNid>,
    /// The events since, in the order in which they came.
    pub(crate) events: &'a [Arc<EventRecord>],
}

impl Replay<'_> {
    /// What is to be written for the room to be whole.
    pub(crate) async fn run(&self, rooms: &Rooms, room: &Room) -> Result<AppendUnit, WriteError> {
        let pdus = self.events.iter().map(|event| crate::pdus::parse(room, event).map(Arc::new));
        let pdus: Vec<Arc<Pdu>> = pdus.collect::<Result<_, _>>()?;
        let incoming: Vec<Incoming> =
            pdus.into_iter().map(|pdu| Incoming { pdu, state_before: None }).collect();
        let (mut batch, entrance) = self.prepare(rooms, room, &incoming).await?;
        let mut rejudged = vec![entrance];
        let mut followed: HashSet<&EventId> = HashSet::new();
        for (event, incoming) in self.events.iter().zip(&incoming) {
            let judged = batch.judge_again(event, incoming).await?;
            if judged.outcome == Outcome::Accepted {
                followed.extend(incoming.pdu.prev_events().iter().map(AsRef::<EventId>::as_ref));
            }
            rejudged.push(judged);
        }
        // An event can have come after one that follows it.
        batch.work.extremities.retain(|end| !followed.contains(&*end.event_id));
        batch.finish(self, rejudged).await
    }

    /// The batch that begins after the join; and what the join itself has become.
    async fn prepare<'a>(
        &self,
        rooms: &'a Rooms,
        room: &'a Room,
        incoming: &[Incoming],
    ) -> Result<(Batch<'a>, RejudgedEvent), WriteError> {
        let store = &rooms.inner.store;
        let incomplete = self.join.state_before.unwrap_or(crate::state_line::EMPTY);
        let chain = rooms.inner.groups.chain(incomplete, &[]).await?;
        let differences = changes(&chain.entries(), self.state);
        let mut line = chain.to_line();
        let before = store.allocate_state_group_nid().await?;
        let mut groups = vec![line.push_changes(before, &differences)];
        let slot = self.join.slot.ok_or_else(|| inconsistent(self.join))?;
        let after = store.allocate_state_group_nid().await?;
        groups.push(line.push(after, slot, self.join.nid));

        let base = self.base(rooms, room, slot, incoming).await?;
        let end = Extremity { nid: self.join.nid, event_id: self.join.event_id.clone(), state: after };
        let head = Head { version: self.head.version, line, extremities: vec![end], depth: self.join.depth };
        let mut batch = Batch::new(rooms, room, head, base);
        batch.work.state_groups = groups;
        batch.find_places(&incoming.iter().collect::<Vec<_>>()).await?;
        let node = GraphNode {
            nid: self.join.nid,
            room: room.nid,
            outcome: Outcome::Accepted,
            depth: self.join.depth,
            position: self.join.position,
            state_before: Some(before),
            state_after: Some(after),
            slot: Some(slot),
        };
        batch.work.nodes.insert(self.join.event_id.clone(), node);
        let mut prev = crate::pdus::parse(room, self.join)?.prev_events().to_vec();
        prev.sort_unstable();
        batch.entrance = Some(Entrance { prev, before });
        let entrance = RejudgedEvent {
            nid: self.join.nid,
            state_before: Some(before),
            state_after: Some(after),
            outcome: Outcome::Accepted,
            reason: None,
            replaces: self.state.get(&slot).copied(),
        };
        Ok((batch, entrance))
    }

    /// What the state with the join holds in the slots that the checks look at.
    async fn base(
        &self,
        rooms: &Rooms,
        room: &Room,
        join_slot: SlotNid,
        incoming: &[Incoming],
    ) -> Result<HashMap<Slot, (EventNid, Arc<Pdu>)>, WriteError> {
        let names: BTreeSet<Slot> =
            incoming.iter().flat_map(|incoming| slots_of_pdu(room, &incoming.pdu)).collect();
        let keys: Vec<(&str, &str)> = names.iter().map(|(kind, key)| (kind.as_str(), key.as_str())).collect();
        let slots = rooms.inner.store.find_slots(&keys).await?;
        let filled: Vec<_> = slots
            .into_iter()
            .filter_map(|(name, slot)| {
                let event = if slot == join_slot { self.join.nid } else { *self.state.get(&slot)? };
                Some((name, event))
            })
            .collect();
        let pdus = rooms.inner.pdus.find(room, filled.iter().map(|(_, event)| *event)).await?;
        let named = filled.into_iter().filter_map(|((kind, key), event)| {
            Some(((kind.to_string(), key.to_string()), (event, pdus.get(&event)?.clone())))
        });
        Ok(named.collect())
    }
}

impl Batch<'_> {
    /// Judges an event of the room as if it had come now.
    async fn judge_again(
        &mut self,
        event: &EventRecord,
        incoming: &Incoming,
    ) -> Result<RejudgedEvent, WriteError> {
        // What another server has told of the state before an event was whole.
        let before = match self.state_before(incoming).await? {
            Before::Group(group) => group,
            Before::Unknown(_) => event.state_before.ok_or_else(|| inconsistent(event))?,
        };
        let mut outcome = self.judge(&incoming.pdu, before).await?;
        if outcome == PduOutcome::Accepted
            && event.outcome == Outcome::SoftFailed
            && !matches!(self.approval_of(&incoming.pdu, &Refusals::default()), Approval::Given)
        {
            // It was asked about when the event came.
            outcome = PduOutcome::SoftFailed("not signed by the policy server of the room".to_owned());
        }
        self.push_received(incoming, Some(event.nid), before, &outcome).await?;
        let written = self.work.events.pop().ok_or_else(|| inconsistent(event))?;
        Ok(RejudgedEvent {
            nid: event.nid,
            state_before: written.record.state_before,
            state_after: written.state_after,
            outcome: written.record.outcome,
            reason: written.reason,
            replaces: written.record.replaces,
        })
    }

    /// What is to be written once all events are judged.
    async fn finish(
        mut self,
        replay: &Replay<'_>,
        rejudged: Vec<RejudgedEvent>,
    ) -> Result<AppendUnit, WriteError> {
        let mut ends: Vec<(EventNid, StateGroupNid)> =
            self.work.extremities.iter().map(|end| (end.nid, end.state)).collect();
        ends.sort_unstable();
        let states: BTreeSet<StateGroupNid> = ends.iter().map(|(_, state)| *state).collect();
        let state_group = match self.resolve(states).await {
            Ok(group) => group,
            Err(ResolveError::Storage(error)) => return Err(WriteError::Storage(error)),
            Err(error) => return Err(WriteError::Forbidden(error.to_string())),
        };
        let groups = &self.rooms.inner.groups;
        let old = groups.chain(replay.head.state_group, &self.work.state_groups).await?;
        let new = groups.chain(state_group, &self.work.state_groups).await?;
        let changed = old.changes_to(&new);
        let memberships = self.memberships_of(&changed).await?;
        Ok(AppendUnit {
            room: self.room.nid,
            expected_version: self.version,
            create: None,
            head: NewHead {
                state_group,
                forward_extremities: ends.iter().map(|(nid, _)| *nid).collect(),
                depth: replay.head.depth,
            },
            events: Vec::new(),
            state_groups: self.work.state_groups,
            state_changes: changed.iter().map(|change| (change.slot, change.after)).collect(),
            memberships: memberships.into_values().collect(),
            corrections: Vec::new(),
            replaces_room: true,
            former_outliers: Vec::new(),
            found: Vec::new(),
            completeness: Some(Completeness::Whole),
            rejudged,
        })
    }
}

fn inconsistent(event: &EventRecord) -> WriteError {
    hs_storage::StorageError::Inconsistent {
        table: "events",
        column: "state_before",
        row: event.nid.0.to_string(),
    }
    .into()
}
