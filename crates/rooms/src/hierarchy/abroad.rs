//! Rooms of a tree that this server is not in: other servers tell of them.

use std::{
    collections::{HashMap, HashSet},
    sync::Arc,
    time::Duration,
};

use futures_util::{StreamExt as _, stream};
use hs_model::{
    ids::{RoomNid, UserNid},
    membership::Membership,
};
use hs_storage::StorageError;
use moka::sync::Cache;
use ruma::{OwnedRoomId, OwnedServerName, RoomId, ServerName};
use serde::{Deserialize, Serialize};
use serde_json::value::RawValue;
use tokio::time::Instant;

use super::{Child, MAX_CHILDREN, Node, Walk, Walker};
use crate::{
    Rooms,
    ports::{RemoteRoom, RemoteRooms, RemoteSpace},
    preview::Preview,
};

/// How many rooms of other servers are remembered, and for how long.
const MAX_REMEMBERED: u64 = 2_000;
const REMEMBER: Duration = Duration::from_mins(5);
/// How many servers are asked about one room.
const MAX_SERVERS: usize = 3;
/// How many rooms are asked about at the same time.
const MAX_AT_ONCE: usize = 8;
/// How many rooms are asked about for one page.
const MAX_ASKED: usize = 100;
/// How long the children of a space are waited for.
const PATIENCE: Duration = Duration::from_secs(15);

/// What other servers have told of rooms lately. Cloning shares it.
#[derive(Clone, Debug)]
pub(crate) struct Abroad(Cache<OwnedRoomId, Arc<RemoteSpace>>);

impl Default for Abroad {
    fn default() -> Self {
        Self(Cache::builder().max_capacity(MAX_REMEMBERED).time_to_live(REMEMBER).build())
    }
}

/// Asks other servers for one walk.
pub(super) struct Help<'a> {
    remote: &'a dyn RemoteRooms,
    known: &'a Abroad,
    own: &'a ServerName,
    /// How many rooms may still be asked about.
    left: usize,
}

impl<'a> Help<'a> {
    pub(super) fn new(remote: &'a dyn RemoteRooms, known: &'a Abroad, rooms: &'a Rooms) -> Self {
        Self { remote, known, own: rooms.server_name(), left: MAX_ASKED }
    }

    /// What servers tell of some rooms: those that answer in time.
    async fn find(&mut self, mut wanted: Vec<(OwnedRoomId, Vec<OwnedServerName>)>) -> Vec<Arc<RemoteSpace>> {
        wanted.truncate(self.left);
        self.left -= wanted.len();
        let deadline = Instant::now() + PATIENCE;
        let this = &*self;
        let asked = wanted.into_iter().map(|(room_id, via)| async move { this.ask(&room_id, via).await });
        let mut answers = stream::iter(asked).buffer_unordered(MAX_AT_ONCE);
        let mut found = Vec::new();
        while let Ok(Some(answer)) = tokio::time::timeout_at(deadline, answers.next()).await {
            found.extend(answer);
        }
        found
    }

    async fn ask(&self, room_id: &RoomId, mut servers: Vec<OwnedServerName>) -> Option<Arc<RemoteSpace>> {
        if let Some(known) = self.known.0.get(room_id) {
            return Some(known);
        }
        servers.extend(room_id.server_name().map(ToOwned::to_owned));
        let mut asked: HashSet<OwnedServerName> = HashSet::from([self.own.to_owned()]);
        servers.retain(|server| asked.insert(server.clone()));
        for server in servers.iter().take(MAX_SERVERS) {
            match self.remote.space(server, room_id).await {
                Ok(space) if *space.room.room_id == *room_id => {
                    let space = Arc::new(space);
                    self.known.0.insert(room_id.to_owned(), space.clone());
                    return Some(space);
                }
                Ok(_) => tracing::debug!(%server, %room_id, "told of another room"),
                Err(failure) => tracing::debug!(%failure, %room_id, "could not ask about a room"),
            }
        }
        None
    }
}

impl Walk<'_> {
    /// Where the walk begins; `None` when nobody knows the room.
    pub(super) async fn find_root(&mut self, room_id: &RoomId) -> Result<Option<Node>, StorageError> {
        let ids = [room_id.to_owned()];
        let known = self.rooms.inner.store.reader().await?.find_room_nids(&ids).await?;
        let nid = known.get(room_id).copied();
        self.load(&nid.into_iter().collect::<Vec<_>>()).await?;
        let [room_id] = ids;
        let root = Child {
            json: RawValue::NULL.to_owned(),
            order: None,
            ts: 0,
            via: self.servers_of(nid).await?,
            room_id: room_id.clone(),
        };
        let abroad = self.ask_abroad(&[root], &known).await?;
        if abroad.contains(&room_id) && self.told.contains_key(&room_id) {
            return Ok(Some(Node::Abroad(room_id)));
        }
        Ok(nid.map(Node::Here))
    }

    /// Servers that may know of a room that this server knows from an invite or from earlier.
    async fn servers_of(&self, nid: Option<RoomNid>) -> Result<Vec<OwnedServerName>, StorageError> {
        let (Some(nid), Walker::User(user)) = (nid, self.walker) else { return Ok(Vec::new()) };
        let mut reader = self.rooms.inner.store.reader().await?;
        let mut servers: Vec<OwnedServerName> =
            reader.find_stripped_state(nid, user).await?.map(|shown| shown.servers).unwrap_or_default();
        servers.extend(reader.list_joined_servers(nid, MAX_SERVERS as i64).await?);
        Ok(servers)
    }

    /// Has other servers tell of those of the children whose rooms this server is not in; returns which these are.
    pub(super) async fn ask_abroad(
        &mut self,
        children: &[Child],
        known: &HashMap<OwnedRoomId, RoomNid>,
    ) -> Result<HashSet<OwnedRoomId>, StorageError> {
        let (Some(mut help), Walker::User(viewer)) = (self.help.take(), self.walker) else {
            return Ok(HashSet::new());
        };
        let nids: Vec<RoomNid> = known.values().copied().collect();
        let own = self.rooms.inner.store.reader().await?.list_stays_of_server(&nids, help.own).await?;
        let is_here = |room_id: &OwnedRoomId| {
            known.get(room_id).and_then(|nid| own.get(nid)) == Some(&Membership::Join)
        };
        let elsewhere: Vec<&Child> = children.iter().filter(|child| !is_here(&child.room_id)).collect();
        let wanted = elsewhere
            .iter()
            .filter(|child| !self.told.contains_key(&child.room_id))
            .map(|child| (child.room_id.clone(), child.via.clone()))
            .collect();
        let found = help.find(wanted).await;
        self.help = Some(help);
        self.note_told(&found, viewer).await?;
        Ok(elsewhere.into_iter().map(|child| child.room_id.clone()).collect())
    }

    /// Keeps what was told. Of a room that was asked about itself, that counts more than what its space says.
    async fn note_told(&mut self, spaces: &[Arc<RemoteSpace>], viewer: UserNid) -> Result<(), StorageError> {
        let mut told: HashMap<&RoomId, &RemoteRoom> = HashMap::new();
        for space in spaces {
            for child in &space.children {
                told.entry(&child.room_id).or_insert(child);
            }
        }
        told.extend(spaces.iter().map(|space| (&*space.room.room_id, &space.room)));
        if told.is_empty() {
            return Ok(());
        }
        let ids: Vec<OwnedRoomId> = told.keys().map(|id| (*id).to_owned()).collect();
        let allowed: HashSet<&OwnedRoomId> = told.values().flat_map(|room| &room.allowed_rooms).collect();
        let allowed: Vec<OwnedRoomId> = allowed.into_iter().cloned().collect();
        let mut reader = self.rooms.inner.store.reader().await?;
        let known = reader.find_room_nids(&ids).await?;
        let nids: Vec<RoomNid> = known.values().copied().collect();
        let memberships = reader.list_memberships_among(viewer, &nids).await?;
        let inside = reader.list_joined_among(&allowed, viewer).await?;
        drop(reader);
        for (room_id, room) in told {
            let membership = known.get(room_id).and_then(|nid| memberships.get(nid)).copied();
            let is_in_allowed_room = room.allowed_rooms.iter().any(|allowed| inside.contains(allowed));
            let preview = Preview::of_remote(room, membership, is_in_allowed_room);
            self.told.insert(room_id.to_owned(), (preview, self.children_in(room)));
        }
        Ok(())
    }

    /// The children that another server names, in order.
    fn children_in(&self, room: &RemoteRoom) -> Vec<Child> {
        #[derive(Deserialize, Serialize)]
        struct Stripped<'a> {
            #[serde(borrow)]
            content: &'a RawValue,
            origin_server_ts: i64,
            sender: ruma::OwnedUserId,
            state_key: String,
            r#type: String,
        }
        let read = |json: &RawValue| {
            let event: Stripped<'_> = serde_json::from_str(json.get()).ok()?;
            // Nothing is passed on but what belongs there.
            let json = serde_json::value::to_raw_value(&event).ok()?;
            let is_child = event.r#type == "m.space.child";
            let (child, is_suggested) =
                Child::read(&event.state_key, event.content, json, event.origin_server_ts)?;
            (is_child && (is_suggested || !self.suggested_only)).then_some(child)
        };
        let mut children: Vec<Child> =
            room.children.iter().take(MAX_CHILDREN).filter_map(|json| read(json)).collect();
        children.sort_by(|a, b| a.rank().cmp(&b.rank()));
        children
    }
}
