//! Rooms that this server is not in, for those of its users who are invited to them or have asked to be let in.
//!
//! Nothing is known of such a room but its name, the member events of our users, and what came with them to be shown. It has
//! a row like any other, so that lists of rooms and syncs need not know the difference; its state is empty.

use std::sync::Arc;

use hs_model::{
    ids::{EventNid, UserNid},
    membership::Membership,
    records::{EventRecord, Outcome},
};
use hs_room_rules::pdu::Pdu;
use hs_storage::{
    StorageError,
    append::NewEvent,
    log::LogKind,
    notices::Occasion,
    outside::{OutsideMember, StrippedState, StubRoom},
};
use ruma::{RoomVersionId, UserId};

use crate::{Room, Rooms};

/// The state that is shown to those outside, by type; their state keys are empty.
///
/// <https://spec.matrix.org/v1.19/client-server-api/#stripped-state>
pub const SHOWN_STATE: [&str; 7] = [
    "m.room.create",
    "m.room.name",
    "m.room.avatar",
    "m.room.topic",
    "m.room.join_rules",
    "m.room.canonical_alias",
    "m.room.encryption",
];

/// A member event of a local user in a room that this server is not in.
#[derive(Clone, Debug)]
pub struct OutsideChange {
    /// The version of the room.
    pub version: RoomVersionId,
    /// The event.
    pub pdu: Arc<Pdu>,
    /// What the user is to be shown of the room from now on.
    pub shown: Option<StrippedState>,
}

impl Rooms {
    /// Takes note of what a local user becomes in a room that this server is not in. `None` when it is in the room, or the
    /// event is no member event.
    pub async fn note_outside(&self, change: OutsideChange) -> Result<Option<Arc<Room>>, StorageError> {
        let OutsideChange { version, pdu, shown } = change;
        let Some((user_id, membership)) = member_of(&pdu) else { return Ok(None) };
        let store = &self.inner.store;
        let user = store.intern_user(user_id).await?;
        let stub = StubRoom {
            nid: store.allocate_room_nid().await?,
            room_id: pdu.room_id().to_owned(),
            version,
            now_ms: self.inner.clock.now_ms(),
        };
        let mut event = self.outside_event(&pdu).await?;
        let mut txn = store.begin().await?;
        let room = txn.upsert_stub_room(&stub).await?;
        txn.commit().await?;
        event.record.room = room;
        if membership == Membership::Invite {
            self.notice_outside(&pdu, &mut event).await?;
        }
        let mut txn = store.begin().await?;
        let member = OutsideMember { user, membership, event, shown };
        if !txn.set_outside_member(room, self.server_name(), member).await? {
            return Ok(None);
        }
        txn.commit().await?;
        self.find_by_nid(room).await
    }

    /// Corrects the version of a room of which nothing is known but what an inviter said.
    pub(crate) async fn correct_version(
        &self,
        room: &Room,
        version: &RoomVersionId,
    ) -> Result<(), StorageError> {
        if room.version == *version || room.read().state_event("m.room.create", "").is_some() {
            return Ok(());
        }
        let mut txn = self.inner.store.begin().await?;
        txn.set_stub_version(room.nid, version).await?;
        // Every replica that has the room in memory drops it.
        txn.log(LogKind::RoomReplaced, Some(room.nid), None).await?;
        txn.commit().await?;
        self.drop_from_memory(room.nid);
        Ok(())
    }

    /// Takes note of the end of an invite or a knock in a room that this server is not in: somebody in the room has refused it,
    /// or taken it back. `false` when the event is nothing of the kind.
    ///
    /// Whether its sender may do that cannot be told from outside. Who names the member event that it ends has been in the room.
    pub async fn note_departure(&self, room: &Room, pdu: Arc<Pdu>) -> Result<bool, StorageError> {
        let Some((user_id, membership)) = member_of(&pdu) else { return Ok(false) };
        let is_end = matches!(membership, Membership::Leave | Membership::Ban);
        if !is_end || !self.is_local(user_id) || pdu.room_id() != room.room_id {
            return Ok(false);
        }
        let Some(user) = self.inner.store.find_user(user_id).await? else { return Ok(false) };
        let mut reader = self.inner.store.reader().await?;
        let Some(known) = reader.find_membership(room.nid, user).await? else { return Ok(false) };
        let ids = reader.list_event_ids(&[known.event]).await?;
        drop(reader);
        let is_named = ids.get(&known.event).is_some_and(|id| pdu.auth_events().contains(id));
        if !is_named || !matches!(known.membership, Membership::Invite | Membership::Knock) {
            return Ok(false);
        }
        let version = room.version.clone();
        Ok(self.note_outside(OutsideChange { version, pdu, shown: None }).await?.is_some())
    }

    /// What a user who is outside is shown of a room that this server is not in.
    pub async fn find_stripped_state(
        &self,
        room: &Room,
        user: UserNid,
    ) -> Result<Option<StrippedState>, StorageError> {
        self.inner.store.reader().await?.find_stripped_state(room.nid, user).await
    }

    /// The state of a room of ours that is shown to those outside, with the member event of `inviter`.
    pub async fn list_shown_state(
        &self,
        room: &Room,
        inviter: Option<&UserId>,
    ) -> Result<Vec<Arc<EventRecord>>, StorageError> {
        let nids: Vec<EventNid> = {
            let state = room.read();
            let shown = SHOWN_STATE.iter().filter_map(|event_type| state.state_event(event_type, ""));
            let inviter = inviter.and_then(|user_id| state.state_event("m.room.member", user_id.as_str()));
            shown.chain(inviter).collect()
        };
        self.inner.store.list_events(&nids).await
    }

    async fn outside_event(&self, pdu: &Pdu) -> Result<NewEvent, StorageError> {
        let store = &self.inner.store;
        let slot = match pdu.state_key() {
            Some(state_key) => Some(store.intern_slot(pdu.type_str(), state_key).await?),
            None => None,
        };
        let record = EventRecord {
            nid: store.allocate_event_nids(1).await?.next().unwrap_or(EventNid(0)),
            event_id: pdu.event_id().to_owned(),
            room: hs_model::ids::RoomNid(0),
            sender_nid: store.intern_user(pdu.sender()).await?,
            sender: pdu.sender().to_owned(),
            event_type: pdu.type_str().into(),
            state_key: pdu.state_key().map(Into::into),
            slot,
            position: None,
            depth: pdu.depth(),
            origin_server_ts: pdu.origin_server_ts(),
            state_before: None,
            outcome: Outcome::Accepted,
            redacted_by: None,
            redacts: None,
            replaces: None,
            transaction: None,
            notice: None,
            json: pdu.json().into(),
        };
        Ok(NewEvent {
            type_nid: store.intern_type(pdu.type_str()).await?,
            state_after: None,
            reason: None,
            prev: Vec::new(),
            missing_prev: Vec::new(),
            auth: Vec::new(),
            relation: None,
            redacts_id: None,
            record,
        })
    }

    /// An invite notifies whom it invites, whatever else is unknown of the room.
    async fn notice_outside(&self, pdu: &Pdu, event: &mut NewEvent) -> Result<(), StorageError> {
        let Some(notifier) = self.inner.options.notifier.clone() else { return Ok(()) };
        let nobody = |_: UserNid| false;
        notifier
            .notice(Occasion {
                room: event.record.room,
                room_id: pdu.room_id(),
                joined_count: 0,
                is_joined: &nobody,
                may_notify_room: &|_| false,
                events: std::slice::from_mut(event),
            })
            .await
    }
}

/// Whose membership an event sets, and to what.
pub(crate) fn member_of(pdu: &Pdu) -> Option<(&UserId, Membership)> {
    let membership = Membership::parse(pdu.membership().ok()?.as_str())?;
    Some((<&UserId>::try_from(pdu.state_key()?).ok()?, membership))
}
