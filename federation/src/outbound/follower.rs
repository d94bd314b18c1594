//! What entries of the log mean to other servers.

use std::{
    collections::{BTreeMap, HashMap, HashSet},
    slice,
    sync::Arc,
};

use hs_model::{
    ids::{EventNid, RoomNid, UserNid},
    membership::Membership,
    records::{EventRecord, Outcome},
    stream::Position,
};
use hs_rooms::Rooms;
use hs_storage::{
    StorageError, Store,
    log::{EphemeralChange, LogEntry, LogKind},
    outgoing_edus::OutgoingEdu,
    presence::PresenceRow,
    receipts::{ReceiptRow, ReceiptType},
    typing::{TypingChange, TypingRow},
};
use ruma::{OwnedServerName, ServerName, UserId};
use serde::Deserialize;

use super::{
    audience::{Audience, Servers},
    device_updates::DeviceUpdates,
    edus::{EduNews, ReceiptNews, TypingNews},
    feed::concerns,
    repeats::Due,
    transaction::BuiltEdu,
};

/// How many servers that are gone from a room are looked at, for events from before that.
const MAX_GONE: usize = 100;

/// Reads the log for other servers.
#[derive(Clone, Debug)]
pub(super) struct Follower {
    pub(super) store: Store,
    pub(super) rooms: Rooms,
    pub(super) updates: DeviceUpdates,
    pub(super) own_name: OwnedServerName,
}

/// Something that servers have to be told.
#[derive(Debug)]
pub(super) struct News {
    pub(super) position: Position,
    pub(super) what: What,
    pub(super) to: Servers,
}

#[derive(Debug)]
pub(super) enum What {
    Pdu(Arc<EventRecord>),
    Edu(EduNews),
    /// The servers have made themselves heard at another replica.
    Heard,
}

/// What the entries refer to.
#[derive(Default)]
struct Looked {
    stored: HashMap<Position, Vec<OutgoingEdu>>,
    forwarded: HashMap<EventNid, Arc<EventRecord>>,
    receipts: HashMap<Position, ReceiptRow>,
    typing: HashMap<(RoomNid, UserNid), TypingRow>,
    typists: HashMap<UserNid, ruma::OwnedUserId>,
    presence: HashMap<UserNid, Arc<PresenceRow>>,
    devices: BTreeMap<UserNid, Vec<BuiltEdu>>,
    heard: HashMap<i64, OwnedServerName>,
    /// Servers that were in the room before an event and are not now.
    gone: HashMap<EventNid, Vec<OwnedServerName>>,
}

impl Follower {
    /// What entries of the log mean, in order.
    pub(super) async fn digest(&self, mut entries: Vec<LogEntry>) -> Result<Vec<News>, StorageError> {
        entries.retain(|entry| concerns(entry, &self.own_name));
        if entries.is_empty() {
            return Ok(Vec::new());
        }
        let mut looked = self.look_up(&entries).await?;
        looked.gone = self.told_though_gone(&entries, &looked).await?;
        let mut audience = Audience::new(&self.rooms);
        let last_of_user = last_of_users(&entries);
        let mut news = Vec::new();
        for entry in entries {
            let is_overtaken = matches!(entry.kind, LogKind::Presence | LogKind::DeviceList)
                && entry
                    .user
                    .is_some_and(|user| last_of_user.get(&(entry.kind, user)) != Some(&entry.position));
            if !is_overtaken {
                self.read_entry(entry, &mut looked, &mut audience, &mut news).await?;
            }
        }
        news.retain(|news| !news.to.is_empty());
        Ok(news)
    }

    async fn read_entry(
        &self,
        entry: LogEntry,
        looked: &mut Looked,
        audience: &mut Audience<'_>,
        news: &mut Vec<News>,
    ) -> Result<(), StorageError> {
        let position = entry.position;
        match (entry.kind, entry.room, entry.user) {
            (LogKind::Event, Some(room), _) => {
                let Some(event) = entry.event else { return Ok(()) };
                if let Some((_, servers)) = audience.of_room(room).await?
                    && !self.is_join_elsewhere(room, &event).await?
                {
                    let to = with_target(servers, &event, &self.own_name);
                    let to = with_gone(to, looked.gone.remove(&event.nid));
                    news.push(News { position, what: What::Pdu(event), to });
                }
            }
            (LogKind::ForwardedEvent, Some(room), _) => {
                let event = entry.subject.and_then(|nid| looked.forwarded.remove(&EventNid(nid)));
                let Some(event) = event.filter(|event| event.outcome == Outcome::Accepted) else {
                    return Ok(());
                };
                if let Some((_, servers)) = audience.of_room(room).await? {
                    let origin = event.sender.server_name();
                    let servers = with_gone(servers, looked.gone.remove(&event.nid));
                    let to = servers.iter().filter(|server| **server != origin).cloned().collect();
                    news.push(News { position, what: What::Pdu(event), to });
                }
            }
            (LogKind::OutgoingEdu, ..) => {
                for edu in looked.stored.remove(&position).unwrap_or_default() {
                    let Ok(server) = OwnedServerName::try_from(edu.destination.as_str()) else { continue };
                    let what = What::Edu(EduNews::Stored(Arc::new(edu)));
                    news.push(News { position, what, to: Arc::new([server]) });
                }
            }
            (LogKind::DeviceList, _, Some(user)) => {
                let edus = looked.devices.remove(&user).unwrap_or_default();
                if !edus.is_empty() {
                    let to = audience.of_user(user).await?;
                    news.extend(edus.into_iter().map(|edu| {
                        let what = What::Edu(EduNews::Device(position, edu));
                        News { position, what, to: to.clone() }
                    }));
                }
            }
            (LogKind::DestinationHeard, ..) => {
                if let Some(server) = entry.subject.and_then(|nid| looked.heard.get(&nid)) {
                    news.push(News { position, what: What::Heard, to: Arc::new([server.clone()]) });
                }
            }
            (LogKind::Receipt | LogKind::Typing | LogKind::Presence, ..) => {
                self.read_passing(&entry, looked, audience, news).await?;
            }
            _ => {}
        }
        Ok(())
    }

    async fn read_passing(
        &self,
        entry: &LogEntry,
        looked: &mut Looked,
        audience: &mut Audience<'_>,
        news: &mut Vec<News>,
    ) -> Result<(), StorageError> {
        let position = entry.position;
        let (edu, to) = match (entry.kind, entry.room, entry.user) {
            (LogKind::Receipt, Some(room), _) => {
                let row = match &entry.change {
                    Some(EphemeralChange::Receipt(row)) => Some(ReceiptRow::clone(row)),
                    _ => looked.receipts.remove(&position),
                };
                // What is missing has changed again, and the entry for that follows.
                let Some(row) = row.filter(|row| self.is_public(row)) else { return Ok(()) };
                let Some((room_id, to)) = audience.of_room(room).await? else { return Ok(()) };
                (EduNews::Receipt(Arc::new(ReceiptNews { room_id, row })), to)
            }
            (LogKind::Typing, Some(room), Some(user)) => {
                let (user_id, is_typing) = match &entry.change {
                    Some(EphemeralChange::Typing(update)) => {
                        (Some(update.user_id.clone()), matches!(update.change, TypingChange::Until(_)))
                    }
                    _ => (looked.typists.get(&user).cloned(), looked.typing.contains_key(&(room, user))),
                };
                let Some(user_id) = user_id.filter(|user_id| user_id.server_name() == self.own_name) else {
                    return Ok(());
                };
                let Some((room_id, to)) = audience.of_room(room).await? else { return Ok(()) };
                let typing = TypingNews { position, room, room_id, user, user_id, is_typing };
                (EduNews::Typing(Arc::new(typing)), to)
            }
            (LogKind::Presence, _, Some(user)) => {
                let row = match &entry.change {
                    Some(EphemeralChange::Presence(row)) => Some(row.clone()),
                    _ => looked.presence.get(&user).cloned(),
                };
                let Some(row) = row.filter(|row| row.user_id.server_name() == self.own_name) else {
                    return Ok(());
                };
                (EduNews::Presence(row), audience.of_user(user).await?)
            }
            _ => return Ok(()),
        };
        news.push(News { position, what: What::Edu(edu), to });
        Ok(())
    }

    /// What of that which is to be said again holds still.
    pub(super) async fn what_holds_still(
        &self,
        due: &Due,
        position: Position,
    ) -> Result<Vec<News>, StorageError> {
        let mut reader = self.store.reader().await?;
        let typing = reader.list_typing_of(&due.typists).await?;
        let present = reader.list_presence(&due.present).await?;
        drop(reader);
        let mut audience = Audience::new(&self.rooms);
        let mut news = Vec::new();
        for row in typing {
            if let Some((room_id, to)) = audience.of_room(row.room).await? {
                let (room, user, user_id) = (row.room, row.user, row.user_id);
                let typing = TypingNews { position, room, room_id, user, user_id, is_typing: true };
                news.push(News { position, what: What::Edu(EduNews::Typing(Arc::new(typing))), to });
            }
        }
        for row in present {
            let to = audience.of_user(row.user).await?;
            news.push(presence_news(row, position, to));
        }
        Ok(news)
    }

    /// Who of this server is there, for a server that has not been told for a while.
    pub(super) async fn presence_for(
        &self,
        server: &OwnedServerName,
        position: Position,
    ) -> Result<Vec<News>, StorageError> {
        let mut reader = self.store.reader().await?;
        let shared = reader.list_rooms_of_server(server.as_str()).await?;
        let rooms: Vec<RoomNid> = shared.iter().map(|shared| shared.room).collect();
        let present = reader.list_presence_in_rooms(&rooms).await?;
        drop(reader);
        let own = present.into_iter().filter(|row| row.user_id.server_name() == self.own_name);
        let to: Servers = Arc::new([server.clone()]);
        Ok(own.map(|row| presence_news(row, position, to.clone())).collect())
    }

    fn is_public(&self, row: &ReceiptRow) -> bool {
        let receipt = &row.receipt;
        receipt.receipt_type == ReceiptType::Read && receipt.user_id.server_name() == self.own_name
    }

    async fn look_up(&self, entries: &[LogEntry]) -> Result<Looked, StorageError> {
        let mut wanted = Wanted::default();
        for entry in entries {
            wanted.note(entry);
        }
        let mut looked = Looked::default();
        if wanted.needs_reader() {
            let mut reader = self.store.reader().await?;
            for edu in reader.list_outgoing_edus_at(&wanted.stored).await? {
                looked.stored.entry(edu.place.position).or_default().push(edu);
            }
            looked.forwarded = reader.find_events(&wanted.forwarded).await?;
            let receipts = reader.list_receipts_at(&wanted.receipts).await?;
            looked.receipts = receipts.into_iter().map(|row| (row.position, row)).collect();
            let typing: Vec<_> = wanted.typing.iter().copied().collect();
            let rows = reader.list_typing_of(&typing).await?;
            looked.typing = rows.into_iter().map(|row| ((row.room, row.user), row)).collect();
            let users: Vec<_> = wanted.presence.into_iter().collect();
            let rows = reader.list_presence(&users).await?;
            looked.presence = rows.into_iter().map(|row| (row.user, Arc::new(row))).collect();
            for nid in wanted.heard {
                let name = reader.list_destination_names(&[nid]).await?.pop();
                if let Some(name) = name.and_then(|name| OwnedServerName::try_from(name).ok()) {
                    looked.heard.insert(nid, name);
                }
            }
            drop(reader);
            let users: Vec<_> = wanted.typing.iter().map(|(_, user)| *user).collect();
            looked.typists = self.store.user_ids(&users).await?;
        }
        if !wanted.devices.is_empty() {
            looked.devices = self.updates.announce(&wanted.devices).await?;
        }
        Ok(looked)
    }

    /// Who has been removed between an event and now was there when it was made, and needs it to understand the removal.
    async fn told_though_gone(
        &self,
        entries: &[LogEntry],
        looked: &Looked,
    ) -> Result<HashMap<EventNid, Vec<OwnedServerName>>, StorageError> {
        let mut of_rooms: BTreeMap<RoomNid, Vec<Arc<EventRecord>>> = BTreeMap::new();
        for entry in entries {
            let event = match entry.kind {
                LogKind::Event => entry.event.as_ref(),
                LogKind::ForwardedEvent => entry.subject.and_then(|nid| looked.forwarded.get(&EventNid(nid))),
                _ => None,
            };
            if let Some((event, room)) = event.zip(entry.room) {
                of_rooms.entry(room).or_default().push(event.clone());
            }
        }
        let mut gone: HashMap<EventNid, Vec<OwnedServerName>> = HashMap::new();
        for (room, events) in of_rooms {
            let Some(first) = events.iter().filter_map(|event| event.position).min() else { continue };
            let Some(room) = self.rooms.find_by_nid(room).await? else { continue };
            let servers = self.rooms.list_servers_gone_since(&room, first).await?;
            for server in servers.into_iter().take(MAX_GONE) {
                for event in self.rooms.list_events_with_server(&room, &events, &server).await? {
                    gone.entry(event).or_default().push(server.clone());
                }
            }
        }
        Ok(gone)
    }

    /// Whether an event is the join by which this server came into a room: it went through a server that was there, which
    /// sends it on.
    async fn is_join_elsewhere(&self, room: RoomNid, event: &Arc<EventRecord>) -> Result<bool, StorageError> {
        let is_own_member = &*event.event_type == "m.room.member"
            && event.state_key.as_deref() == Some(event.sender.as_str())
            && membership_of(event).as_deref() == Some("join");
        if !is_own_member {
            return Ok(false);
        }
        let Some(room) = self.rooms.find_by_nid(room).await? else { return Ok(false) };
        let before: Vec<UserNid> = {
            let state = room.read();
            // Who changes their own name was there before.
            if state.joined_since(event.sender_nid) < event.position {
                return Ok(false);
            }
            let joined = state.users_with(Membership::Join);
            joined.filter(|user| state.joined_since(*user) < event.position).collect()
        };
        let ids = self.store.user_ids(&before).await?;
        if ids.values().any(|user_id| user_id.server_name() == self.own_name) {
            return Ok(false);
        }
        // Memory may know since when only at the latest, or no longer: the state before the event knows.
        let with_us =
            self.rooms.list_events_with_server(&room, slice::from_ref(event), &self.own_name).await?;
        Ok(!with_us.contains(&event.nid))
    }
}

/// What has to be looked up.
#[derive(Default)]
struct Wanted {
    stored: Vec<Position>,
    forwarded: Vec<EventNid>,
    receipts: Vec<(RoomNid, Position)>,
    typing: HashSet<(RoomNid, UserNid)>,
    presence: HashSet<UserNid>,
    devices: BTreeMap<UserNid, Position>,
    heard: HashSet<i64>,
}

impl Wanted {
    fn note(&mut self, entry: &LogEntry) {
        match (entry.kind, entry.room, entry.user, entry.subject) {
            (LogKind::OutgoingEdu, ..) => self.stored.push(entry.position),
            (LogKind::ForwardedEvent, _, _, Some(event)) => self.forwarded.push(EventNid(event)),
            (LogKind::DestinationHeard, _, _, Some(nid)) => {
                self.heard.insert(nid);
            }
            (LogKind::DeviceList, _, Some(user), _) => {
                self.devices.insert(user, entry.position);
            }
            _ if entry.change.is_some() => {}
            (LogKind::Receipt, Some(room), ..) => self.receipts.push((room, entry.position)),
            (LogKind::Typing, Some(room), Some(user), _) => {
                self.typing.insert((room, user));
            }
            (LogKind::Presence, _, Some(user), _) => {
                self.presence.insert(user);
            }
            _ => {}
        }
    }

    fn needs_reader(&self) -> bool {
        !(self.stored.is_empty()
            && self.forwarded.is_empty()
            && self.receipts.is_empty()
            && self.typing.is_empty()
            && self.presence.is_empty()
            && self.heard.is_empty())
    }
}

/// That somebody is there still: with a position of its own, or it would be the same transaction as before.
fn presence_news(row: PresenceRow, position: Position, to: Servers) -> News {
    let row = Arc::new(PresenceRow { position, ..row });
    News { position, what: What::Edu(EduNews::Presence(row)), to }
}

/// Where each user's presence and devices changed last.
fn last_of_users(entries: &[LogEntry]) -> HashMap<(LogKind, UserNid), Position> {
    let of_user = entries.iter().filter_map(|entry| Some(((entry.kind, entry.user?), entry.position)));
    of_user.collect()
}

/// Who was in the room until this event hears of it too: the server of a user who was removed.
fn with_target(servers: Servers, event: &EventRecord, own_name: &ServerName) -> Servers {
    if &*event.event_type != "m.room.member" {
        return servers;
    }
    let target = event.state_key.as_deref().and_then(|key| <&UserId>::try_from(key).ok());
    let Some(target) = target.map(UserId::server_name).filter(|server| *server != own_name) else {
        return servers;
    };
    let is_removal = matches!(membership_of(event).as_deref(), Some("leave" | "ban"));
    if !is_removal || servers.iter().any(|server| *server == target) {
        return servers;
    }
    servers.iter().cloned().chain([target.to_owned()]).collect()
}

/// The servers together with those that were in the room until after the event.
fn with_gone(servers: Servers, gone: Option<Vec<OwnedServerName>>) -> Servers {
    let Some(mut gone) = gone else { return servers };
    gone.retain(|server| !servers.contains(server));
    servers.iter().cloned().chain(gone).collect()
}

fn membership_of(event: &EventRecord) -> Option<String> {
    #[derive(Deserialize)]
    struct Event {
        content: Content,
    }
    #[derive(Deserialize)]
    struct Content {
        membership: String,
    }
    serde_json::from_str::<Event>(&event.json).ok().map(|event| event.content.membership)
}
