//! Whether a server may take part in a room.

use std::sync::Arc;

use hs_room_rules::server_acl::ServerAcl;
use hs_storage::StorageError;
use ruma::ServerName;

use crate::{Room, Rooms};

impl Rooms {
    /// Whether the room's current access list lets a server take part. This server always may: nobody here could mend the
    /// list otherwise.
    pub async fn allows_server(&self, room: &Room, server: &ServerName) -> Result<bool, StorageError> {
        if server == self.server_name() {
            return Ok(true);
        }
        let acl = self.server_acl(room).await?;
        Ok(acl.is_none_or(|acl| acl.allows(server)))
    }

    /// The room's current access list, for asking about many servers.
    pub async fn server_acl(&self, room: &Room) -> Result<Option<Arc<ServerAcl>>, StorageError> {
        let Some(event) = room.read().state_event("m.room.server_acl", "") else { return Ok(None) };
        if let Some(acl) = self.inner.server_acls.get(&event) {
            return Ok(Some(acl));
        }
        let mut pdus = self.inner.pdus.find(room, [event]).await?;
        let Some(pdu) = pdus.remove(&event) else { return Ok(None) };
        let acl = Arc::new(ServerAcl::read(pdu.content_str()));
        self.inner.server_acls.insert(event, acl.clone());
        Ok(Some(acl))
    }
}
