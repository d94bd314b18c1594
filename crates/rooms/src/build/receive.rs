//! Events of other servers in a batch: the state before them, the checks, and what they change.
//!
//! <https://spec.matrix.org/v1.19/server-server-api/#checks-performed-on-receipt-of-a-pdu>

use std::{
    collections::{BTreeSet, HashMap},
    sync::Arc,
};

use hs_model::{
    ids::{EventNid, StateGroupNid},
    records::{EventRecord, Outcome},
};
use hs_room_rules::{
    auth,
    pdu::Pdu,
    power_levels::PowerLevels,
    room_version::{RoomVersionRulesExt as _, create_event_id},
};
use hs_storage::{append::NewEvent, graph::GraphNode};
use ruma::{EventId, OwnedEventId, UserId};

use super::{Batch, policy::Approval};
use crate::{
    WriteError,
    policy::Refusals,
    receive::{Incoming, PduOutcome, short_reason},
    relation::relation_of,
    resolve::{Pending, PendingEvent, ResolveError},
    room::Extremity,
    state_line::EMPTY,
};

/// The state that an event builds on, or why that is not known.
pub(super) enum Before {
    Group(StateGroupNid),
    Unknown(PduOutcome),
}

/// A look-up of state events by type and state key.
type Slots = HashMap<(Arc<str>, Arc<str>), Arc<Pdu>>;

impl Batch<'_> {
    /// Takes an event of another server into the batch. `None` when the room's policy server has to be asked first.
    pub(crate) async fn receive(
        &mut self,
        incoming: &Incoming,
        refusals: &Refusals,
    ) -> Result<Option<PduOutcome>, WriteError> {
        let pdu = &incoming.pdu;
        let dropped = |why: &str| Ok(Some(PduOutcome::Dropped(why.to_owned())));
        if self.version == 0 {
            return dropped("this server is not in the room");
        }
        if *pdu.room_id() != *self.room_id {
            return dropped("the event belongs to another room");
        }
        let known = self.work.nodes.get(pdu.event_id()).copied();
        if let Some(node) = known {
            if node.room != self.room.nid {
                return dropped("an event of this id is in another room");
            }
            if node.position.is_some() || node.outcome == Outcome::Rejected {
                // One that names it was written at the same moment.
                if self.is_past && self.forerunners.missed.contains(pdu.event_id()) {
                    self.work.found.push(pdu.event_id().to_owned());
                }
                return Ok(Some(PduOutcome::Known(node.outcome)));
            }
        }
        if pdu.type_str() == "m.room.create" && !(self.is_past && self.is_beginning(pdu)) {
            return dropped("the room has begun with another event");
        }
        let is_missing =
            |id: &&OwnedEventId| self.work.nodes.get(*id).is_none_or(|node| node.room != self.room.nid);
        let missing_auth: Vec<_> = pdu.auth_events().iter().filter(is_missing).cloned().collect();
        if !missing_auth.is_empty() {
            return Ok(Some(PduOutcome::MissingAuth(missing_auth)));
        }
        let before = match self.state_before(incoming).await? {
            Before::Group(group) => group,
            Before::Unknown(outcome) => return Ok(Some(outcome)),
        };
        let before = if self.is_partial { self.with_members_of(pdu, before).await? } else { before };
        let mut outcome = self.judge(pdu, before).await?;
        if let PduOutcome::Rejected(why) = &outcome
            && (incoming.state_before.is_some() || self.is_past)
            && self.refused_by_own_auth(pdu).await?.is_none()
        {
            // Somebody's word is not enough to refuse an event for good, and what is before one of the past may rest on it.
            return dropped(&format!("the state before it, as others tell it, does not allow it: {why}"));
        }
        if outcome == PduOutcome::Accepted {
            match self.approval_of(pdu, refusals) {
                Approval::Given => {}
                Approval::Refused(why) => outcome = PduOutcome::SoftFailed(why),
                Approval::Unknown => return Ok(None),
            }
        }
        self.push_received(incoming, known.map(|node| node.nid), before, &outcome).await?;
        Ok(Some(outcome))
    }

    pub(super) async fn state_before(&mut self, incoming: &Incoming) -> Result<Before, WriteError> {
        let mut groups = BTreeSet::new();
        let mut missing = Vec::new();
        for prev in incoming.pdu.prev_events() {
            match self.node_here(prev).and_then(GraphNode::state) {
                Some(group) => {
                    groups.insert(group);
                }
                None => missing.push(prev.clone()),
            }
        }
        if let Some(ids) = &incoming.state_before {
            match self.told_state(ids).await? {
                // Of the present, a server is not believed that what is known here to come before has been undone.
                Before::Group(told) if !self.is_past => drop(groups.insert(told)),
                told => return Ok(told),
            }
        } else if !missing.is_empty() {
            return Ok(match self.state_before_entrance(incoming.pdu.prev_events()) {
                Some(group) => Before::Group(group),
                None => Before::Unknown(PduOutcome::MissingPrev(missing)),
            });
        }
        match self.resolve(groups).await {
            Ok(group) => Ok(Before::Group(group)),
            Err(ResolveError::Storage(error)) => Err(WriteError::Storage(error)),
            Err(error) => {
                let why = format!("the state before the event can not be resolved: {error}");
                Ok(Before::Unknown(PduOutcome::Dropped(why)))
            }
        }
    }

    /// Whether an event is the one that the room has begun with, as is known here.
    fn is_beginning(&self, pdu: &Pdu) -> bool {
        self.state("m.room.create", "").is_some_and(|create| create.event_id() == pdu.event_id())
    }

    /// An event of this room.
    pub(super) fn node_here(&self, id: &EventId) -> Option<&GraphNode> {
        self.work.nodes.get(id).filter(|node| node.room == self.room.nid)
    }

    /// A group with a state that another server has told.
    async fn told_state(&mut self, ids: &[OwnedEventId]) -> Result<Before, WriteError> {
        let mut told = HashMap::with_capacity(ids.len());
        for id in ids {
            match self.node_here(id) {
                Some(node) if node.outcome == Outcome::Rejected => {}
                Some(GraphNode { slot: Some(slot), nid, .. }) => {
                    told.insert(*slot, *nid);
                }
                Some(_) => {
                    return Ok(Before::Unknown(PduOutcome::Dropped(format!("{id} is not a state event"))));
                }
                None => return Ok(Before::Unknown(PduOutcome::MissingPrev(vec![id.clone()]))),
            }
        }
        let base = self.rooms.inner.groups.chain(self.work.line.current(), &self.work.state_groups).await?;
        let current = base.entries();
        let filled = told.iter().filter(|(slot, event)| current.get(slot) != Some(event));
        let mut changes: Vec<_> = filled.map(|(slot, event)| (*slot, Some(*event))).collect();
        changes.extend(current.keys().filter(|slot| !told.contains_key(slot)).map(|slot| (*slot, None)));
        if changes.is_empty() {
            return Ok(Before::Group(base.tip()));
        }
        changes.sort_unstable_by_key(|(slot, _)| *slot);
        let nid = self.rooms.inner.store.allocate_state_group_nid().await?;
        let group = base.to_line().push_changes(nid, &changes);
        self.work.state_groups.push(group);
        Ok(Before::Group(nid))
    }

    fn pending(&self) -> Pending<'_> {
        Pending { groups: &self.work.state_groups, events: &self.work.pending }
    }

    /// The group that holds the resolution of some states.
    pub(super) async fn resolve(
        &mut self,
        groups: BTreeSet<StateGroupNid>,
    ) -> Result<StateGroupNid, ResolveError> {
        let groups: Vec<StateGroupNid> = groups.into_iter().collect();
        let [first, _, ..] = groups[..] else { return Ok(groups.first().copied().unwrap_or(EMPTY)) };
        debug_assert!(first >= EMPTY, "groups have numbers");
        if let Some(known) = self.work.resolutions.get(&groups) {
            return Ok(*known);
        }
        if let Some(known) = self.rooms.inner.resolutions.get(&groups) {
            return Ok(known);
        }
        let resolved = self.rooms.resolve_groups(self.room, &groups, self.pending()).await?;
        let group = if let Some(group) = resolved.group() {
            group
        } else {
            let nid = self.rooms.inner.store.allocate_state_group_nid().await?;
            self.work.state_groups.extend(resolved.into_line(nid).1);
            nid
        };
        self.work.resolutions.insert(groups, group);
        Ok(group)
    }

    /// Checks 4 to 6: against the event's own auth events, the state before it, and the current state.
    pub(super) async fn judge(
        &self,
        pdu: &Arc<Pdu>,
        before: StateGroupNid,
    ) -> Result<PduOutcome, WriteError> {
        let rejected = |error: auth::AuthError| Ok(PduOutcome::Rejected(error.0));
        let own = self.auth_events(pdu).await?;
        if let Err(error) = check_by_own_auth(pdu, &own) {
            return rejected(error);
        }
        let by_slot: HashMap<(&str, &str), &Arc<Pdu>> =
            own.iter().filter_map(|event| Some(((event.type_str(), event.state_key()?), event))).collect();
        let is_current = before == self.work.line.current() && !self.is_past;
        let known = |t: &str, k: &str| {
            let is_unknown_member = || self.is_partial && t == "m.room.member";
            self.state(t, k).or_else(|| by_slot.get(&(t, k)).copied().filter(|_| is_unknown_member()))
        };
        let current = auth::check_dependent(pdu, |t, k| known(t, k).cloned());
        if is_current {
            return current.map_or_else(rejected, |()| Ok(PduOutcome::Accepted));
        }
        let state = self.slots_before(pdu, before).await?;
        let get = |t: &str, k: &str| state.get(&(Arc::from(t), Arc::from(k))).cloned();
        if let Err(error) = auth::check_dependent(pdu, get) {
            return rejected(error);
        }
        Ok(match current {
            Err(error) if !self.is_past => PduOutcome::SoftFailed(error.0),
            _ => PduOutcome::Accepted,
        })
    }

    /// Why the events do not allow an event that it names as its auth events, if they do not.
    async fn refused_by_own_auth(&self, pdu: &Arc<Pdu>) -> Result<Option<auth::AuthError>, WriteError> {
        let own = self.auth_events(pdu).await?;
        Ok(check_by_own_auth(pdu, &own).err())
    }

    /// The events that an event names as its auth events, and the create event, which it names by the room's id in later
    /// versions.
    pub(super) async fn auth_events(&self, pdu: &Pdu) -> Result<Vec<Arc<Pdu>>, WriteError> {
        let nids = pdu.auth_events().iter().filter_map(|id| Some(self.node_here(id)?.nid));
        let found = self.rooms.pdus_of(self.room, nids, self.pending()).await?;
        let mut events: Vec<Arc<Pdu>> = found.into_values().collect();
        if pdu.rules().room_id_is_create_hash() {
            let create_id = create_event_id(pdu.room_id());
            let create = self.state("m.room.create", "");
            events.extend(create.filter(|create| Some(create.event_id()) == create_id.as_deref()).cloned());
        }
        Ok(events)
    }

    /// What the rules look at of a state.
    async fn slots_before(&self, pdu: &Pdu, group: StateGroupNid) -> Result<Slots, WriteError> {
        let needed = super::slots::slots_of_pdu(self.room, pdu);
        let keys: Vec<(&str, &str)> = needed.iter().map(|(t, k)| (t.as_str(), k.as_str())).collect();
        let slots = self.rooms.inner.store.find_slots(&keys).await?;
        let chain = self.rooms.inner.groups.chain(group, &self.work.state_groups).await?;
        let wanted: Vec<_> =
            slots.into_iter().filter_map(|(key, slot)| Some((key, chain.get(slot)?))).collect();
        let pdus = self.rooms.pdus_of(self.room, wanted.iter().map(|(_, nid)| *nid), self.pending()).await?;
        Ok(wanted.into_iter().filter_map(|(key, nid)| Some((key, pdus.get(&nid)?.clone()))).collect())
    }

    pub(super) async fn push_received(
        &mut self,
        incoming: &Incoming,
        outlier: Option<EventNid>,
        before: StateGroupNid,
        judged: &PduOutcome,
    ) -> Result<(), WriteError> {
        let pdu = &incoming.pdu;
        let (outcome, reason) = match judged {
            PduOutcome::SoftFailed(why) => (Outcome::SoftFailed, Some(short_reason(why))),
            PduOutcome::Rejected(why) => (Outcome::Rejected, Some(short_reason(why))),
            _ => (Outcome::Accepted, None),
        };
        let store = &self.rooms.inner.store;
        let nid = match outlier {
            Some(nid) => nid,
            None => store.allocate_event_nids(1).await?.next().unwrap_or(EventNid(0)),
        };
        let sender_nid = store.intern_user(pdu.sender()).await?;
        let type_nid = store.intern_type(pdu.type_str()).await?;
        let slot = match pdu.state_key() {
            Some(state_key) => Some(store.intern_slot(pdu.type_str(), state_key).await?),
            None => None,
        };
        let auth: Vec<EventNid> =
            pdu.auth_events().iter().filter_map(|id| Some(self.node_here(id)?.nid)).collect();
        let state_after = match slot.filter(|_| outcome != Outcome::Rejected) {
            Some(slot) => {
                let group = store.allocate_state_group_nid().await?;
                let chain = self.rooms.inner.groups.chain(before, &self.work.state_groups).await?;
                let row = chain.to_line().push(group, slot, nid);
                self.work.state_groups.push(row);
                let event = PendingEvent { pdu: pdu.clone(), auth: auth.clone() };
                self.work.pending.insert(nid, event);
                Some(group)
            }
            None => None,
        };
        let is_accepted = outcome == Outcome::Accepted;
        let (redacts, redacted_by) =
            if is_accepted { self.received_redactions(pdu).await? } else { (None, None) };
        let replaces = match slot.filter(|_| is_accepted) {
            Some(slot) if self.is_past => {
                self.rooms.inner.groups.chain(before, &self.work.state_groups).await?.get(slot)
            }
            Some(slot) => self.replaced(slot, pdu),
            None => None,
        };
        let record = EventRecord {
            nid,
            event_id: pdu.event_id().to_owned(),
            room: self.room.nid,
            sender_nid,
            sender: pdu.sender().to_owned(),
            event_type: pdu.type_str().into(),
            state_key: pdu.state_key().map(Into::into),
            slot,
            position: None,
            depth: pdu.depth(),
            origin_server_ts: pdu.origin_server_ts(),
            state_before: Some(before),
            outcome,
            redacted_by,
            redacts,
            replaces,
            transaction: None,
            notice: None,
            json: pdu.json().into(),
        };
        let prev: Vec<EventNid> =
            pdu.prev_events().iter().filter_map(|id| Some(self.node_here(id)?.nid)).collect();
        let has_no_state =
            |id: &&OwnedEventId| self.node_here(id).is_none_or(|node| node.state_before.is_none());
        let missing_prev = pdu.prev_events().iter().filter(has_no_state).cloned().collect();
        let node = GraphNode {
            nid,
            room: self.room.nid,
            outcome,
            depth: pdu.depth(),
            // Any will do: it has one.
            position: Some(hs_model::stream::Position::START),
            state_before: Some(before),
            state_after,
            slot,
        };
        self.work.nodes.insert(pdu.event_id().to_owned(), node);
        self.work.former_outliers.extend(outlier);
        // An event that names one of the past may be written at this moment.
        if self.is_past || self.forerunners.missed.contains(pdu.event_id()) {
            self.work.found.push(pdu.event_id().to_owned());
        }
        self.work.events.push(NewEvent {
            type_nid,
            state_after,
            reason,
            prev: prev.clone(),
            missing_prev,
            auth,
            relation: relation_of(pdu.content_str()).filter(|_| is_accepted),
            redacts_id: pdu
                .redacts()
                .filter(|_| is_accepted && pdu.type_str() == "m.room.redaction")
                .map(ToOwned::to_owned),
            record,
        });
        if is_accepted && !self.is_past {
            self.note_accepted(pdu, &node).await?;
            // What others already name as their predecessor is no end of the graph. Events that were refused do not count: nobody
            // builds on them.
            if !self.forerunners.followed.contains(pdu.event_id()) {
                self.work.extremities.retain(|extremity| !prev.contains(&extremity.nid));
                let state = state_after.unwrap_or(before);
                self.work.extremities.push(Extremity { nid, event_id: pdu.event_id().to_owned(), state });
                self.work.depth = self.work.depth.max(pdu.depth());
            }
            self.settle_current_state(before, state_after).await?;
        }
        Ok(())
    }

    /// What an accepted event says by itself.
    async fn note_accepted(&mut self, pdu: &Pdu, node: &GraphNode) -> Result<(), WriteError> {
        let Some(slot) = node.slot else { return Ok(()) };
        self.work.naive.insert(slot, node.nid);
        self.work.state_changes.insert(slot, node.nid);
        if let Some(change) = self.membership_change(pdu, node.nid).await? {
            self.work.memberships.insert(change.user, change);
        }
        Ok(())
    }

    /// The current state after the ends of the graph have changed. `event_before` is the state before the newest event, and
    /// `after` that after it, if it changes the state.
    async fn settle_current_state(
        &mut self,
        event_before: StateGroupNid,
        after: Option<StateGroupNid>,
    ) -> Result<(), WriteError> {
        let states: BTreeSet<StateGroupNid> = self.work.extremities.iter().map(|e| e.state).collect();
        let resolved = match self.resolve(states).await {
            Ok(group) => group,
            Err(ResolveError::Storage(error)) => return Err(WriteError::Storage(error)),
            Err(error) => {
                // Nothing better is known than what held till now; the next event tries again.
                tracing::error!(%error, room_id = %self.room_id, "the current state can not be resolved");
                self.work.has_forked = true;
                return Ok(());
            }
        };
        let before = self.work.line.current();
        // Plain is what everybody who reads the events one after the other comes to as well.
        let is_plain = match after {
            Some(after) => event_before == before && resolved == after,
            None => resolved == before,
        };
        if !is_plain {
            self.work.has_forked = true;
        }
        if resolved == before {
            return Ok(());
        }
        let groups = &self.rooms.inner.groups;
        let old = groups.chain(before, &self.work.state_groups).await?;
        let new = groups.chain(resolved, &self.work.state_groups).await?;
        let changes = old.changes_to(&new);
        let slots: Vec<_> = changes.iter().map(|change| change.slot).collect();
        let names = self.rooms.inner.store.slot_names(&slots).await?;
        let nids = changes.iter().filter_map(|change| change.after);
        let pdus = self.rooms.pdus_of(self.room, nids, self.pending()).await?;
        for change in changes {
            let Some((event_type, state_key)) = names.get(&change.slot) else { continue };
            let entry = change.after.and_then(|nid| Some((nid, pdus.get(&nid)?.clone())));
            self.work.state.insert((event_type.to_string(), state_key.to_string()), entry);
        }
        self.work.line = new.to_line();
        Ok(())
    }

    /// The event that a redaction may redact, and the redaction that came before what it redacts.
    async fn received_redactions(
        &self,
        pdu: &Pdu,
    ) -> Result<(Option<EventNid>, Option<EventNid>), WriteError> {
        let mut redacts = None;
        if let Some(target) = pdu.redacts().filter(|_| pdu.type_str() == "m.room.redaction")
            && let Some(node) = self.node_here(target).copied()
        {
            let own = self.work.events.iter().find(|event| event.record.nid == node.nid);
            let sender = if let Some(event) = own {
                Some(event.record.sender.clone())
            } else {
                let events = self.rooms.inner.store.find_events(&[node.nid]).await?;
                events.get(&node.nid).map(|event| event.sender.clone())
            };
            redacts = sender.filter(|sender| self.may_redact(pdu.sender(), sender)).map(|_| node.nid);
        }
        let mut redacted_by = None;
        let earlier: Vec<EventNid> = self
            .forerunners
            .redactions
            .iter()
            .filter(|row| row.target == pdu.event_id())
            .map(|row| row.redaction)
            .collect();
        if !earlier.is_empty() {
            let redactions = self.rooms.inner.store.list_events(&earlier).await?;
            let valid = redactions.iter().find(|redaction| self.may_redact(&redaction.sender, pdu.sender()));
            redacted_by = valid.map(|redaction| redaction.nid);
        }
        Ok((redacts, redacted_by))
    }

    /// Whether a redaction is applied: its sender has the power, or is of the server of the event's sender.
    ///
    /// <https://spec.matrix.org/v1.19/rooms/v3/#handling-redactions>
    fn may_redact(&self, sender: &UserId, of: &UserId) -> bool {
        if sender.server_name() == of.server_name() {
            return true;
        }
        let Some(create) = self.state("m.room.create", "") else { return false };
        let power_levels = self.state("m.room.power_levels", "").map(|pdu| &**pdu);
        PowerLevels::new(create, power_levels)
            .is_ok_and(|levels| levels.user(sender).reaches(levels.redact()))
    }
}

/// Check 4: against the events that an event names as its auth events.
fn check_by_own_auth(pdu: &Arc<Pdu>, own: &[Arc<Pdu>]) -> Result<(), auth::AuthError> {
    let by_id: HashMap<&EventId, &Arc<Pdu>> = own.iter().map(|event| (event.event_id(), event)).collect();
    auth::check_independent(pdu, |id| by_id.get(id).map(|event| (*event).clone()))?;
    auth::check_dependent(pdu, |t, k| own.iter().find(|event| event.is_state_of(t, k)).cloned())
}
