//! Events of other servers that have no place in the timeline: the state of a room as another server tells it, and what
//! authorises events.

use std::{
    collections::{HashMap, HashSet},
    sync::Arc,
};

use hs_model::{
    ids::{EventNid, SlotNid},
    records::Outcome,
};
use hs_room_rules::{
    auth,
    pdu::Pdu,
    room_version::{RoomVersionRulesExt as _, create_event_id},
};
use hs_storage::{
    StorageError,
    graph::{AuthEdges, GraphNode, NewOutlier},
};
use ruma::{EventId, OwnedEventId, UserId};

use crate::{Room, Rooms, receive::short_reason, visibility::note_visibilities};

/// How many events one statement stores.
const CHUNK: usize = 1_000;
/// From how many events on checking them is left to a thread of its own.
const MANY: usize = 100;

/// A stored state event.
#[derive(Clone, Copy, Debug)]
pub(crate) struct StoredState {
    pub(crate) nid: EventNid,
    pub(crate) slot: Option<SlotNid>,
    pub(crate) outcome: Outcome,
}

/// Events in an order in which each comes after those that authorise it, with what the rules say to it.
type Judged = Vec<(Arc<Pdu>, Option<String>)>;

impl Rooms {
    /// Stores events without a place in the timeline. Those that break the rules are stored as rejected; those whose own
    /// auth events are neither here nor among them are not stored. Signatures must be checked.
    pub async fn store_outliers(&self, room: &Room, pdus: &[Arc<Pdu>]) -> Result<(), StorageError> {
        self.keep_outliers(room, pdus).await.map(drop)
    }

    /// The same; returns where the events are, those included that were stored before.
    pub(crate) async fn keep_outliers(
        &self,
        room: &Room,
        pdus: &[Arc<Pdu>],
    ) -> Result<HashMap<OwnedEventId, StoredState>, StorageError> {
        let is_ours = |pdu: &&Arc<Pdu>| *pdu.room_id() == *room.room_id;
        let given: HashMap<OwnedEventId, Arc<Pdu>> =
            pdus.iter().filter(is_ours).map(|pdu| (pdu.event_id().to_owned(), pdu.clone())).collect();
        let known = self.places(room, given.values()).await?;
        let new: HashMap<OwnedEventId, Arc<Pdu>> = given
            .iter()
            .filter(|(id, _)| !known.contains_key(*id))
            .map(|(id, pdu)| (id.clone(), pdu.clone()))
            .collect();
        let stored = self.inner.pdus.find(room, known.values().map(|node| node.nid)).await?;
        let stored: HashMap<OwnedEventId, Arc<Pdu>> =
            stored.into_values().map(|pdu| (pdu.event_id().to_owned(), pdu)).collect();
        let judged = if new.len() > MANY {
            tokio::task::spawn_blocking(move || judge(new, stored)).await.map_err(|_| StorageError::Closed)?
        } else {
            judge(new, stored)
        };
        // An invitation that came before the room is stored without what authorises it.
        let lonely: Vec<Arc<Pdu>> = given
            .iter()
            .filter(|(id, _)| known.get(*id).is_some_and(|node| node.position.is_none()))
            .map(|(_, pdu)| pdu.clone())
            .collect();
        self.insert_outliers(room, judged, known, &lonely).await
    }

    /// Where events, and those that authorise them, are stored.
    async fn places(
        &self,
        room: &Room,
        pdus: impl Iterator<Item = &Arc<Pdu>>,
    ) -> Result<HashMap<OwnedEventId, GraphNode>, StorageError> {
        let mut ids: HashSet<&EventId> = HashSet::new();
        for pdu in pdus {
            ids.insert(pdu.event_id());
            ids.extend(pdu.auth_events().iter().map(AsRef::<EventId>::as_ref));
        }
        let create = room.rules.room_id_is_create_hash().then(|| create_event_id(&room.room_id)).flatten();
        ids.extend(create.as_deref());
        let ids: Vec<&EventId> = ids.into_iter().collect();
        let mut nodes = self.inner.store.reader().await?.find_graph_nodes(&ids).await?;
        nodes.retain(|_, node| node.room == room.nid);
        Ok(nodes)
    }

    async fn insert_outliers(
        &self,
        room: &Room,
        judged: Judged,
        known: HashMap<OwnedEventId, GraphNode>,
        lonely: &[Arc<Pdu>],
    ) -> Result<HashMap<OwnedEventId, StoredState>, StorageError> {
        let store = &self.inner.store;
        let senders: Vec<&UserId> = judged.iter().map(|(pdu, _)| pdu.sender()).collect();
        let senders = store.intern_users(&senders).await?;
        let slots: Vec<(&str, &str)> =
            judged.iter().filter_map(|(pdu, _)| Some((pdu.type_str(), pdu.state_key()?))).collect();
        let slots = store.intern_slots(&slots).await?;
        let mut types = HashMap::new();
        for (pdu, _) in &judged {
            if !types.contains_key(pdu.type_str()) {
                types.insert(pdu.type_str().to_owned(), store.intern_type(pdu.type_str()).await?);
            }
        }
        let mut nids = Vec::with_capacity(judged.len());
        for chunk in judged.chunks(CHUNK) {
            nids.extend(store.allocate_event_nids(chunk.len()).await?);
        }

        let mut txn = store.begin().await?;
        txn.lock_outliers(room.nid).await?;
        let ids: Vec<&EventId> = judged.iter().map(|(pdu, _)| pdu.event_id()).collect();
        // Somebody else may have stored some of them since we looked.
        let mut places: HashMap<OwnedEventId, StoredState> = known
            .into_iter()
            .chain(txn.find_graph_nodes(&ids).await?)
            .map(|(id, node)| (id, StoredState { nid: node.nid, slot: node.slot, outcome: node.outcome }))
            .collect();
        let mut outliers = Vec::with_capacity(judged.len());
        for ((pdu, why), nid) in judged.iter().zip(nids) {
            if places.contains_key(pdu.event_id()) {
                continue;
            }
            let slot = pdu
                .state_key()
                .and_then(|key| slots.get(&(Arc::from(pdu.type_str()), Arc::from(key))).copied());
            let outcome = if why.is_some() { Outcome::Rejected } else { Outcome::Accepted };
            let (Some(sender), Some(type_nid)) = (senders.get(pdu.sender()), types.get(pdu.type_str()))
            else {
                continue;
            };
            outliers.push(NewOutlier {
                nid,
                event_id: pdu.event_id().to_owned(),
                sender: *sender,
                type_nid: *type_nid,
                slot,
                depth: pdu.depth(),
                origin_server_ts: pdu.origin_server_ts(),
                outcome,
                reason: why.as_deref().map(short_reason),
                auth: pdu.auth_events().iter().filter_map(|id| Some(places.get(id)?.nid)).collect(),
                json: pdu.json().into(),
            });
            places.insert(pdu.event_id().to_owned(), StoredState { nid, slot, outcome });
        }
        let edges: Vec<AuthEdges> = lonely
            .iter()
            .filter_map(|pdu| {
                let auth = pdu.auth_events().iter().filter_map(|id| Some(places.get(id)?.nid)).collect();
                Some(AuthEdges { event: places.get(pdu.event_id())?.nid, auth })
            })
            .collect();
        if !edges.is_empty() {
            txn.set_auth_edges(&edges).await?;
        }
        for chunk in outliers.chunks(CHUNK) {
            txn.insert_outliers(room.nid, chunk).await?;
        }
        txn.commit().await?;
        note_visibilities(room, judged.iter().map(|(pdu, _)| pdu));
        Ok(places)
    }
}

/// Checks events against those that authorise them, in an order in which these come first. What refers to something that is
/// missing, or to itself in the end, is left out.
fn judge(mut new: HashMap<OwnedEventId, Arc<Pdu>>, stored: HashMap<OwnedEventId, Arc<Pdu>>) -> Judged {
    let mut known = stored;
    let mut judged = Vec::with_capacity(new.len());
    for id in in_order(&new) {
        let Some(pdu) = new.remove(&id) else { continue };
        if pdu.auth_events().iter().any(|auth| !known.contains_key(auth)) {
            continue;
        }
        let why = check(&pdu, &known).err().map(|error| error.0);
        known.insert(id, Arc::new(Pdu::clone(&pdu).with_rejected(why.is_some())));
        judged.push((pdu, why));
    }
    judged
}

fn check(pdu: &Arc<Pdu>, known: &HashMap<OwnedEventId, Arc<Pdu>>) -> Result<(), auth::AuthError> {
    auth::check_independent(pdu, |id| known.get(id).cloned())?;
    let create = pdu.rules().room_id_is_create_hash().then(|| create_event_id(pdu.room_id())).flatten();
    let named = pdu.auth_events().iter().chain(create.iter());
    let events: Vec<&Arc<Pdu>> = named.filter_map(|id| known.get(id)).collect();
    auth::check_dependent(pdu, |event_type, state_key| {
        events.iter().find(|event| event.is_state_of(event_type, state_key)).map(|event| (*event).clone())
    })
}

/// The events, each after those among them that authorise it.
fn in_order(events: &HashMap<OwnedEventId, Arc<Pdu>>) -> Vec<OwnedEventId> {
    let mut order = Vec::with_capacity(events.len());
    let mut entered: HashSet<&EventId> = HashSet::new();
    let mut left: HashSet<&EventId> = HashSet::new();
    for start in events.keys() {
        let mut stack = vec![(&**start, false)];
        while let Some((id, is_left)) = stack.pop() {
            let Some((id, pdu)) = events.get_key_value(id) else { continue };
            if is_left {
                if left.insert(id) {
                    order.push(id.clone());
                }
            } else if entered.insert(id) {
                stack.push((id, true));
                stack.extend(pdu.auth_events().iter().map(|auth| (&**auth, false)));
                if let Some(create) =
                    pdu.rules().room_id_is_create_hash().then(|| create_event_id(pdu.room_id())).flatten()
                    && let Some((create, _)) = events.get_key_value(&create)
                {
                    stack.push((create, false));
                }
            }
        }
    }
    order
}
