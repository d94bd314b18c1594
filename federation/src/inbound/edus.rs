//! What other servers tell that is no event of a room: typing, receipts, presence, messages to devices, device lists.
//!
//! Nothing that is wrong with an EDU concerns anybody but the server that sent it: it is passed over. What must not be lost
//! (messages to devices, device lists) fails the transaction when the database does, so that it is sent again.
//!
//! <https://spec.matrix.org/v1.19/server-server-api/#edus>

mod contents;

use std::{
    collections::{BTreeMap, HashMap},
    sync::Arc,
    time::Duration,
};

use hs_e2ee::{E2ee, RemoteMessage, RemoteUpdate};
use hs_ephemeral::{Ephemeral, RemotePresence, RemoteReceipt};
use hs_model::{
    ids::{RoomNid, UserNid},
    membership::Membership,
};
use hs_rooms::{Room, Rooms};
use hs_storage::StorageError;
use metrics::{counter, describe_counter};
use ruma::{OwnedRoomId, OwnedUserId, RoomId, ServerName, UserId};
use serde_json::value::RawValue;

use self::contents::{Edu, PresenceTold, Receipt, Typing};

/// How many EDUs of a transaction are looked at: more it may not have.
///
/// <https://spec.matrix.org/v1.19/server-server-api/#transactions>
const MAX_EDUS: usize = 100;
/// How many receipts of a transaction are taken.
const MAX_RECEIPTS: usize = 2_000;
/// Of how many users presence is taken from a transaction.
const MAX_PRESENCE: usize = 2_000;

/// Takes what other servers tell. Cloning is cheap.
#[derive(Clone, Debug)]
pub struct Edus {
    rooms: Rooms,
    ephemeral: Ephemeral,
    e2ee: E2ee,
}

/// The EDUs of a transaction, by what they are about.
#[derive(Debug, Default)]
pub struct Told {
    /// The last word of each user in each room.
    typing: BTreeMap<(OwnedRoomId, OwnedUserId), bool>,
    receipts: Vec<Receipt>,
    /// The last word of each user.
    presence: BTreeMap<OwnedUserId, PresenceTold>,
    messages: Vec<RemoteMessage>,
    updates: Vec<RemoteUpdate>,
}

impl Told {
    /// Keeps what the server may tell: of its own users.
    fn add(&mut self, origin: &ServerName, edu: Edu) {
        let is_theirs = |user_id: &UserId| user_id.server_name() == origin;
        match edu {
            Edu::Typing(Typing { room_id, user_id, is_typing }) if is_theirs(&user_id) => {
                self.typing.insert((room_id, user_id), is_typing);
            }
            Edu::Receipts(receipts) => {
                let room_left = MAX_RECEIPTS.saturating_sub(self.receipts.len());
                let theirs = receipts.into_iter().filter(|receipt| is_theirs(&receipt.user_id));
                self.receipts.extend(theirs.take(room_left));
            }
            Edu::Presence(told) => {
                for told in told.into_iter().filter(|told| is_theirs(&told.user_id)) {
                    if self.presence.len() < MAX_PRESENCE || self.presence.contains_key(&told.user_id) {
                        self.presence.insert(told.user_id.clone(), told);
                    }
                }
            }
            Edu::ToDevice(message) if is_theirs(&message.sender) => self.messages.push(message),
            Edu::DeviceList(update) if is_theirs(&update.user_id) => {
                self.updates.push(RemoteUpdate::Device(update));
            }
            Edu::SigningKeys(update) if is_theirs(&update.user_id) => {
                self.updates.push(RemoteUpdate::SigningKeys(update));
            }
            _ => note_ignored("not_theirs"),
        }
    }
}

fn note_ignored(reason: &'static str) {
    counter!("kith_federation_edus_ignored_total", "reason" => reason).increment(1);
}

impl Edus {
    /// Hands what is told over to these.
    pub fn new(rooms: Rooms, ephemeral: Ephemeral, e2ee: E2ee) -> Self {
        describe_counter!(
            "kith_federation_edus_ignored_total",
            "What other servers told and was not taken, by reason."
        );
        Self { rooms, ephemeral, e2ee }
    }

    /// Reads the EDUs of a transaction of a server, which has proved who it is.
    pub fn read(origin: &ServerName, edus: &[Box<RawValue>]) -> Told {
        let mut told = Told::default();
        for edu in edus.iter().take(MAX_EDUS) {
            match Edu::read(edu) {
                Some(edu) => told.add(origin, edu),
                None => note_ignored("malformed"),
            }
        }
        told
    }

    /// Takes what must not be lost: messages to devices, and what changes of devices and keys.
    ///
    /// # Errors
    /// When the database fails; then the transaction must fail, to be sent again.
    pub async fn take_lasting(&self, origin: &ServerName, told: &Told) -> Result<(), StorageError> {
        self.e2ee.receive_to_device(origin, &told.messages).await?;
        self.e2ee.receive_remote_updates(&told.updates).await
    }

    /// Takes what passes: typing, receipts and presence. To be called when the events of the transaction are there, since
    /// receipts stand on events.
    pub async fn take_passing(&self, origin: &ServerName, told: Told) {
        let mut rooms = RoomsToldOf::new(&self.rooms, origin);
        log_failure("typing", self.typing(&mut rooms, told.typing).await);
        log_failure("receipts", self.receipts(&mut rooms, told.receipts).await);
        log_failure("presence", self.presence(told.presence).await);
    }

    async fn typing(
        &self,
        rooms: &mut RoomsToldOf<'_>,
        told: BTreeMap<(OwnedRoomId, OwnedUserId), bool>,
    ) -> Result<(), Box<dyn std::error::Error + Send + Sync>> {
        let mut writes = Vec::new();
        for ((room_id, user_id), is_typing) in told {
            let Some((room, user)) = rooms.member(&room_id, &user_id).await? else { continue };
            let ephemeral = &self.ephemeral;
            writes.push(async move { ephemeral.receive_typing(room, user, &user_id, is_typing).await });
        }
        for written in futures_util::future::join_all(writes).await {
            written?;
        }
        Ok(())
    }

    async fn receipts(
        &self,
        rooms: &mut RoomsToldOf<'_>,
        told: Vec<Receipt>,
    ) -> Result<(), Box<dyn std::error::Error + Send + Sync>> {
        let mut receipts = Vec::with_capacity(told.len());
        for receipt in told {
            let Some((room, user)) = rooms.member(&receipt.room_id, &receipt.user_id).await? else {
                continue;
            };
            receipts.push(RemoteReceipt {
                room,
                user,
                user_id: receipt.user_id,
                event_id: receipt.event_id,
                thread_id: receipt.thread_id.map(Into::into),
                ts: receipt.ts,
            });
        }
        Ok(self.ephemeral.receive_receipts(receipts).await?)
    }

    /// Presence is taken of those who are in a room that this server knows.
    async fn presence(
        &self,
        mut told: BTreeMap<OwnedUserId, PresenceTold>,
    ) -> Result<(), Box<dyn std::error::Error + Send + Sync>> {
        if told.is_empty() || !self.ephemeral.has_presence() {
            return Ok(());
        }
        let ids: Vec<String> = told.keys().map(ToString::to_string).collect();
        let joined = self.rooms.store().reader().await?.list_joined_somewhere(&ids).await?;
        let presence = joined.into_iter().filter_map(|(user_id, user)| {
            let (user_id, told) = told.remove_entry(<&UserId>::try_from(user_id.as_str()).ok()?)?;
            Some(RemotePresence {
                user,
                user_id,
                presence: told.presence,
                status_msg: told.status_msg,
                last_active_ago: told.last_active_ago.map(Duration::from_millis),
                currently_active: told.currently_active,
            })
        });
        Ok(self.ephemeral.receive_presence(presence.collect()).await?)
    }
}

/// Typing, receipts and presence pass; the next ones will be more welcome.
fn log_failure(what: &str, outcome: Result<(), Box<dyn std::error::Error + Send + Sync>>) {
    if let Err(error) = outcome {
        tracing::warn!(%error, what, "could not take what another server told");
    }
}

/// The rooms that a transaction tells of, each looked up once.
struct RoomsToldOf<'a> {
    rooms: &'a Rooms,
    origin: &'a ServerName,
    /// `None` where the server may not tell anything, or where there is no such room.
    found: HashMap<OwnedRoomId, Option<Arc<Room>>>,
}

impl<'a> RoomsToldOf<'a> {
    fn new(rooms: &'a Rooms, origin: &'a ServerName) -> Self {
        Self { rooms, origin, found: HashMap::new() }
    }

    /// The room and a member of it, if the server may tell anything about that member there.
    async fn member(
        &mut self,
        room_id: &RoomId,
        user_id: &UserId,
    ) -> Result<Option<(RoomNid, UserNid)>, StorageError> {
        let Some(room) = self.room(room_id).await? else {
            note_ignored("room");
            return Ok(None);
        };
        let user = self.rooms.store().find_user(user_id).await?;
        let is_member = user.filter(|user| room.read().membership(*user) == Some(Membership::Join));
        if is_member.is_none() {
            note_ignored("no_member");
        }
        Ok(is_member.map(|user| (room.nid, user)))
    }

    async fn room(&mut self, room_id: &RoomId) -> Result<Option<Arc<Room>>, StorageError> {
        if let Some(found) = self.found.get(room_id) {
            return Ok(found.clone());
        }
        let mut found = self.rooms.find(room_id).await?;
        if let Some(room) = &found
            && !self.rooms.allows_server(room, self.origin).await?
        {
            found = None;
        }
        self.found.insert(room_id.to_owned(), found.clone());
        Ok(found)
    }
}
