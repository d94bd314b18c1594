//! Events of our own users in a batch: built, checked, and what they change.

use std::sync::Arc;

use hs_model::{
    ids::{EventNid, SlotNid, StateGroupNid},
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
    room_version::RoomVersionRulesExt as _,
};
use hs_storage::{
    append::{NewEvent, Relation},
    graph::GraphNode,
};
use rand::RngExt as _;

use super::{Batch, Built, Purpose};
use crate::{
    Intent, intent::Sender, relation::relation_of, resolve::PendingEvent, room::Extremity, write::WriteError,
};

/// What an event refers to.
struct Links {
    redacts: Option<EventNid>,
    relation: Option<Relation>,
    transaction: Option<TransactionRef>,
}

impl Batch<'_> {
    pub(super) async fn add_intent(
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
}
