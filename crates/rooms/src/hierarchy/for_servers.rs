//! One level of the tree below a space, for another server that walks it.
//!
//! <https://spec.matrix.org/v1.19/server-server-api/#get_matrixfederationv1hierarchyroomid>

use hs_storage::StorageError;
use ruma::{OwnedRoomId, ServerName};

use super::{HierarchyRoom, Node, Walk, Walker};
use crate::{Room, Rooms, preview::Preview};

/// What a server is told of a space.
#[derive(Clone, Debug)]
pub struct ServerHierarchy {
    /// The space.
    pub room: HierarchyRoom,
    /// Those of its children that users of the server might join or read.
    pub children: Vec<HierarchyRoom>,
    /// Those that none of them might.
    pub inaccessible: Vec<OwnedRoomId>,
}

impl Rooms {
    /// A space and its children; `None` when no user of the server may see it.
    pub async fn hierarchy_for_server(
        &self,
        root: &Room,
        server: &ServerName,
        suggested_only: bool,
    ) -> Result<Option<ServerHierarchy>, StorageError> {
        let mut walk = Walk::new(self, Walker::Server(server), suggested_only);
        walk.load(&[root.nid]).await?;
        let Some(preview) = walk.previews.get(&root.nid).filter(|preview| preview.may_be_seen()).cloned()
        else {
            return Ok(None);
        };
        let below = walk.expand(&Node::Here(root.nid)).await?;
        let (mut children, mut inaccessible) = (Vec::new(), Vec::new());
        for node in below {
            let Node::Here(nid) = node else { continue };
            // Rooms of which this server knows no more than the name are left out: others may know them.
            let Some(child) = walk.previews.get(&nid).filter(|child| child.shown.joined > 0) else {
                continue;
            };
            if child.may_be_seen() {
                children.push(walk.room(nid, child.clone()));
            } else {
                inaccessible.push(child.shown.room_id.clone());
            }
        }
        let room = walk.room(root.nid, preview);
        Ok(Some(ServerHierarchy { room, children, inaccessible }))
    }
}

impl Walk<'_> {
    fn room(&self, nid: hs_model::ids::RoomNid, preview: Preview) -> HierarchyRoom {
        let children = self.children_of(&Node::Here(nid)).iter().map(|child| child.json.clone()).collect();
        HierarchyRoom { preview, children }
    }
}
