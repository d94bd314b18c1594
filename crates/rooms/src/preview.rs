//! What is told of rooms to those who may be about to join them: summaries, and who gets one.
//!
//! <https://spec.matrix.org/v1.19/client-server-api/#get_matrixclientv1room_summaryroomidoralias>,
//! <https://spec.matrix.org/v1.19/client-server-api/#get_matrixclientv1roomsroomidhierarchy>

use std::{
    collections::{HashMap, HashSet},
    sync::Arc,
};

use hs_model::{
    ids::{EventNid, RoomNid, UserNid},
    membership::Membership,
    records::EventRecord,
};
use hs_room_rules::room_version;
use hs_storage::{Reader, StorageError, rooms::RoomRow};
use ruma::{OwnedRoomId, RoomVersionId, ServerName};
use serde::Deserialize;

use crate::{
    Rooms,
    directory::{PublicRoom, text_field},
    ports::RemoteRoom,
};

const JOIN_RULES: &str = "m.room.join_rules";

/// A room as somebody sees it who may not be in it.
#[derive(Clone, Debug)]
pub struct Preview {
    /// What the directory would show.
    pub shown: PublicRoom,
    /// The version of the room.
    pub version: RoomVersionId,
    /// The algorithm by which messages are encrypted.
    pub encryption: Option<String>,
    /// The rooms whose members may join.
    pub allowed_rooms: Vec<OwnedRoomId>,
    /// What the viewer is in the room.
    pub membership: Option<Membership>,
    /// Whether the viewer is in one of the allowed rooms.
    is_in_allowed_room: bool,
}

impl Preview {
    /// Whether the room is a space.
    pub fn is_space(&self) -> bool {
        self.shown.room_type.as_deref() == Some("m.space")
    }

    /// Whether the viewer may know of the room: they are in it, might join or ask to, or anybody may read it.
    pub fn may_be_seen(&self) -> bool {
        if self.shown.is_world_readable {
            return true;
        }
        match self.membership {
            Some(Membership::Join | Membership::Invite) => true,
            Some(Membership::Ban) => false,
            Some(Membership::Knock | Membership::Leave) | None => self.is_open() || self.is_in_allowed_room,
        }
    }

    /// Whether anybody may join, or ask to.
    pub fn is_open(&self) -> bool {
        let Some(rules) = room_version::rules(&self.version).map(|rules| &rules.authorization) else {
            return false;
        };
        match self.shown.join_rule.as_deref() {
            Some("public") => true,
            Some("knock") => rules.knocking,
            Some("knock_restricted") => rules.knock_restricted_join_rule,
            _ => false,
        }
    }
}

impl Rooms {
    /// What can be told of rooms; those that this server does not know are missing. Whether the viewer may know is for the
    /// caller to ask of each.
    pub async fn previews(
        &self,
        rooms: &[RoomNid],
        viewer: Option<UserNid>,
    ) -> Result<HashMap<RoomNid, Preview>, StorageError> {
        let mut reader = self.inner.store.reader().await?;
        let memberships = match viewer {
            Some(viewer) => reader.list_memberships_among(viewer, rooms).await?,
            None => HashMap::new(),
        };
        let mut previews = read_previews(&mut reader, rooms, &memberships).await?;
        let allowed = all_allowed_rooms(&previews);
        let (Some(viewer), false) = (viewer, allowed.is_empty()) else { return Ok(previews) };
        let inside = reader.list_joined_among(&allowed, viewer).await?;
        for preview in previews.values_mut() {
            preview.is_in_allowed_room = preview.allowed_rooms.iter().any(|room| inside.contains(room));
        }
        Ok(previews)
    }

    /// As [`previews`](Self::previews), for a server: it may know what one of its users may know.
    pub async fn previews_for_server(
        &self,
        rooms: &[RoomNid],
        server: &ServerName,
    ) -> Result<HashMap<RoomNid, Preview>, StorageError> {
        let mut reader = self.inner.store.reader().await?;
        let here = self.list_joined_here(&mut reader, rooms).await?;
        let mut memberships = reader.list_stays_of_server(rooms, server).await?;
        // Who was in a room when this server left it may have left it since.
        memberships.retain(|room, stay| *stay != Membership::Join || here.contains(room));
        let mut previews = read_previews(&mut reader, rooms, &memberships).await?;
        let allowed = all_allowed_rooms(&previews);
        if allowed.is_empty() {
            return Ok(previews);
        }
        let known = reader.find_room_nids(&allowed).await?;
        let nids: Vec<RoomNid> = known.values().copied().collect();
        let nids = self.list_watched(&mut reader, &nids).await?;
        let of_server = reader.list_stays_of_server(&nids, server).await?;
        let is_joined = |room: &OwnedRoomId| {
            known.get(room).and_then(|nid| of_server.get(nid)) == Some(&Membership::Join)
        };
        for preview in previews.values_mut() {
            preview.is_in_allowed_room = preview.allowed_rooms.iter().any(is_joined);
        }
        Ok(previews)
    }
}

impl Rooms {
    /// Those of the rooms of which this server knows who is in them: it is in them itself, and all members are known. What it
    /// remembers of others may no longer be so.
    pub(crate) async fn list_watched(
        &self,
        reader: &mut Reader,
        rooms: &[RoomNid],
    ) -> Result<Vec<RoomNid>, StorageError> {
        let joined = self.list_joined_here(reader, rooms).await?;
        let partial = reader.list_partial_among(&joined).await?;
        Ok(joined.into_iter().filter(|room| !partial.contains(room)).collect())
    }

    /// Those of the rooms that somebody of this server is in.
    async fn list_joined_here(
        &self,
        reader: &mut Reader,
        rooms: &[RoomNid],
    ) -> Result<Vec<RoomNid>, StorageError> {
        let own = reader.list_stays_of_server(rooms, self.server_name()).await?;
        Ok(own.into_iter().filter(|(_, stay)| *stay == Membership::Join).map(|(room, _)| room).collect())
    }
}

async fn read_previews(
    reader: &mut Reader,
    rooms: &[RoomNid],
    memberships: &HashMap<RoomNid, Membership>,
) -> Result<HashMap<RoomNid, Preview>, StorageError> {
    let rows = reader.list_rooms(rooms).await?;
    let joined = reader.count_joined(rooms).await?;
    let state = reader.list_shown_state(rooms).await?;
    let wanted: Vec<EventNid> = state.iter().map(|(_, event)| *event).collect();
    let events = reader.find_events(&wanted).await?;
    let mut by_room: HashMap<RoomNid, Vec<&Arc<EventRecord>>> = HashMap::new();
    for (room, event) in &state {
        by_room.entry(*room).or_default().extend(events.get(event));
    }
    Ok(rows
        .into_iter()
        .map(|row| {
            let nid = row.nid;
            let members = joined.get(&nid).copied().unwrap_or_default() as u64;
            let state = by_room.remove(&nid).unwrap_or_default();
            (nid, Preview::new(row, members, &state, memberships.get(&nid).copied()))
        })
        .collect())
}

/// The rooms whose members may join one of the rooms.
fn all_allowed_rooms(previews: &HashMap<RoomNid, Preview>) -> Vec<OwnedRoomId> {
    let allowed: HashSet<&OwnedRoomId> =
        previews.values().flat_map(|preview| &preview.allowed_rooms).collect();
    allowed.into_iter().cloned().collect()
}

impl Preview {
    fn new(row: RoomRow, joined: u64, state: &[&Arc<EventRecord>], membership: Option<Membership>) -> Self {
        let version = row.version.clone();
        let restricts =
            room_version::rules(&version).is_some_and(|rules| rules.authorization.restricted_join_rule);
        Self {
            encryption: text_field(state, "m.room.encryption", "algorithm"),
            allowed_rooms: if restricts { allowed_rooms(state) } else { Vec::new() },
            shown: PublicRoom::new(row, joined, state),
            version,
            membership,
            is_in_allowed_room: false,
        }
    }
}

impl Preview {
    /// A room of which another server tells, to a viewer who is this in it.
    pub(crate) fn of_remote(
        room: &RemoteRoom,
        membership: Option<Membership>,
        is_in_allowed_room: bool,
    ) -> Self {
        Self {
            shown: PublicRoom::of_remote(room),
            version: room.version.clone(),
            encryption: room.encryption.clone(),
            allowed_rooms: room.allowed_rooms.clone(),
            membership,
            is_in_allowed_room,
        }
    }
}

/// The rooms whose members the join rule lets in.
fn allowed_rooms(state: &[&Arc<EventRecord>]) -> Vec<OwnedRoomId> {
    #[derive(Deserialize)]
    struct Event {
        content: Content,
    }
    #[derive(Deserialize)]
    struct Content {
        join_rule: String,
        #[serde(default)]
        allow: Vec<serde_json::Value>,
    }
    let event = state.iter().find(|event| &*event.event_type == JOIN_RULES && event.redacted_by.is_none());
    let content = event.and_then(|event| serde_json::from_str::<Event>(&event.json).ok());
    let Some(content) = content.map(|event| event.content) else { return Vec::new() };
    if !matches!(&*content.join_rule, "restricted" | "knock_restricted") {
        return Vec::new();
    }
    let conditions = content.allow.iter().filter(|condition| condition["type"] == "m.room_membership");
    conditions.filter_map(|condition| condition["room_id"].as_str()?.try_into().ok()).collect()
}
