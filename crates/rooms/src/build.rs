//! From intents to events: picks the auth events, builds and signs, checks the rules, and notes what is stored beside.

mod checks;
mod forks;
mod notice;
mod own;
mod partial;
mod policy;
mod receive;
pub(crate) mod replay;
mod slots;

use std::{
    collections::{HashMap, HashSet},
    sync::Arc,
};

use hs_model::{
    ids::{EventNid, SlotNid, StateGroupNid, UserNid},
    membership::Membership,
    records::TransactionRef,
};
use hs_room_rules::{pdu::Pdu, policy::PolicyServer};
use hs_storage::{
    StorageError,
    append::{AppendUnit, MembershipChange, NewEvent, NewHead, NewRoom, NewStateGroup, StateCorrection},
    graph::{Forerunners, GraphNode},
};
use ruma::{EventId, OwnedEventId, OwnedRoomId, RoomId, UserId};

use self::{partial::Entrance, slots::slots_of_request};
use crate::{
    Room, Rooms, WriteRequest,
    receive::Incoming,
    resolve::PendingEvent,
    room::{Extremity, Head},
    state_line::StateLine,
    write::WriteError,
};

/// An intent of a batch, once built.
#[derive(Clone, Debug)]
pub(crate) enum Built {
    New(EventNid, OwnedEventId),
    Existing(OwnedEventId),
}

/// A state slot's name.
type Slot = (String, String);

/// Something that is to be written.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Request<'a> {
    /// Events of our own.
    Write(&'a WriteRequest),
    /// Events of other servers.
    Receive(&'a [Incoming]),
}

/// What a batch is for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Purpose {
    /// It is written.
    Append,
    /// It only shows what an event would look like: then it may say what holds already.
    Show,
    /// Its events are signed by somebody else, and then written.
    Sign,
}

/// Events for one room that are written together, each built on the one before.
pub(crate) struct Batch<'a> {
    rooms: &'a Rooms,
    room: &'a Room,
    /// The room's id; that of a room named by its create event is known once that is built.
    room_id: OwnedRoomId,
    version: i64,
    /// The group of the state that the batch begins with.
    initial: StateGroupNid,
    /// The state that the batch begins with, as far as its requests need it.
    base: HashMap<Slot, (EventNid, Arc<Pdu>)>,
    /// What those before them have to do with the received events.
    forerunners: Forerunners,
    /// Whether the events belong to the room's past: then they change nothing about the present.
    is_past: bool,
    /// What the batch is for.
    purpose: Purpose,
    /// Whether most of the room's members are not known yet.
    is_partial: bool,
    /// By what this server came into the room, where what came before that is not known.
    entrance: Option<Entrance>,
    work: Work,
}

/// What the batch has done so far. Cloned before a request that may fail half-way.
#[derive(Clone)]
struct Work {
    line: StateLine,
    extremities: Vec<Extremity>,
    depth: i64,
    /// State set by the batch; `None` where resolution has emptied a slot.
    state: HashMap<Slot, Option<(EventNid, Arc<Pdu>)>>,
    events: Vec<NewEvent>,
    state_groups: Vec<NewStateGroup>,
    state_changes: HashMap<SlotNid, EventNid>,
    memberships: HashMap<UserNid, MembershipChange>,
    /// The newest event of the batch for each slot, whatever resolution makes of it.
    naive: HashMap<SlotNid, EventNid>,
    /// Whether the current state is not simply what the events say, one after the other.
    has_forked: bool,
    /// Where the events that received ones refer to stand.
    nodes: HashMap<OwnedEventId, GraphNode>,
    /// State events of the batch.
    pending: HashMap<EventNid, PendingEvent>,
    resolutions: HashMap<Vec<StateGroupNid>, StateGroupNid>,
    former_outliers: Vec<EventNid>,
    found: Vec<OwnedEventId>,
    corrections: Vec<StateCorrection>,
    /// Who has to sign which events before they can be written.
    to_sign: Vec<(OwnedEventId, PolicyServer)>,
    /// Set once by `settle`, when the batch has forked.
    final_changes: Option<Vec<(SlotNid, Option<EventNid>)>>,
}

impl<'a> Batch<'a> {
    /// Reads what the requests need. `None` when the room has moved on while it was read.
    pub(crate) async fn prepare(
        rooms: &'a Rooms,
        room: &'a Room,
        requests: impl Iterator<Item = Request<'_>> + Clone,
    ) -> Result<Option<Batch<'a>>, WriteError> {
        let (head, slots, missing) = {
            let state = room.read();
            let Some(head) = state.head.clone() else { return Ok(None) };
            let mut slots = HashMap::new();
            for request in requests.clone() {
                for slot in slots_of_request(room, request) {
                    if let Some(nid) = state.state_event(&slot.0, &slot.1) {
                        slots.insert(slot, nid);
                    }
                }
            }
            (head, slots, state.missing_since())
        };
        let pdus = rooms.inner.pdus.find(room, slots.values().copied()).await?;
        let base = slots
            .into_iter()
            .filter_map(|(slot, nid)| Some((slot, (nid, pdus.get(&nid)?.clone()))))
            .collect();
        let mut batch = Self::new(rooms, room, head, base);
        let incoming = requests.filter_map(|request| match request {
            Request::Receive(events) => Some(events),
            Request::Write(_) => None,
        });
        let incoming: Vec<_> = incoming.flatten().collect();
        if let Some(join) = missing {
            batch.is_partial = true;
            if !incoming.is_empty() {
                batch.find_entrance(join).await?;
            }
        }
        batch.find_places(&incoming).await?;
        Ok(Some(batch))
    }

    /// A batch for a request that is not written as it is.
    pub(crate) async fn prepare_draft(
        rooms: &'a Rooms,
        room: &'a Room,
        request: &WriteRequest,
        purpose: Purpose,
    ) -> Result<Option<Batch<'a>>, WriteError> {
        let batch = Self::prepare(rooms, room, std::iter::once(Request::Write(request))).await?;
        Ok(batch.map(|batch| Self { purpose, ..batch }))
    }

    /// Reads where received events, and those they refer to, stand.
    async fn find_places(&mut self, incoming: &[&Incoming]) -> Result<(), WriteError> {
        if incoming.is_empty() {
            return Ok(());
        }
        let mut ids: HashSet<&EventId> = HashSet::new();
        for Incoming { pdu, state_before } in incoming {
            ids.insert(pdu.event_id());
            ids.extend(pdu.prev_events().iter().chain(pdu.auth_events()).map(AsRef::<EventId>::as_ref));
            ids.extend(pdu.redacts());
            ids.extend(state_before.iter().flatten().map(AsRef::<EventId>::as_ref));
        }
        let ids: Vec<&EventId> = ids.into_iter().collect();
        let own: Vec<&EventId> = incoming.iter().map(|incoming| incoming.pdu.event_id()).collect();
        let mut reader = self.rooms.inner.store.reader().await?;
        self.work.nodes = reader.find_graph_nodes(&ids).await?;
        self.forerunners = reader.find_forerunners(self.room.nid, &own).await?;
        Ok(())
    }

    /// A batch for a room that does not exist yet.
    pub(crate) fn for_new_room(rooms: &'a Rooms, room: &'a Room) -> Self {
        let head = Head { version: 0, line: StateLine::default(), extremities: Vec::new(), depth: 0 };
        Self::new(rooms, room, head, HashMap::new())
    }

    fn new(rooms: &'a Rooms, room: &'a Room, head: Head, base: HashMap<Slot, (EventNid, Arc<Pdu>)>) -> Self {
        let initial = head.line.current();
        let work = Work {
            line: head.line,
            extremities: head.extremities,
            depth: head.depth,
            state: HashMap::new(),
            events: Vec::new(),
            state_groups: Vec::new(),
            state_changes: HashMap::new(),
            memberships: HashMap::new(),
            naive: HashMap::new(),
            has_forked: false,
            nodes: HashMap::new(),
            pending: HashMap::new(),
            resolutions: HashMap::new(),
            former_outliers: Vec::new(),
            found: Vec::new(),
            corrections: Vec::new(),
            to_sign: Vec::new(),
            final_changes: None,
        };
        Self {
            rooms,
            room,
            room_id: room.room_id.clone(),
            version: head.version,
            initial,
            base,
            forerunners: Forerunners::default(),
            is_past: false,
            purpose: Purpose::Append,
            is_partial: false,
            entrance: None,
            work,
        }
    }

    /// From here on, events are taken into the room's past.
    pub(crate) fn go_back(&mut self) {
        self.is_past = true;
    }

    /// The version of the room that the batch is built on.
    pub(crate) fn version(&self) -> i64 {
        self.version
    }

    /// Builds a request's events, or leaves the batch as it was.
    pub(crate) async fn add(&mut self, request: &WriteRequest) -> Result<Vec<Built>, WriteError> {
        let checkpoint = (request.intents.len() > 1).then(|| self.work.clone());
        let mut built = Vec::with_capacity(request.intents.len());
        for (i, intent) in request.intents.iter().enumerate() {
            let transaction = request.transaction.clone().filter(|_| i == 0);
            match self.add_intent(&request.sender, intent, transaction).await {
                Ok(event) => built.push(event),
                Err(error) => {
                    if let Some(checkpoint) = checkpoint {
                        self.work = checkpoint;
                    }
                    return Err(error);
                }
            }
        }
        Ok(built)
    }

    /// The id of the room.
    pub(crate) fn room_id(&self) -> &RoomId {
        &self.room_id
    }

    /// Whether nothing has to be written.
    pub(crate) fn is_empty(&self) -> bool {
        self.work.events.is_empty() && (!self.is_past || self.work.found.is_empty())
    }

    /// What is to be written.
    pub(crate) fn into_unit(self) -> AppendUnit {
        let work = self.work;
        AppendUnit {
            room: self.room.nid,
            expected_version: self.version,
            create: None,
            head: NewHead {
                state_group: work.line.current(),
                forward_extremities: work.extremities.iter().map(|e| e.nid).collect(),
                depth: work.depth,
            },
            events: work.events,
            state_groups: work.state_groups,
            state_changes: work.final_changes.unwrap_or_else(|| {
                work.state_changes.into_iter().map(|(slot, event)| (slot, Some(event))).collect()
            }),
            memberships: work.memberships.into_values().collect(),
            corrections: work.corrections,
            replaces_room: false,
            former_outliers: work.former_outliers,
            found: work.found,
            completeness: None,
            rejudged: Vec::new(),
        }
    }

    /// The newest event of the batch; `None` when there is none since everything was so already.
    pub(crate) fn into_last_pdu(self) -> Option<Pdu> {
        let event = self.work.events.last()?;
        crate::pdus::parse(self.room, &event.record).ok()
    }

    /// The events of the batch.
    pub(crate) fn pdus(&self) -> Result<Vec<Pdu>, StorageError> {
        self.work.events.iter().map(|event| crate::pdus::parse(self.room, &event.record)).collect()
    }

    /// The newest event of the batch is what a client's request was for.
    pub(crate) fn note_transaction(&mut self, transaction: &TransactionRef) {
        if let Some(event) = self.work.events.last_mut() {
            event.record.transaction = Some(transaction.clone());
        }
    }

    /// The ends of the graph after the batch.
    pub(crate) fn extremities(&self) -> &[Extremity] {
        &self.work.extremities
    }

    /// What the batch has resolved, to be remembered once it is written.
    pub(crate) fn resolutions(&self) -> HashMap<Vec<StateGroupNid>, StateGroupNid> {
        self.work.resolutions.clone()
    }

    /// What is to be written for a room that begins with it.
    pub(crate) fn into_new_room(self, create: impl FnOnce(OwnedRoomId) -> NewRoom) -> AppendUnit {
        let create = create(self.room_id.clone());
        AppendUnit { create: Some(create), ..self.into_unit() }
    }

    async fn membership_change(
        &self,
        pdu: &Pdu,
        event: EventNid,
    ) -> Result<Option<MembershipChange>, WriteError> {
        let (Ok(membership), Some(state_key)) = (pdu.membership(), pdu.state_key()) else { return Ok(None) };
        let Some(membership) = Membership::parse(membership.as_str()) else { return Ok(None) };
        let Ok(user_id) = <&UserId>::try_from(state_key) else { return Ok(None) };
        let user = self.rooms.inner.store.intern_user(user_id).await?;
        Ok(Some(MembershipChange { user, membership, event }))
    }

    fn state(&self, event_type: &str, state_key: &str) -> Option<&Arc<Pdu>> {
        self.state_entry(event_type, state_key).map(|(_, pdu)| pdu)
    }

    fn state_entry(&self, event_type: &str, state_key: &str) -> Option<&(EventNid, Arc<Pdu>)> {
        // Two owned strings for each look-up: cheap beside a signature, and the map stays a plain one.
        let slot = (event_type.to_owned(), state_key.to_owned());
        match self.work.state.get(&slot) {
            Some(set) => set.as_ref(),
            None => self.base.get(&slot),
        }
    }

    /// The event that filled a slot before, going by the events alone.
    fn replaced(&self, slot: SlotNid, pdu: &Pdu) -> Option<EventNid> {
        let before_batch = || {
            let name = (pdu.type_str().to_owned(), pdu.state_key()?.to_owned());
            self.base.get(&name).map(|(nid, _)| *nid)
        };
        self.work.naive.get(&slot).copied().or_else(before_batch)
    }

    /// The number of an event that authorises one of the batch.
    fn known_nid(&self, event_id: &EventId) -> Option<EventNid> {
        let known = self.work.state.values().flatten().chain(self.base.values());
        known.into_iter().find(|(_, pdu)| pdu.event_id() == event_id).map(|(nid, _)| *nid)
    }
}
