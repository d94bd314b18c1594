//! Which servers may take part in a room.

use hs_room_rules::server_acl::ServerAcl;
use hs_storage::StorageError;
use ruma::ServerName;

use crate::{Room, Rooms};

impl Rooms {
    /// Whether the access control list of a room, as it stands now, lets a server take part.
    pub async fn allows_server(&self, room: &Room, server: &ServerName) -> Result<bool, StorageError> {
        let [acl] = self.current_state_pdus(room, ["m.room.server_acl"]).await?;
        Ok(acl.is_none_or(|acl| ServerAcl::read(acl.content_str()).allows(server)))
    }
}
