//! Replacing a room by one of another version.
//!
//! <https://spec.matrix.org/v1.19/client-server-api/#server-behaviour-16>

mod carry_over;
mod power_levels;

use std::sync::Arc;

use hs_model::membership::Membership;
use hs_room_rules::{
    pdu::Pdu,
    power_levels::PowerLevels,
    room_version::{self, RoomVersionRules, RoomVersionRulesExt as _},
};
use hs_storage::{StorageError, rooms::RoomHead};
use ruma::{OwnedEventId, OwnedRoomId, OwnedUserId, RoomId, RoomVersionId};
use serde_json::{Map, Value, json};

use self::power_levels::NewPowerLevels;
use crate::{
    Intent, Room, RoomActions, Sender, WriteError, WriteRequest,
    actions::{FindRoomError, UnknownRoom},
    membership::MemberContent,
    new_room::NewRoomRequest,
    ports::Profile,
};

/// Why a room was not upgraded.
#[derive(Debug, thiserror::Error)]
pub enum UpgradeError {
    /// This server does not know the version.
    #[error("this server does not support room version {0}")]
    UnsupportedVersion(RoomVersionId),
    /// There is no such room here.
    #[error(transparent)]
    UnknownRoom(#[from] UnknownRoom),
    /// The user may not close the room.
    #[error("{0}")]
    Forbidden(&'static str),
    /// The new room could not be made, or the old one not closed.
    #[error(transparent)]
    Write(#[from] WriteError),
    /// The database failed.
    #[error("the room could not be upgraded")]
    Storage(#[from] StorageError),
}

impl From<FindRoomError> for UpgradeError {
    fn from(error: FindRoomError) -> Self {
        match error {
            FindRoomError::Unknown(unknown) => Self::UnknownRoom(unknown),
            FindRoomError::Storage(error) => Self::Storage(error),
        }
    }
}

/// What the new room is to be.
#[derive(Clone, Debug)]
pub struct Upgrade {
    /// Its version.
    pub version: RoomVersionId,
    /// Who counts as its creator beside the user who upgrades, where its version knows such.
    pub additional_creators: Vec<OwnedUserId>,
}

/// The room that is replaced.
struct OldRoom {
    room: Arc<Room>,
    create: Arc<Pdu>,
    power_levels: Option<Arc<Pdu>>,
    state: Vec<Arc<Pdu>>,
    head: RoomHead,
}

impl RoomActions {
    /// Makes a room of another version in place of this one, and closes this one. Returns the new room's id.
    pub async fn upgrade_room(
        &self,
        room_id: &RoomId,
        sender: Sender,
        upgrade: Upgrade,
    ) -> Result<OwnedRoomId, UpgradeError> {
        let rules = room_version::rules(&upgrade.version)
            .ok_or_else(|| UpgradeError::UnsupportedVersion(upgrade.version.clone()))?;
        let old = self.find_old_room(room_id, &sender).await?;
        let draft = self.rooms.draft(&upgrade.version).await?;
        let first = FirstEvents { old: &old, rules, sender: &sender, upgrade: &upgrade };
        let new = if rules.room_id_is_create_hash() {
            let request = first.request(self.profile(&sender.user_id).await?, None);
            let new = self.rooms.create_drafted(draft, request).await?;
            self.send_tombstone(&old, &sender, &new.room_id).await?;
            new
        } else {
            // Each of the two rooms names the other. The new one is tried first, so that the old one is not closed in
            // vain; should the server stop in between, upgrading again mends it.
            let profile = self.profile(&sender.user_id).await?;
            let last = self.last_event_id(&old).await?;
            self.rooms.try_draft(&draft, &first.request(profile.clone(), last)).await?;
            let tombstone = self.send_tombstone(&old, &sender, draft.room_id()).await?;
            self.rooms.create_drafted(draft, first.request(profile, Some(tombstone))).await?
        };
        self.restrict(&old, &sender).await?;
        self.move_names(&old, &new).await?;
        self.settle_in(&new, &sender).await;
        Ok(new.room_id.clone())
    }

    async fn find_old_room(&self, room_id: &RoomId, sender: &Sender) -> Result<OldRoom, UpgradeError> {
        let room = self.known(room_id).await?;
        let missing = |column| StorageError::Inconsistent {
            table: "current_state",
            column,
            row: room.nid.0.to_string(),
        };
        let head = self.rooms.catch_up(&room).await?.ok_or_else(|| missing("room_nid"))?;
        if room.read().membership(sender.nid) != Some(Membership::Join) {
            return Err(UpgradeError::Forbidden("You are not in this room"));
        }
        let [create, power_levels] =
            self.rooms.current_state_pdus(&room, ["m.room.create", "m.room.power_levels"]).await?;
        let create = create.ok_or_else(|| missing("slot_nid"))?;
        let may_close = PowerLevels::new(&create, power_levels.as_deref())
            .is_ok_and(|levels| levels.can_send_state(&sender.user_id, "m.room.tombstone"));
        if !may_close {
            return Err(UpgradeError::Forbidden("You do not have the power to upgrade this room"));
        }
        let wanted = carry_over::wanted(&room);
        let mut pdus = self.rooms.inner.pdus.find(&room, wanted.iter().copied()).await?;
        // In the order in which they came into the old room.
        let state = wanted.iter().filter_map(|nid| pdus.remove(nid)).collect();
        Ok(OldRoom { room, create, power_levels, state, head })
    }

    /// One of the newest events of the old room.
    async fn last_event_id(&self, old: &OldRoom) -> Result<Option<OwnedEventId>, StorageError> {
        let last = &old.head.forward_extremities;
        let mut ids = self.rooms.store().reader().await?.list_event_ids(last).await?;
        Ok(last.iter().rev().find_map(|nid| ids.remove(nid)))
    }

    /// Says in the old room where the new one is.
    async fn send_tombstone(
        &self,
        old: &OldRoom,
        sender: &Sender,
        new: &RoomId,
    ) -> Result<OwnedEventId, WriteError> {
        let content = json!({ "body": "This room has been replaced", "replacement_room": new });
        let intent = Intent::state("m.room.tombstone", "", content.to_string());
        let written = self.rooms.write_one(&old.room, WriteRequest::one(sender.clone(), intent)).await?;
        Ok(written.event_id().clone())
    }

    /// Makes it hard to go on talking in the old room, and takes its alias away, as far as the user may.
    async fn restrict(&self, old: &OldRoom, sender: &Sender) -> Result<(), WriteError> {
        let mut intents = Vec::new();
        if old.room.read().state_event("m.room.canonical_alias", "").is_some() {
            intents.push(Intent::state("m.room.canonical_alias", "", "{}"));
        }
        if let Some(power_levels) = &old.power_levels {
            intents.push(Intent::state("m.room.power_levels", "", power_levels::closed(power_levels)));
        }
        for intent in intents {
            match self.rooms.write_one(&old.room, WriteRequest::one(sender.clone(), intent)).await {
                // Who may set the tombstone need not be allowed the rest.
                Ok(_) | Err(WriteError::Forbidden(_) | WriteError::Content(_)) => {}
                Err(error) => return Err(error),
            }
        }
        Ok(())
    }

    /// Aliases and the place in the directory go to the new room.
    async fn move_names(&self, old: &OldRoom, new: &Room) -> Result<(), StorageError> {
        let mut txn = self.rooms.store().begin().await?;
        let row = txn.find_room(&old.room.room_id).await?;
        txn.move_aliases(old.room.nid, new.nid).await?;
        if row.is_some_and(|row| row.is_published) {
            txn.set_published(new.nid, true).await?;
            txn.set_published(old.room.nid, false).await?;
        }
        txn.commit().await
    }
}

/// What the new room begins with.
struct FirstEvents<'a> {
    old: &'a OldRoom,
    rules: &'static RoomVersionRules,
    sender: &'a Sender,
    upgrade: &'a Upgrade,
}

impl FirstEvents<'_> {
    /// All of it. `last` is the event of the old room that the new one names.
    fn request(&self, profile: Profile, last: Option<OwnedEventId>) -> NewRoomRequest {
        let user_id = &self.sender.user_id;
        let levels = NewPowerLevels::new(self.old, self.rules, user_id, &self.upgrade.additional_creators);
        let join = MemberContent::new(Membership::Join, None).with_profile(profile).into_intent(user_id);
        let mut intents =
            vec![self.create(last), join, Intent::state("m.room.power_levels", "", levels.first())];
        intents.extend(carry_over::state(self.old, self.rules));
        if let Some(content) = levels.last() {
            intents.push(Intent::state("m.room.power_levels", "", content));
        }
        NewRoomRequest {
            creator: self.sender.clone(),
            version: self.upgrade.version.clone(),
            intents,
            is_published: false,
            alias: None,
        }
    }

    fn create(&self, last: Option<OwnedEventId>) -> Intent {
        let old_content: Map<String, Value> = self.old.create.content_as().unwrap_or_default();
        let mut predecessor = json!({ "room_id": self.old.room.room_id });
        if let Some(last) = last {
            predecessor["event_id"] = json!(last);
        }
        let mut content = json!({ "room_version": self.upgrade.version, "predecessor": predecessor });
        if !self.rules.authorization.use_room_create_sender {
            content["creator"] = json!(self.sender.user_id);
        }
        for key in ["type", "m.federate"] {
            if let Some(value) = old_content.get(key) {
                content[key] = value.clone();
            }
        }
        let creators = self.upgrade.additional_creators.iter();
        let creators: Vec<_> = creators.filter(|user_id| **user_id != self.sender.user_id).collect();
        if self.rules.authorization.additional_room_creators && !creators.is_empty() {
            content["additional_creators"] = json!(creators);
        }
        Intent::state("m.room.create", "", content.to_string())
    }
}
