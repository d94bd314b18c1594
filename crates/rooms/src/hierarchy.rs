//! The tree of rooms below a space, walked in depth first.
//!
//! Each page walks again from the root, so that a token is no more than a number and any replica can go on; what the user
//! may see is decided anew each time.
//!
//! <https://spec.matrix.org/v1.19/client-server-api/#discovering-rooms-within-spaces>

mod abroad;
mod for_servers;

use std::{
    collections::{HashMap, HashSet},
    str::FromStr,
};

use hs_model::{
    ids::{RoomNid, UserNid},
    records::EventRecord,
};
use hs_storage::StorageError;
use ruma::{OwnedRoomId, OwnedServerName, RoomId, ServerName};
use serde::Deserialize;
use serde_json::value::RawValue;

use crate::{
    RoomActions, Rooms,
    client_event::{stored_content, stripped_with_time},
    preview::Preview,
};

pub(crate) use self::abroad::Abroad;
pub use self::for_servers::ServerHierarchy;

/// The most rooms of a page.
pub const MAX_LIMIT: usize = 100;
/// How deep a walk goes when the client does not say, and at most.
pub const MAX_DEPTH: usize = 50;
/// How many rooms a walk looks at; what lies beyond in a larger tree is not found.
const MAX_WALKED: usize = 10_000;
/// How many children of a space count.
const MAX_CHILDREN: usize = 2_000;
/// The longest valid `order` of a child.
const MAX_ORDER_LENGTH: usize = 50;

/// Which part of a tree is wanted.
#[derive(Clone, Copy, Debug)]
pub struct HierarchyRequest {
    /// Only rooms that their spaces suggest.
    pub suggested_only: bool,
    /// How many steps from the root.
    pub max_depth: usize,
    /// The most rooms to return.
    pub limit: usize,
    /// How many rooms come before the page.
    pub skip: usize,
}

/// A room of the tree.
#[derive(Clone, Debug)]
pub struct HierarchyRoom {
    /// What it is.
    pub preview: Preview,
    /// Its `m.space.child` events, stripped, in the order of the children.
    pub children: Vec<Box<RawValue>>,
}

/// A page of the tree.
#[derive(Clone, Debug, Default)]
pub struct HierarchyPage {
    /// The rooms.
    pub rooms: Vec<HierarchyRoom>,
    /// Where the next page begins.
    pub next: Option<HierarchyToken>,
}

/// Where a page begins, in a walk of this kind.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct HierarchyToken {
    /// How many rooms come before.
    pub skip: usize,
    /// As in the request that the walk began with.
    pub max_depth: usize,
    /// As in the request that the walk began with.
    pub suggested_only: bool,
}

impl std::fmt::Display for HierarchyToken {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "h{}_{}_{}", self.skip, self.max_depth, u8::from(self.suggested_only))
    }
}

/// The text is no token of ours.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct NotAToken;

impl FromStr for HierarchyToken {
    type Err = NotAToken;

    fn from_str(text: &str) -> Result<Self, NotAToken> {
        let mut parts = text.strip_prefix('h').ok_or(NotAToken)?.split('_');
        let mut number = || parts.next().and_then(|part| part.parse::<usize>().ok()).ok_or(NotAToken);
        let (skip, max_depth, suggested_only) = (number()?, number()?, number()?);
        if parts.next().is_some() || suggested_only > 1 {
            return Err(NotAToken);
        }
        Ok(Self { skip, max_depth, suggested_only: suggested_only == 1 })
    }
}

/// A child of a space.
#[derive(Clone, Debug)]
struct Child {
    room_id: OwnedRoomId,
    json: Box<RawValue>,
    order: Option<String>,
    ts: i64,
    /// Servers that may be in the room.
    via: Vec<OwnedServerName>,
}

/// For whom a walk is.
#[derive(Clone, Copy, Debug)]
enum Walker<'a> {
    User(UserNid),
    Server(&'a ServerName),
}

/// A room on the way.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
enum Node {
    /// One that this server knows.
    Here(RoomNid),
    /// One of which another server has told.
    Abroad(OwnedRoomId),
}

/// A walk under way.
struct Walk<'a> {
    rooms: &'a Rooms,
    walker: Walker<'a>,
    suggested_only: bool,
    previews: HashMap<RoomNid, Preview>,
    children: HashMap<RoomNid, Vec<Child>>,
    /// Asks other servers; without it, rooms that this server is not in are as it remembers them.
    help: Option<abroad::Help<'a>>,
    /// What other servers have told.
    told: HashMap<OwnedRoomId, (Preview, Vec<Child>)>,
}

impl RoomActions {
    /// A page of the tree below a room; `None` when there is no such room, or the viewer may not see it. Rooms that this server
    /// is not in are asked for where they are.
    pub async fn hierarchy(
        &self,
        root: &RoomId,
        viewer: UserNid,
        request: HierarchyRequest,
    ) -> Result<Option<HierarchyPage>, StorageError> {
        let mut walk = Walk::new(&self.rooms, Walker::User(viewer), request.suggested_only);
        walk.help =
            self.remote_rooms.as_deref().map(|remote| abroad::Help::new(remote, &self.abroad, &self.rooms));
        let Some(root) = walk.find_root(root).await? else { return Ok(None) };
        if !walk.preview(&root).is_some_and(Preview::may_be_seen) {
            return Ok(None);
        }
        walk.page(root, request).await.map(Some)
    }
}

impl<'a> Walk<'a> {
    fn new(rooms: &'a Rooms, walker: Walker<'a>, suggested_only: bool) -> Self {
        Self {
            rooms,
            walker,
            suggested_only,
            previews: HashMap::new(),
            children: HashMap::new(),
            help: None,
            told: HashMap::new(),
        }
    }

    /// Walks depth first from the root, and gathers the rooms of the page.
    async fn page(&mut self, root: Node, request: HierarchyRequest) -> Result<HierarchyPage, StorageError> {
        let mut page = HierarchyPage::default();
        let mut stack = vec![(root, 0)];
        let (mut seen, mut found) = (HashSet::new(), 0);
        while let Some((node, depth)) = stack.pop() {
            // Rooms are told of once, so that loops end and rooms in several spaces do not multiply.
            if seen.len() >= MAX_WALKED || !seen.insert(node.clone()) {
                continue;
            }
            let Some(preview) = self.preview(&node).filter(|preview| preview.may_be_seen()) else {
                continue;
            };
            if page.rooms.len() == request.limit {
                let HierarchyRequest { max_depth, suggested_only, .. } = request;
                let skip = request.skip + page.rooms.len();
                page.next = Some(HierarchyToken { skip, max_depth, suggested_only });
                break;
            }
            found += 1;
            if found > request.skip {
                let children = self.children_of(&node).iter().map(|child| child.json.clone()).collect();
                page.rooms.push(HierarchyRoom { preview: preview.clone(), children });
            }
            if depth < request.max_depth {
                let below = self.expand(&node).await?;
                stack.extend(below.into_iter().rev().map(|child| (child, depth + 1)));
            }
        }
        Ok(page)
    }

    fn preview(&self, node: &Node) -> Option<&Preview> {
        match node {
            Node::Here(nid) => self.previews.get(nid),
            Node::Abroad(room_id) => self.told.get(room_id).map(|(preview, _)| preview),
        }
    }

    fn children_of(&self, space: &Node) -> &[Child] {
        let children = match space {
            Node::Here(nid) => self.children.get(nid),
            Node::Abroad(room_id) => self.told.get(room_id).map(|(_, children)| children),
        };
        children.map(Vec::as_slice).unwrap_or_default()
    }

    /// The children of a space that this server knows or other servers tell of, in order, looked up all together.
    async fn expand(&mut self, space: &Node) -> Result<Vec<Node>, StorageError> {
        let children: Vec<Child> = self.children_of(space).to_vec();
        if children.is_empty() {
            return Ok(Vec::new());
        }
        let ids: Vec<OwnedRoomId> = children.iter().map(|child| child.room_id.clone()).collect();
        let known = self.rooms.inner.store.reader().await?.find_room_nids(&ids).await?;
        let new: Vec<RoomNid> =
            known.values().copied().filter(|nid| !self.previews.contains_key(nid)).collect();
        self.load(&new).await?;
        let abroad = self.ask_abroad(&children, &known).await?;
        let node = |child: &Child| {
            if abroad.contains(&child.room_id) && self.told.contains_key(&child.room_id) {
                return Some(Node::Abroad(child.room_id.clone()));
            }
            known.get(&child.room_id).map(|nid| Node::Here(*nid))
        };
        Ok(children.iter().filter_map(node).collect())
    }

    /// Looks up rooms, and the children of those that are spaces which the viewer may see.
    async fn load(&mut self, rooms: &[RoomNid]) -> Result<(), StorageError> {
        if rooms.is_empty() {
            return Ok(());
        }
        let previews = match self.walker {
            Walker::User(user) => self.rooms.previews(rooms, Some(user)).await?,
            Walker::Server(server) => self.rooms.previews_for_server(rooms, server).await?,
        };
        let spaces = previews.iter().filter(|(_, preview)| preview.is_space() && preview.may_be_seen());
        let spaces: Vec<RoomNid> = spaces.map(|(nid, _)| *nid).collect();
        self.previews.extend(previews);
        if spaces.is_empty() {
            return Ok(());
        }
        let mut reader = self.rooms.inner.store.reader().await?;
        let rows = reader.list_space_children(&spaces).await?;
        let nids: Vec<_> = rows.iter().map(|(_, event)| *event).collect();
        let events = reader.find_events(&nids).await?;
        drop(reader);
        for (space, event) in rows {
            // A redacted event names no child any more.
            if let Some(event) = events.get(&event).filter(|event| event.redacted_by.is_none())
                && let Some(child) = self.child(event)
            {
                self.children.entry(space).or_default().push(child);
            }
        }
        for space in spaces {
            if let Some(children) = self.children.get_mut(&space) {
                children.sort_by(|a, b| a.rank().cmp(&b.rank()));
                children.truncate(MAX_CHILDREN);
            }
        }
        Ok(())
    }

    /// Reads an `m.space.child` event; `None` when it names no child.
    fn child(&self, event: &EventRecord) -> Option<Child> {
        let content = stored_content(event);
        let json = stripped_with_time(event).ok()?;
        Child::read(event.state_key.as_deref()?, content, json, event.origin_server_ts)
            .filter(|(_, is_suggested)| *is_suggested || !self.suggested_only)
            .map(|(child, _)| child)
    }
}

impl Child {
    /// Reads the content of an `m.space.child` event, and whether the child is suggested; `None` when it names no child.
    fn read(state_key: &str, content: &RawValue, json: Box<RawValue>, ts: i64) -> Option<(Self, bool)> {
        #[derive(Deserialize)]
        struct Content {
            via: Vec<String>,
            #[serde(default)]
            order: serde_json::Value,
            #[serde(default)]
            suggested: serde_json::Value,
        }
        let room_id = OwnedRoomId::try_from(state_key).ok()?;
        let content = serde_json::from_str::<Content>(content.get()).ok()?;
        if content.via.is_empty() {
            return None;
        }
        let order = content.order.as_str().filter(|order| {
            order.chars().count() <= MAX_ORDER_LENGTH && order.chars().all(|c| (' '..='~').contains(&c))
        });
        let order = order.map(str::to_owned);
        let via = content.via.into_iter().filter_map(|server| server.try_into().ok()).collect();
        Some((Self { room_id, json, order, ts, via }, content.suggested == true))
    }

    /// <https://spec.matrix.org/v1.19/client-server-api/#ordering-of-children-within-a-space>
    fn rank(&self) -> (bool, Option<&str>, i64, &OwnedRoomId) {
        (self.order.is_none(), self.order.as_deref(), self.ts, &self.room_id)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn tokens_are_read_as_written() {
        let token = HierarchyToken { skip: 17, max_depth: 3, suggested_only: true };

        assert_eq!(token.to_string().parse(), Ok(token));
        for nonsense in ["", "h", "h1", "h1_2", "h1_2_3", "h1_2_1_4", "x1_2_0", "h-1_2_0"] {
            assert_eq!(nonsense.parse::<HierarchyToken>(), Err(NotAToken), "{nonsense}");
        }
    }
}
