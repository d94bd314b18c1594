//! From intents to events: picks the auth events, builds and signs, checks the rules, and notes what is stored beside.

mod checks;
mod forks;
mod notice;
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
    records::{EventRecord, Outcome, TransactionRef},
    stream::Position,
};
use hs_room_rules::{
    auth,
    build::{BuildError, EventTemplate, LegacyParts, build_parsed, legacy_event_id},
    canonical_json::{Object, ParseOptions},
    client_content,
    event_id::reference_hash,
    pdu::{MAX_PREV_EVENTS, Pdu},
    policy::PolicyServer,
    room_version::RoomVersionRulesExt as _,
};
use hs_storage::{
    StorageError,
    append::{
        AppendUnit, MembershipChange, NewEvent, NewHead, NewRoom, NewStateGroup, Relation, StateCorrection,
    },
    graph::{Forerunners, GraphNode},
};
use rand::RngExt as _;
use ruma::{EventId, OwnedEventId, OwnedRoomId, RoomId, UserId};

use self::{partial::Entrance, slots::slots_of_request};
use crate::{
    Intent, Room, Rooms, WriteRequest,
    intent::Sender,
    receive::Incoming,
    relation::relation_of,
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

/// What an event refers to.
struct Links {
    redacts: Option<EventNid>,
    relation: Option<Relation>,
    transaction: Option<TransactionRef>,
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
        self.work.events.is_empty()
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

    async fn add_intent(
        &mut self,
        sender: &Sender,
        intent: &Intent,
        transaction: Option<TransactionRef>,
    ) -> Result<Built, WriteError> {
        if intent.event_type == "m.room.create" && (self.version > 0 || !self.work.events.is_empty()) {
            return Err(WriteError::Forbidden("A room has only one create event".to_owned()));
        }
        if self.is_partial && intent.event_type == "m.room.member" {
            let member = intent.state_key.as_deref().unwrap_or_default();
            if self.state("m.room.member", member).is_none() {
                // What somebody becomes is decided by what they are, which is not known yet.
                return Err(WriteError::Busy);
            }
        }
        let pdu = self.build(sender, intent)?;
        self.check_expected(intent)?;
        let existing = if self.purpose == Purpose::Show { None } else { self.find_equal(&pdu).await? };
        // Whoever has left may leave: the rules see no way from one to the other, and nothing has to be done.
        if let (Some(event_id), "m.room.member") = (&existing, pdu.type_str()) {
            return Ok(Built::Existing(event_id.clone()));
        }
        auth::check_dependent(&pdu, |event_type, state_key| self.state(event_type, state_key).cloned())
            .map_err(|error| WriteError::Forbidden(error.0))?;
        if let Some(event_id) = existing {
            return Ok(Built::Existing(event_id));
        }
        let redacts = self.redaction_target(&pdu).await?;
        let relation = relation_of(pdu.content_str());
        if let Some(relation) = &relation {
            self.check_relation(&pdu, sender.nid, relation).await?;
        }
        self.check_approval(&pdu)?;
        self.push(sender, pdu, Links { redacts, relation, transaction }).await
    }

    fn build(&self, sender: &Sender, intent: &Intent) -> Result<Pdu, WriteError> {
        let options = &self.rooms.inner.options;
        let rules = self.room.rules;
        let state_key = intent.state_key.as_deref();
        let content =
            Object::parse(&intent.content, ParseOptions::client(rules)).map_err(BuildError::Content)?;
        client_content::check(&intent.event_type, state_key, &content)?;
        let keys = auth::auth_types(&intent.event_type, &sender.user_id, state_key, &intent.content, rules)
            .map_err(|error| WriteError::Forbidden(error.0))?;
        let auth_pdus: Vec<_> =
            keys.iter().filter_map(|(event_type, key)| self.state(event_type, key)).collect();
        let is_first_of_hashed_room =
            rules.room_id_is_create_hash() && self.work.events.is_empty() && self.version == 0;
        let template = EventTemplate {
            room_id: (!is_first_of_hashed_room).then_some(&*self.room_id),
            sender: &sender.user_id,
            event_type: &intent.event_type,
            state_key,
            content: &intent.content,
            redacts: intent.redacts.as_deref(),
            origin_server_ts: intent.origin_server_ts.unwrap_or_else(|| self.rooms.inner.clock.now_ms()),
            prev_events: self.predecessors().iter().map(|e| e.event_id.clone()).collect(),
            auth_events: auth_pdus.iter().map(|pdu| pdu.event_id().to_owned()).collect(),
            depth: self.work.depth + 1,
            sticky_ms: intent.sticky_ms,
            legacy: (!rules.event_id_is_hash()).then(|| self.legacy_parts(&auth_pdus)).flatten(),
        };
        Ok(build_parsed(template, content, rules, &options.server_name, &self.rooms.inner.key)?)
    }

    /// The ends of the graph that the next event follows: as many as an event may name, the newest.
    fn predecessors(&self) -> &[Extremity] {
        let ends = &self.work.extremities;
        &ends[ends.len().saturating_sub(MAX_PREV_EVENTS)..]
    }

    /// What events of room versions 1 and 2 need beside.
    fn legacy_parts(&self, auth_pdus: &[&Arc<Pdu>]) -> Option<LegacyParts> {
        let name: String =
            rand::rng().sample_iter(rand::distr::Alphanumeric).take(24).map(char::from).collect();
        let hash = |json: &str| {
            let object = Object::parse(json, ParseOptions::federation(self.room.rules)).ok()?;
            Some(reference_hash(&object, self.room.rules))
        };
        let prev = self.work.events.last().map(|event| (event.record.event_id.clone(), &*event.record.json));
        let reference_hashes = auth_pdus
            .iter()
            .map(|pdu| (pdu.event_id().to_owned(), pdu.json()))
            .chain(prev)
            .filter_map(|(event_id, json)| Some((event_id, hash(json)?)))
            .collect();
        Some(LegacyParts {
            event_id: legacy_event_id(&name, &self.rooms.inner.options.server_name)?,
            reference_hashes,
        })
    }

    async fn push(
        &mut self,
        sender: &Sender,
        pdu: Pdu,
        Links { redacts, relation, transaction }: Links,
    ) -> Result<Built, WriteError> {
        let store = &self.rooms.inner.store;
        let nid = store.allocate_event_nids(1).await?.next().unwrap_or(EventNid(0));
        let type_nid = store.intern_type(pdu.type_str()).await?;
        let slot = match pdu.state_key() {
            Some(state_key) => Some(store.intern_slot(pdu.type_str(), state_key).await?),
            None => None,
        };
        let state_before = self.work.line.current();
        let state_after = match slot {
            Some(slot) => Some(self.set_state(slot, nid).await?),
            None => None,
        };
        if let Some(change) = self.membership_change(&pdu, nid).await? {
            self.work.memberships.insert(change.user, change);
        }
        let event_id = pdu.event_id().to_owned();
        pdu.room_id().clone_into(&mut self.room_id);
        let replaces = slot.and_then(|slot| self.replaced(slot, &pdu));
        let record = EventRecord {
            nid,
            event_id: event_id.clone(),
            room: self.room.nid,
            sender_nid: sender.nid,
            sender: sender.user_id.clone(),
            event_type: pdu.type_str().into(),
            state_key: pdu.state_key().map(Into::into),
            slot,
            position: None,
            depth: pdu.depth(),
            origin_server_ts: pdu.origin_server_ts(),
            state_before: Some(state_before),
            outcome: Outcome::Accepted,
            redacted_by: None,
            redacts,
            replaces,
            transaction,
            notice: None,
            json: pdu.json().into(),
        };
        let auth: Vec<EventNid> = pdu.auth_events().iter().filter_map(|id| self.known_nid(id)).collect();
        self.work.events.push(NewEvent {
            type_nid,
            state_after,
            reason: None,
            prev: self.predecessors().iter().map(|e| e.nid).collect(),
            missing_prev: Vec::new(),
            auth: auth.clone(),
            relation,
            redacts_id: pdu.redacts().map(ToOwned::to_owned).filter(|_| redacts.is_some()),
            record,
        });
        self.work.depth = pdu.depth();
        let state = state_after.unwrap_or(state_before);
        self.work.extremities.truncate(self.work.extremities.len().saturating_sub(MAX_PREV_EVENTS));
        self.work.extremities.push(Extremity { nid, event_id: event_id.clone(), state });
        let node = GraphNode {
            nid,
            room: self.room.nid,
            outcome: Outcome::Accepted,
            depth: pdu.depth(),
            // Any will do: it has one.
            position: Some(Position::START),
            state_before: Some(state_before),
            state_after,
            slot,
        };
        self.work.nodes.insert(event_id.clone(), node);
        if let (Some(state_key), Some(slot)) = (pdu.state_key(), slot) {
            let name = (pdu.type_str().to_owned(), state_key.to_owned());
            let pdu = Arc::new(pdu);
            self.work.naive.insert(slot, nid);
            self.work.pending.insert(nid, PendingEvent { pdu: pdu.clone(), auth });
            self.work.state.insert(name, Some((nid, pdu)));
        }
        Ok(Built::New(nid, event_id))
    }

    async fn set_state(&mut self, slot: SlotNid, event: EventNid) -> Result<StateGroupNid, WriteError> {
        let nid = self.rooms.inner.store.allocate_state_group_nid().await?;
        let group = self.work.line.push(nid, slot, event);
        self.work.state_groups.push(group);
        self.work.state_changes.insert(slot, event);
        Ok(nid)
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
