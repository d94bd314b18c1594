//! The list of published rooms.
//!
//! <https://spec.matrix.org/v1.19/client-server-api/#published-room-directory>

use std::{collections::HashMap, sync::Arc};

use hs_model::{
    ids::{EventNid, RoomNid},
    records::EventRecord,
};
use hs_storage::{StorageError, rooms::RoomRow};
use ruma::OwnedRoomId;
use serde::{Deserialize, de::DeserializeOwned};
use serde_json::value::RawValue;

use crate::{RoomActions, ports::RemoteRoom};

/// How many rooms a page has at most.
const MAX_PAGE: usize = 500;

/// What the directory shows of a room.
#[derive(Clone, Debug)]
pub struct PublicRoom {
    nid: RoomNid,
    /// Its id.
    pub room_id: OwnedRoomId,
    /// How many users have joined.
    pub joined: u64,
    /// Its name.
    pub name: Option<String>,
    /// Its topic.
    pub topic: Option<String>,
    /// Its canonical alias.
    pub canonical_alias: Option<String>,
    /// Its picture.
    pub avatar_url: Option<String>,
    /// Its type.
    pub room_type: Option<String>,
    /// Its join rule.
    pub join_rule: Option<String>,
    /// Whether anybody may read it.
    pub is_world_readable: bool,
    /// Whether guests may join it.
    pub guests_can_join: bool,
}

/// Which rooms are wanted.
#[derive(Clone, Debug, Default)]
pub struct PublicRoomsQuery {
    /// In the name, the topic or the alias, whatever the case.
    pub search: Option<String>,
    /// One of these types; `None` in the list stands for rooms without one. No list at all asks for every room.
    pub room_types: Option<Vec<Option<String>>>,
    /// How many rooms the page has at most.
    pub limit: Option<usize>,
    /// Where the page begins, or ends.
    pub since: Option<PublicRoomsToken>,
}

/// A place in the list: how many rooms of it come before the page.
///
/// Rooms that come and go meanwhile shift the list; a directory can live with that.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct PublicRoomsToken(usize);

impl PublicRoomsToken {
    /// Reads what [`Display`](std::fmt::Display) wrote.
    pub fn parse(text: &str) -> Option<Self> {
        text.strip_prefix('p')?.parse().ok().map(Self)
    }
}

impl std::fmt::Display for PublicRoomsToken {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "p{}", self.0)
    }
}

/// A page of the list.
#[derive(Clone, Debug)]
pub struct PublicRoomsPage {
    /// The rooms, the largest first.
    pub rooms: Vec<PublicRoom>,
    /// Where the next page begins.
    pub next: Option<PublicRoomsToken>,
    /// Where the page before begins.
    pub previous: Option<PublicRoomsToken>,
    /// How many rooms there are on all pages.
    pub total: usize,
}

impl RoomActions {
    /// A page of the directory of this server.
    pub async fn list_public_rooms(&self, query: &PublicRoomsQuery) -> Result<PublicRoomsPage, StorageError> {
        let mut rooms = self.all_public_rooms().await?;
        let search = query.search.as_deref().map(str::to_lowercase).filter(|search| !search.is_empty());
        rooms.retain(|room| room.matches(search.as_deref(), query.room_types.as_deref()));
        rooms.sort_by_key(|room| (std::cmp::Reverse(room.joined), room.nid));
        let total = rooms.len();
        let limit = query.limit.unwrap_or(MAX_PAGE).min(MAX_PAGE);
        let start = query.since.map_or(0, |token| token.0).min(total);
        let end = (start + limit).min(total);
        Ok(PublicRoomsPage {
            rooms: rooms.drain(start..end).collect(),
            next: (end < total).then_some(PublicRoomsToken(end)),
            previous: (start > 0).then_some(PublicRoomsToken(start.saturating_sub(limit))),
            total,
        })
    }

    async fn all_public_rooms(&self) -> Result<Vec<PublicRoom>, StorageError> {
        let mut reader = self.rooms.store().reader().await?;
        let nids = reader.list_published_rooms().await?;
        let rows = reader.list_rooms(&nids).await?;
        let joined = reader.count_joined(&nids).await?;
        let state = reader.list_shown_state(&nids).await?;
        let wanted: Vec<EventNid> = state.iter().map(|(_, event)| *event).collect();
        let events = reader.find_events(&wanted).await?;
        let mut by_room: HashMap<RoomNid, Vec<&Arc<EventRecord>>> = HashMap::new();
        for (room, event) in &state {
            by_room.entry(*room).or_default().extend(events.get(event));
        }
        Ok(rows
            .into_iter()
            .map(|row| {
                let members = joined.get(&row.nid).copied().unwrap_or_default() as u64;
                let state = by_room.remove(&row.nid).unwrap_or_default();
                PublicRoom::new(row, members, &state)
            })
            .collect())
    }
}

impl PublicRoom {
    pub(crate) fn new(row: RoomRow, joined: u64, state: &[&Arc<EventRecord>]) -> Self {
        let field = |event_type: &str, key: &str| text_field(state, event_type, key);
        Self {
            nid: row.nid,
            joined,
            name: field("m.room.name", "name"),
            topic: field("m.room.topic", "topic"),
            canonical_alias: field("m.room.canonical_alias", "alias"),
            avatar_url: field("m.room.avatar", "url"),
            room_type: field("m.room.create", "type"),
            join_rule: field("m.room.join_rules", "join_rule"),
            is_world_readable: field("m.room.history_visibility", "history_visibility").as_deref()
                == Some("world_readable"),
            guests_can_join: field("m.room.guest_access", "guest_access").as_deref() == Some("can_join"),
            room_id: row.room_id,
        }
    }

    /// A room of which another server tells.
    pub(crate) fn of_remote(room: &RemoteRoom) -> Self {
        Self {
            nid: RoomNid(0),
            room_id: room.room_id.clone(),
            joined: room.joined,
            name: room.name.clone(),
            topic: room.topic.clone(),
            canonical_alias: room.canonical_alias.clone(),
            avatar_url: room.avatar_url.clone(),
            room_type: room.room_type.clone(),
            join_rule: room.join_rule.clone(),
            is_world_readable: room.is_world_readable,
            guests_can_join: room.guests_can_join,
        }
    }

    fn matches(&self, search: Option<&str>, types: Option<&[Option<String>]>) -> bool {
        let shown = [&self.name, &self.topic, &self.canonical_alias];
        types.is_none_or(|types| types.contains(&self.room_type))
            && search.is_none_or(|search| {
                shown.into_iter().flatten().any(|text| text.to_lowercase().contains(search))
            })
    }
}

/// A text in the content of a state event, unless the event is redacted.
pub(crate) fn text_field(state: &[&Arc<EventRecord>], event_type: &str, key: &str) -> Option<String> {
    #[derive(Deserialize)]
    struct Event<'a> {
        #[serde(borrow)]
        content: HashMap<String, &'a RawValue>,
    }
    fn read<T: DeserializeOwned>(value: &RawValue) -> Option<T> {
        serde_json::from_str(value.get()).ok()
    }
    let event = state.iter().find(|event| &*event.event_type == event_type && event.redacted_by.is_none())?;
    let content = serde_json::from_str::<Event<'_>>(&event.json).ok()?.content;
    read::<String>(content.get(key)?).filter(|text| !text.is_empty())
}
