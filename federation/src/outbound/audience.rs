//! Which servers have to hear of something.

use std::{
    collections::{BTreeSet, HashMap},
    sync::Arc,
};

use hs_model::ids::{RoomNid, UserNid};
use hs_rooms::Rooms;
use hs_storage::StorageError;
use ruma::{OwnedRoomId, OwnedServerName};

/// Some servers, shared by all that is for them.
pub(super) type Servers = Arc<[OwnedServerName]>;

/// Looks up servers, each room and user once.
pub(super) struct Audience<'a> {
    rooms: &'a Rooms,
    of_rooms: HashMap<RoomNid, Option<(OwnedRoomId, Servers)>>,
    of_users: HashMap<UserNid, Servers>,
}

impl<'a> Audience<'a> {
    pub(super) fn new(rooms: &'a Rooms) -> Self {
        Self { rooms, of_rooms: HashMap::new(), of_users: HashMap::new() }
    }

    /// The other servers with joined members, and the room's id. `None` when there is no such room.
    pub(super) async fn of_room(
        &mut self,
        nid: RoomNid,
    ) -> Result<Option<(OwnedRoomId, Servers)>, StorageError> {
        if let Some(known) = self.of_rooms.get(&nid) {
            return Ok(known.clone());
        }
        let found = match self.rooms.find_by_nid(nid).await? {
            Some(room) => {
                let own_name = self.rooms.server_name();
                let servers = room.servers().into_iter().filter(|server| server != own_name).collect();
                Some((room.room_id.clone(), servers))
            }
            None => None,
        };
        self.of_rooms.insert(nid, found.clone());
        Ok(found)
    }

    /// The other servers that share a room with a user.
    pub(super) async fn of_user(&mut self, user: UserNid) -> Result<Servers, StorageError> {
        if let Some(known) = self.of_users.get(&user) {
            return Ok(known.clone());
        }
        let rooms = self.rooms.store().reader().await?.list_joined_room_nids(user).await?;
        let mut servers = BTreeSet::new();
        for room in rooms {
            if let Some((_, others)) = self.of_room(room).await? {
                servers.extend(others.iter().cloned());
            }
        }
        let servers: Servers = servers.into_iter().collect();
        self.of_users.insert(user, servers.clone());
        Ok(servers)
    }
}
