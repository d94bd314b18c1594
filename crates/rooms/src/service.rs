//! [`Rooms`]: the way to every room of this server.

use std::{
    collections::HashMap,
    future::Future,
    pin::Pin,
    sync::{Arc, Weak},
    time::Duration,
};

use hs_model::{
    clock::Clock,
    hit_rate::{HitCounts, HitRate},
    ids::{EventNid, RoomNid, SlotNid, StateGroupNid, UserNid},
    membership::Membership,
    records::{EventRecord, Outcome},
};
use hs_room_rules::{pdu::Pdu, room_version, server_acl::ServerAcl, sign::SigningKey};
use hs_storage::{
    StorageError, Store,
    append::Appender,
    log::{LogEntry, LogKind},
    notices::Notifier,
    rooms::{RoomHead, RoomRow},
    tail::LogApplier,
};
use moka::sync::Cache;
use parking_lot::Mutex;
use ruma::{OwnedEventId, OwnedRoomId, OwnedServerName, RoomId, RoomVersionId, UserId};
use serde::Deserialize;
use tokio_util::task::TaskTracker;

use crate::{
    auth_graph::AuthGraphs,
    groups::Groups,
    loading,
    pdus::Pdus,
    people::People,
    policy::Pauses,
    ports::PolicyServers,
    room::{Correction, Room},
};

/// What [`Rooms`] needs to know.
#[derive(Clone, Debug)]
pub struct RoomsOptions {
    /// This server's name.
    pub server_name: OwnedServerName,
    /// The version of new rooms.
    pub default_version: RoomVersionId,
    /// How many rooms stay in memory when nobody uses them at the moment.
    pub cached_rooms: u64,
    /// How long a room that nobody uses stays in memory.
    pub cache_idle: Duration,
    /// Decides whom events notify; nobody when it is missing.
    pub notifier: Option<Arc<dyn Notifier>>,
    /// Asks policy servers; when it is missing, they are as good as out of reach.
    pub policy_servers: Option<Arc<dyn PolicyServers>>,
}

impl RoomsOptions {
    /// The usual sizes, for a server of this name.
    pub fn new(server_name: OwnedServerName) -> Self {
        Self {
            server_name,
            default_version: RoomVersionId::V12,
            cached_rooms: 4096,
            cache_idle: Duration::from_mins(30),
            notifier: None,
            policy_servers: None,
        }
    }
}

/// The rooms of this server.
#[derive(Clone, Debug)]
pub struct Rooms {
    pub(crate) inner: Arc<Inner>,
}

#[derive(Debug)]
pub(crate) struct Inner {
    pub(crate) store: Store,
    pub(crate) appender: Appender,
    pub(crate) clock: Arc<dyn Clock>,
    pub(crate) key: Arc<SigningKey>,
    pub(crate) options: RoomsOptions,
    pub(crate) pdus: Pdus,
    pub(crate) groups: Groups,
    pub(crate) auth_graphs: AuthGraphs,
    /// Which group holds the resolution of others; groups never change.
    pub(crate) resolutions: Cache<Vec<StateGroupNid>, StateGroupNid>,
    pub(crate) people: People,
    /// The access lists of rooms, read.
    pub(crate) server_acls: Cache<EventNid, Arc<ServerAcl>>,
    /// Every room in memory, whoever keeps it there: two values for one room would drift apart.
    live: Mutex<HashMap<RoomNid, Weak<Room>>>,
    /// Keeps rooms in memory while they are used now and then.
    kept: Cache<RoomNid, Arc<Room>>,
    by_id: Cache<OwnedRoomId, RoomNid>,
    hits: HitRate,
    /// Transaction ids answered lately.
    pub(crate) transactions: Cache<crate::write::TransactionKey, OwnedEventId>,
    pub(crate) tasks: TaskTracker,
    /// Policy servers that do not answer.
    pub(crate) policy_pauses: Pauses,
    /// Told when a room was joined here without most of its members.
    pub(crate) partial_news: tokio::sync::Notify,
}

impl Rooms {
    /// The rooms in `store`; events are signed with `key`.
    pub fn new(
        store: Store,
        appender: Appender,
        clock: Arc<dyn Clock>,
        key: Arc<SigningKey>,
        options: RoomsOptions,
    ) -> Self {
        let kept =
            Cache::builder().max_capacity(options.cached_rooms).time_to_idle(options.cache_idle).build();
        let transactions =
            Cache::builder().max_capacity(100_000).time_to_live(Duration::from_mins(30)).build();
        Self {
            inner: Arc::new(Inner {
                pdus: Pdus::new(store.clone()),
                groups: Groups::new(store.clone()),
                auth_graphs: AuthGraphs::new(store.clone()),
                resolutions: Cache::new(50_000),
                people: People::new(),
                server_acls: Cache::new(1_000),
                live: Mutex::default(),
                kept,
                by_id: Cache::new(100_000),
                hits: HitRate::default(),
                transactions,
                policy_pauses: Pauses::new(),
                tasks: TaskTracker::new(),
                partial_news: tokio::sync::Notify::new(),
                store,
                appender,
                clock,
                key,
                options,
            }),
        }
    }

    /// A room by its id, loaded; `None` when this server does not hold it.
    pub async fn find(&self, room_id: &RoomId) -> Result<Option<Arc<Room>>, StorageError> {
        if let Some(nid) = self.inner.by_id.get(room_id) {
            return self.find_by_nid(nid).await;
        }
        let Some(row) = self.inner.store.reader().await?.find_room(room_id).await? else { return Ok(None) };
        self.inner.by_id.insert(row.room_id.clone(), row.nid);
        self.load(self.intern(row)?).await.map(Some)
    }

    /// A room by its number, loaded.
    pub async fn find_by_nid(&self, nid: RoomNid) -> Result<Option<Arc<Room>>, StorageError> {
        if let Some(room) = self.inner.hits.count(self.live(nid)) {
            return self.load(room).await.map(Some);
        }
        let rows = self.inner.store.reader().await?.list_rooms(&[nid]).await?;
        let Some(row) = rows.into_iter().next() else { return Ok(None) };
        self.load(self.intern(row)?).await.map(Some)
    }

    /// A user's membership. What memory denies is looked up in the database, since another replica may know better.
    pub async fn membership(&self, room: &Room, user: UserNid) -> Result<Option<Membership>, StorageError> {
        let known = room.read().membership(user);
        if known == Some(Membership::Join) {
            return Ok(known);
        }
        let row = self.inner.store.reader().await?.find_membership(room.nid, user).await?;
        Ok(row.map(|row| row.membership))
    }

    /// The rooms a user has joined.
    pub async fn list_joined(&self, user: UserNid) -> Result<Vec<OwnedRoomId>, StorageError> {
        self.inner.store.reader().await?.list_joined_rooms(user).await
    }

    /// Brings what memory knows of a room up to what the database holds now, and says where the room stands. For rare
    /// actions that decide by the state before they write.
    pub(crate) async fn catch_up(&self, room: &Room) -> Result<Option<RoomHead>, StorageError> {
        let head = self.inner.store.reader().await?.find_room_head(room.nid).await?;
        if let Some(head) = &head {
            self.inner.store.tail().wait_applied(head.last_position).await;
        }
        Ok(head)
    }

    /// The forward extremities of a room.
    pub async fn list_extremities(&self, room: &Room) -> Result<Vec<OwnedEventId>, StorageError> {
        let mut reader = self.inner.store.reader().await?;
        let Some(head) = reader.find_room_head(room.nid).await? else { return Ok(Vec::new()) };
        let ends = reader.list_ends(&head.forward_extremities).await?;
        Ok(ends.into_iter().map(|end| end.event_id).collect())
    }

    /// State events with an empty state key, as they stand now.
    pub(crate) async fn current_state_pdus<const N: usize>(
        &self,
        room: &Room,
        types: [&str; N],
    ) -> Result<[Option<Arc<Pdu>>; N], StorageError> {
        let nids = {
            let state = room.read();
            types.map(|event_type| state.state_event(event_type, ""))
        };
        let pdus = self.inner.pdus.find(room, nids.into_iter().flatten()).await?;
        Ok(nids.map(|nid| pdus.get(&nid?).cloned()))
    }

    /// Sees to it that the newest `limit` events of a room are in memory (as far as memory keeps that many).
    pub async fn warm_recent(&self, room: &Arc<Room>, limit: usize) -> Result<(), StorageError> {
        loading::load_recent(&self.inner.store, room, limit).await
    }

    /// This server's name.
    pub fn server_name(&self) -> &ruma::ServerName {
        &self.inner.options.server_name
    }

    /// The version of rooms whose creator asks for none.
    pub fn default_version(&self) -> &RoomVersionId {
        &self.inner.options.default_version
    }

    /// Whether a user is of this server.
    pub fn is_local(&self, user_id: &UserId) -> bool {
        user_id.server_name() == self.inner.options.server_name
    }

    /// The database.
    pub fn store(&self) -> &Store {
        &self.inner.store
    }

    /// Waits until every write under way has ended, and takes no more.
    pub async fn shut_down(&self) {
        self.inner.tasks.close();
        self.inner.tasks.wait().await;
    }

    /// How often each cache had what it was asked for.
    pub fn hit_counts(&self) -> [(&'static str, HitCounts); 2] {
        [("rooms", self.inner.hits.counts()), ("pdus", self.inner.pdus.hits.counts())]
    }

    /// How many rooms are in memory.
    pub fn cached_count(&self) -> usize {
        self.inner.live.lock().len()
    }

    fn live(&self, nid: RoomNid) -> Option<Arc<Room>> {
        let room = self.inner.live.lock().get(&nid).and_then(Weak::upgrade)?;
        // Counts as a use, and brings it back when it was only kept alive by somebody else.
        if self.inner.kept.get(&nid).is_none() {
            self.inner.kept.insert(nid, room.clone());
        }
        Some(room)
    }

    /// Takes in a room that was just made here. It stays only as long as somebody holds it.
    pub(crate) fn add_live(&self, room: &Arc<Room>) {
        self.inner.live.lock().insert(room.nid, Arc::downgrade(room));
    }

    /// Keeps a room in memory for a while.
    pub(crate) fn keep(&self, room: &Arc<Room>) {
        self.inner.by_id.insert(room.room_id.clone(), room.nid);
        self.inner.kept.insert(room.nid, room.clone());
    }

    /// Has a room read again when it is asked for next.
    pub(crate) fn drop_from_memory(&self, room: RoomNid) {
        self.inner.live.lock().remove(&room);
        self.inner.kept.invalidate(&room);
    }

    /// The one value for a room, made when there is none.
    fn intern(&self, row: RoomRow) -> Result<Arc<Room>, StorageError> {
        let rules = room_version::rules(&row.version).ok_or_else(|| StorageError::Inconsistent {
            table: "rooms",
            column: "room_version",
            row: row.nid.0.to_string(),
        })?;
        let room = {
            let mut live = self.inner.live.lock();
            if let Some(room) = live.get(&row.nid).and_then(Weak::upgrade) {
                room
            } else {
                if live.len() >= 2 * self.inner.options.cached_rooms as usize {
                    live.retain(|_, room| room.strong_count() > 0);
                }
                let room = Arc::new(Room::new(row.nid, row.room_id, row.version, rules));
                live.insert(row.nid, Arc::downgrade(&room));
                room
            }
        };
        self.inner.kept.insert(room.nid, room.clone());
        Ok(room)
    }

    async fn load(&self, room: Arc<Room>) -> Result<Arc<Room>, StorageError> {
        if !room.is_loaded() {
            let _loading = room.loading.lock().await;
            if !room.is_loaded() {
                loading::load(&self.inner.store, &room).await?;
            }
        }
        Ok(room)
    }

    async fn apply_event(&self, room: RoomNid, event: &Arc<EventRecord>, is_local: bool) {
        let Some(room) = self.inner.live.lock().get(&room).and_then(Weak::upgrade) else { return };
        let member = self.member_change(event).await;
        room.apply(event, member);
        if !is_local {
            room.update(|state| state.head = None);
        }
    }

    /// Takes note of what state resolution has changed.
    async fn apply_resolution(&self, room: RoomNid, entry: &LogEntry) {
        if entry.kind == LogKind::RoomReplaced {
            self.inner.pdus.forget_all();
        }
        let Some(room) = self.inner.live.lock().get(&room).and_then(Weak::upgrade) else { return };
        if !room.is_loaded() {
            // It is read with the change in it, or is being read and will be read again when it is needed.
            self.inner.live.lock().remove(&room.nid);
            self.inner.kept.invalidate(&room.nid);
            return;
        }
        let applied = match entry.kind {
            LogKind::RoomReplaced => self.reload(&room).await,
            _ => self.apply_correction(&room, entry).await,
        };
        if let Err(error) = applied {
            tracing::error!(%error, room_id = %room.room_id, "a change of state is missing in memory");
        }
        if !entry.is_local {
            room.update(|state| state.head = None);
        }
    }

    /// Reads a room again. One that has turned out to be of another version is dropped: it is another value then.
    async fn reload(&self, room: &Room) -> Result<(), StorageError> {
        let rows = self.inner.store.reader().await?.list_rooms(&[room.nid]).await?;
        if rows.iter().any(|row| row.version != room.version) {
            self.drop_from_memory(room.nid);
            return Ok(());
        }
        loading::reload(&self.inner.store, room).await
    }

    async fn apply_correction(&self, room: &Room, entry: &LogEntry) -> Result<(), StorageError> {
        let slot = match &entry.event {
            Some(event) => event.slot,
            None => entry.subject.map(SlotNid),
        };
        let Some(slot) = slot else { return Ok(()) };
        let names = self.inner.store.slot_names(&[slot]).await?;
        let Some((event_type, state_key)) = names.get(&slot).cloned() else { return Ok(()) };
        let replaces = room.read().state_event(&event_type, &state_key);
        let member = match &entry.event {
            Some(event) => self.member_change(event).await,
            None => match <&UserId>::try_from(&*state_key) {
                Ok(user_id) if &*event_type == "m.room.member" => {
                    Some((self.inner.store.intern_user(user_id).await?, Membership::Leave))
                }
                _ => None,
            },
        };
        let event = entry.event.as_ref().map(|event| event.nid);
        let correction = Correction { position: entry.position, event_type, state_key, event, replaces };
        room.update(|state| state.apply_correction(correction, member));
        Ok(())
    }

    /// Who becomes what by an event.
    pub async fn member_change(&self, event: &EventRecord) -> Option<(UserNid, Membership)> {
        #[derive(Deserialize)]
        struct Event<'a> {
            #[serde(borrow)]
            content: Content<'a>,
        }
        #[derive(Deserialize)]
        struct Content<'a> {
            membership: &'a str,
        }
        if &*event.event_type != "m.room.member" || event.outcome != Outcome::Accepted {
            return None;
        }
        let user_id = <&UserId>::try_from(&**event.state_key.as_ref()?).ok()?;
        let content = serde_json::from_str::<Event<'_>>(&event.json).ok()?.content;
        let membership = Membership::parse(content.membership)?;
        match self.inner.store.intern_user(user_id).await {
            Ok(user) => Some((user, membership)),
            Err(error) => {
                tracing::error!(%error, event_id = %event.event_id, "could not look up a member");
                None
            }
        }
    }
}

impl LogApplier for Rooms {
    fn apply<'a>(&'a self, entries: &'a [LogEntry]) -> Pin<Box<dyn Future<Output = ()> + Send + 'a>> {
        Box::pin(async move {
            for entry in entries {
                self.inner.people.apply(entry);
                let Some(room) = entry.room else { continue };
                match (entry.kind, &entry.event) {
                    (LogKind::Event, Some(event)) => self.apply_event(room, event, entry.is_local).await,
                    (LogKind::StateRestored | LogKind::StateRemoved | LogKind::RoomReplaced, _) => {
                        self.apply_resolution(room, entry).await;
                    }
                    _ => {}
                }
            }
        })
    }
}
