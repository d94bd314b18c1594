//! The tree of rooms below a space, walked in depth first.
//!
//! Each page walks again from the root, so that a token is no more than a number and any replica can go on; what the user
//! may see is decided anew each time.
//!
//! <https://spec.matrix.org/v1.19/client-server-api/#discovering-rooms-within-spaces>

mod for_servers;

use std::{
    collections::{HashMap, HashSet},
    str::FromStr,
    sync::Arc,
};

use hs_model::{
    ids::{RoomNid, UserNid},
    records::EventRecord,
};
use hs_storage::StorageError;
use ruma::{OwnedRoomId, ServerName};
use serde::Deserialize;
use serde_json::value::RawValue;

use crate::{
    Room, Rooms,
    client_event::{stored_content, stripped_with_time},
    preview::Preview,
};

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
struct Child {
    room_id: OwnedRoomId,
    json: Box<RawValue>,
    order: Option<String>,
    ts: i64,
}

/// For whom a walk is.
#[derive(Clone, Copy, Debug)]
enum Walker<'a> {
    User(UserNid),
    Server(&'a ServerName),
}

/// A walk under way.
struct Walk<'a> {
    rooms: &'a Rooms,
    walker: Walker<'a>,
    suggested_only: bool,
    previews: HashMap<RoomNid, Preview>,
    children: HashMap<RoomNid, Vec<Child>>,
}

impl Rooms {
    /// A page of the tree below a room; `None` when the viewer may not see the room.
    pub async fn hierarchy(
        &self,
        root: &Room,
        viewer: UserNid,
        request: HierarchyRequest,
    ) -> Result<Option<HierarchyPage>, StorageError> {
        let suggested_only = request.suggested_only;
        let mut walk = Walk::new(self, Walker::User(viewer), suggested_only);
        walk.load(&[root.nid]).await?;
        if !walk.previews.get(&root.nid).is_some_and(Preview::may_be_seen) {
            return Ok(None);
        }
        let mut page = HierarchyPage::default();
        let mut stack = vec![(root.nid, 0)];
        let (mut seen, mut found) = (HashSet::new(), 0);
        while let Some((nid, depth)) = stack.pop() {
            // Rooms are told of once, so that loops end and rooms in several spaces do not multiply.
            if seen.len() >= MAX_WALKED || !seen.insert(nid) {
                continue;
            }
            let Some(preview) = walk.previews.get(&nid).filter(|preview| preview.may_be_seen()) else {
                continue;
            };
            if page.rooms.len() == request.limit {
                let skip = request.skip + page.rooms.len();
                page.next = Some(HierarchyToken { skip, max_depth: request.max_depth, suggested_only });
                break;
            }
            found += 1;
            if found > request.skip {
                page.rooms.push(HierarchyRoom {
                    preview: preview.clone(),
                    children: walk.children_of(nid).map(|child| child.json.clone()).collect(),
                });
            }
            if depth < request.max_depth {
                let below = walk.expand(nid).await?;
                stack.extend(below.into_iter().rev().map(|child| (child, depth + 1)));
            }
        }
        Ok(Some(page))
    }
}

impl<'a> Walk<'a> {
    fn new(rooms: &'a Rooms, walker: Walker<'a>, suggested_only: bool) -> Self {
        Self { rooms, walker, suggested_only, previews: HashMap::new(), children: HashMap::new() }
    }

    fn children_of(&self, space: RoomNid) -> impl Iterator<Item = &Child> {
        self.children.get(&space).into_iter().flatten()
    }

    /// The children of a space that this server knows, in order, looked up all together.
    async fn expand(&mut self, space: RoomNid) -> Result<Vec<RoomNid>, StorageError> {
        let ids: Vec<OwnedRoomId> = self.children_of(space).map(|child| child.room_id.clone()).collect();
        if ids.is_empty() {
            return Ok(Vec::new());
        }
        let known = self.rooms.inner.store.reader().await?.find_room_nids(&ids).await?;
        let nids: Vec<RoomNid> = ids.iter().filter_map(|id| known.get(id).copied()).collect();
        let new: Vec<RoomNid> = nids.iter().copied().filter(|nid| !self.previews.contains_key(nid)).collect();
        self.load(&new).await?;
        Ok(nids)
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
    fn child(&self, event: &Arc<EventRecord>) -> Option<Child> {
        #[derive(Deserialize)]
        struct Content {
            via: Vec<String>,
            #[serde(default)]
            order: serde_json::Value,
            #[serde(default)]
            suggested: serde_json::Value,
        }
        let room_id = OwnedRoomId::try_from(event.state_key.as_deref()?).ok()?;
        let content = serde_json::from_str::<Content>(stored_content(event).ok()?.get()).ok()?;
        if content.via.is_empty() || (self.suggested_only && content.suggested != true) {
            return None;
        }
        let order = content.order.as_str().filter(|order| {
            order.chars().count() <= MAX_ORDER_LENGTH && order.chars().all(|c| (' '..='~').contains(&c))
        });
        Some(Child {
            room_id,
            json: stripped_with_time(event).ok()?,
            order: order.map(str::to_owned),
            ts: event.origin_server_ts,
        })
    }
}

impl Child {
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
