//! Rooms that this server comes into through another: their state is as that server tells it.

use std::{collections::HashMap, sync::Arc};

use hs_model::{
    ids::{EventNid, SlotNid, UserNid},
    membership::Membership,
    records::{EventRecord, Outcome},
};
use hs_room_rules::{auth, pdu::Pdu, room_version};
use hs_storage::{
    StorageError,
    append::{AppendError, AppendUnit, Completeness, MembershipChange, NewEvent, NewHead, NewRoom},
    rooms::RoomHead,
};
use ruma::{EventId, OwnedEventId, OwnedRoomId, OwnedServerName, RoomVersionId, UserId};

use crate::{Room, Rooms, groups::Chain, outliers::StoredState, state_line::StateLine};

/// How often writing is tried when the room changes meanwhile.
const MAX_ATTEMPTS: usize = 5;

/// A room as another server tells it. All signatures are checked.
#[derive(Clone, Debug)]
pub struct AdoptedRoom {
    /// The room.
    pub room_id: OwnedRoomId,
    /// Its version.
    pub version: RoomVersionId,
    /// The state before the event.
    pub state: Vec<Arc<Pdu>>,
    /// What authorises the state and the event.
    pub auth_chain: Vec<Arc<Pdu>>,
    /// The event by which this server comes in: one of its users joins.
    pub event: Arc<Pdu>,
    /// Set when most members are left out of the state.
    pub partial: Option<ToldInPart>,
}

/// What a server says that leaves most members out of the state of a room.
#[derive(Clone, Debug)]
pub struct ToldInPart {
    /// The server.
    pub by: OwnedServerName,
    /// The servers in the room.
    pub servers: Vec<OwnedServerName>,
}

/// Why a room was not taken over.
#[derive(Debug, thiserror::Error)]
pub enum AdoptError {
    /// What the other server tells is not a room, or not one that the event is allowed in.
    #[error("{0}")]
    Invalid(String),
    /// Too much happened in the room meanwhile.
    #[error("too much is happening in the room")]
    Busy,
    /// The database failed.
    #[error("the room could not be stored")]
    Storage(#[source] Arc<StorageError>),
}

impl From<StorageError> for AdoptError {
    fn from(error: StorageError) -> Self {
        Self::Storage(Arc::new(error))
    }
}

fn invalid(why: impl Into<String>) -> AdoptError {
    AdoptError::Invalid(why.into())
}

/// The room's state before and with the event, ready to be written.
struct Adoption<'a> {
    rooms: &'a Rooms,
    room: Arc<Room>,
    /// `None` when the room is new here.
    head: Option<RoomHead>,
    adopted: &'a AdoptedRoom,
    state: HashMap<SlotNid, EventNid>,
    /// Memberships in the state.
    members: Vec<MembershipChange>,
    auth: Vec<EventNid>,
}

impl Rooms {
    /// Takes over a room that this server joins, or joins again, through another.
    pub async fn adopt(&self, adopted: &AdoptedRoom) -> Result<Arc<Room>, AdoptError> {
        let rules = room_version::rules(&adopted.version)
            .ok_or_else(|| invalid(format!("room version {} is not supported", adopted.version)))?;
        let (room, is_known) = match self.find(&adopted.room_id).await? {
            Some(room) if room.version != adopted.version => {
                return Err(invalid("the room is of another version"));
            }
            Some(room) => (room, true),
            None => {
                let nid = self.inner.store.allocate_room_nid().await?;
                let version = adopted.version.clone();
                (Arc::new(Room::new(nid, adopted.room_id.clone(), version, rules)), false)
            }
        };
        let mut pdus = adopted.state.clone();
        pdus.extend(adopted.auth_chain.iter().cloned());
        pdus.retain(|pdu| pdu.event_id() != adopted.event.event_id());
        let places = self.keep_outliers(&room, &pdus).await?;
        check_join(adopted, &places)?;

        for _ in 0..MAX_ATTEMPTS {
            let head = if is_known { self.catch_up(&room).await? } else { None };
            let adoption = Adoption::new(self, room.clone(), head, adopted, &places).await?;
            match self.inner.appender.append(adoption.unit().await?).await {
                Ok(_) => {
                    room.update(|state| state.head = None);
                    if adopted.partial.is_some() {
                        self.inner.partial_news.notify_one();
                    }
                    return self.find(&adopted.room_id).await?.ok_or(AdoptError::Busy);
                }
                Err(AppendError::Conflict) => {}
                Err(AppendError::Storage(error)) => return Err(AdoptError::Storage(error)),
                // Another replica was joining the same room.
                Err(_) => return Err(AdoptError::Busy),
            }
        }
        Err(AdoptError::Busy)
    }
}

/// Whether the event is allowed in the state that came with it.
fn check_join(adopted: &AdoptedRoom, places: &HashMap<OwnedEventId, StoredState>) -> Result<(), AdoptError> {
    let is_valid = |id: &EventId| places.get(id).is_some_and(|place| place.outcome != Outcome::Rejected);
    let state: HashMap<(&str, &str), &Arc<Pdu>> = adopted
        .state
        .iter()
        .filter(|pdu| is_valid(pdu.event_id()))
        .filter_map(|pdu| Some(((pdu.type_str(), pdu.state_key()?), pdu)))
        .collect();
    if !state.contains_key(&("m.room.create", "")) {
        return Err(invalid("the state that the server sent has no valid create event"));
    }
    let pdu = &adopted.event;
    let all: HashMap<&EventId, &Arc<Pdu>> =
        adopted.state.iter().chain(&adopted.auth_chain).map(|pdu| (pdu.event_id(), pdu)).collect();
    let flagged = |id: &EventId| {
        let pdu = Pdu::clone(all.get(id)?).with_rejected(!is_valid(id));
        Some(Arc::new(pdu))
    };
    if let Some(missing) = pdu.auth_events().iter().find(|id| !places.contains_key(*id)) {
        return Err(invalid(format!("the server did not send {missing}, which the join refers to")));
    }
    auth::check_independent(pdu, flagged)
        .and_then(|()| auth::check_dependent(pdu, |t, k| state.get(&(t, k)).map(|pdu| (*pdu).clone())))
        .map_err(|error| {
            invalid(format!("the join is not allowed by the state that the server sent: {error}"))
        })
}

impl<'a> Adoption<'a> {
    async fn new(
        rooms: &'a Rooms,
        room: Arc<Room>,
        head: Option<RoomHead>,
        adopted: &'a AdoptedRoom,
        places: &HashMap<OwnedEventId, StoredState>,
    ) -> Result<Self, AdoptError> {
        let store = &rooms.inner.store;
        let valid: Vec<(&Arc<Pdu>, SlotNid, EventNid)> = adopted
            .state
            .iter()
            .filter_map(|pdu| {
                let place = places.get(pdu.event_id()).filter(|place| place.outcome != Outcome::Rejected)?;
                Some((pdu, place.slot?, place.nid))
            })
            .collect();
        let member_of = |pdu: &Pdu| {
            let user_id = UserId::parse(pdu.state_key()?).ok()?;
            let membership = Membership::parse(pdu.membership().ok()?.as_str())?;
            Some((user_id, membership))
        };
        let found: Vec<_> = valid
            .iter()
            .filter(|(pdu, ..)| pdu.type_str() == "m.room.member")
            .filter_map(|(pdu, _, nid)| Some((member_of(pdu)?, *nid)))
            .collect();
        let ids: Vec<&UserId> = found.iter().map(|((user_id, _), _)| &**user_id).collect();
        let users: HashMap<_, UserNid> = store.intern_users(&ids).await?;
        let members = found
            .iter()
            .filter_map(|((user_id, membership), event)| {
                let user = *users.get(user_id)?;
                Some(MembershipChange { user, membership: *membership, event: *event })
            })
            .collect();
        let state = valid.into_iter().map(|(_, slot, nid)| (slot, nid)).collect();
        let auth = adopted.event.auth_events().iter().filter_map(|id| Some(places.get(id)?.nid)).collect();
        Ok(Self { rooms, room, head, adopted, state, members, auth })
    }

    /// What is to be written.
    async fn unit(mut self) -> Result<AppendUnit, AdoptError> {
        let store = self.rooms.inner.store.clone();
        let pdu = &self.adopted.event;
        let [nid] = store.allocate_event_nids(1).await?.collect::<Vec<_>>()[..] else {
            return Err(AdoptError::Busy);
        };
        let sender_nid = store.intern_user(pdu.sender()).await?;
        let slot = store.intern_slot(pdu.type_str(), pdu.state_key().unwrap_or_default()).await?;
        let (current, line) = self.known_state().await?;

        let mut state_groups = Vec::new();
        let mut line = line;
        let changes = changes(&current, &self.state);
        if !changes.is_empty() {
            state_groups.push(line.push_changes(store.allocate_state_group_nid().await?, &changes));
        }
        let state_before = line.current();
        let replaces = self.state.insert(slot, nid);
        let state_after = store.allocate_state_group_nid().await?;
        state_groups.push(line.push(state_after, slot, nid));
        let mut state_changes: HashMap<SlotNid, Option<EventNid>> = changes.into_iter().collect();
        state_changes.insert(slot, Some(nid));
        self.members.retain(|member| member.user != sender_nid);
        self.members.push(MembershipChange { user: sender_nid, membership: Membership::Join, event: nid });

        let record = EventRecord {
            nid,
            event_id: pdu.event_id().to_owned(),
            room: self.room.nid,
            sender_nid,
            sender: pdu.sender().to_owned(),
            event_type: pdu.type_str().into(),
            state_key: pdu.state_key().map(Into::into),
            slot: Some(slot),
            position: None,
            depth: pdu.depth(),
            origin_server_ts: pdu.origin_server_ts(),
            state_before: Some(state_before),
            outcome: Outcome::Accepted,
            redacted_by: None,
            redacts: None,
            replaces,
            transaction: None,
            notice: None,
            json: pdu.json().into(),
        };
        let event = NewEvent {
            type_nid: store.intern_type(pdu.type_str()).await?,
            state_after: Some(state_after),
            reason: None,
            prev: Vec::new(),
            // Those that are here, if it was in the room before, are linked when it is written.
            missing_prev: pdu.prev_events().to_vec(),
            auth: self.auth,
            relation: None,
            redacts_id: None,
            record,
        };
        let create = self.head.is_none().then(|| NewRoom {
            room_id: self.room.room_id.clone(),
            version: self.room.version.clone(),
            is_published: false,
            alias: None,
            created_at: self.rooms.inner.clock.now_ms(),
        });
        let completeness = match &self.adopted.partial {
            None => Completeness::Whole,
            Some(ToldInPart { by, servers }) => Completeness::Partial {
                join: nid,
                asked: by.clone(),
                servers: servers.clone(),
                retry_at: self.rooms.inner.clock.now_ms(),
            },
        };
        Ok(AppendUnit {
            room: self.room.nid,
            expected_version: self.head.as_ref().map_or(0, |head| head.version),
            replaces_room: self.head.is_some(),
            create,
            head: NewHead { state_group: state_after, forward_extremities: vec![nid], depth: pdu.depth() },
            events: vec![event],
            state_groups,
            state_changes: state_changes.into_iter().collect(),
            memberships: self.members,
            corrections: Vec::new(),
            former_outliers: Vec::new(),
            found: Vec::new(),
            completeness: Some(completeness),
            rejudged: Vec::new(),
        })
    }

    /// The state that the database has, and the line that leads to it.
    async fn known_state(
        &self,
    ) -> Result<(std::collections::BTreeMap<SlotNid, EventNid>, StateLine), AdoptError> {
        let chain = match &self.head {
            Some(head) => self.rooms.inner.groups.chain(head.state_group, &[]).await?,
            None => Chain::default(),
        };
        Ok((chain.entries(), chain.to_line()))
    }
}

/// What leads from one state to another.
pub(crate) fn changes(
    before: &std::collections::BTreeMap<SlotNid, EventNid>,
    after: &HashMap<SlotNid, EventNid>,
) -> Vec<(SlotNid, Option<EventNid>)> {
    let filled = after.iter().filter(|(slot, event)| before.get(slot) != Some(event));
    let mut changes: Vec<_> = filled.map(|(slot, event)| (*slot, Some(*event))).collect();
    changes.extend(before.keys().filter(|slot| !after.contains_key(slot)).map(|slot| (*slot, None)));
    changes.sort_unstable_by_key(|(slot, _)| *slot);
    changes
}
