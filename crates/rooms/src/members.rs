//! Lists of a room's members.

use std::sync::Arc;

use hs_model::{ids::EventNid, membership::Membership, records::EventRecord, stream::RoomStreamToken};
use hs_storage::StorageError;
use ruma::OwnedUserId;
use serde::Deserialize;

use crate::{
    Room, Rooms,
    access::{Access, place_of},
    client_event::{Viewer, membership_of},
};

const MEMBER: &str = "m.room.member";

/// Which members are wanted. When both are given, either is enough.
#[derive(Clone, Copy, Debug, Default)]
pub struct MembersFilter {
    /// Those with this membership.
    pub membership: Option<Membership>,
    /// Those with any other than this.
    pub not_membership: Option<Membership>,
}

impl MembersFilter {
    fn wants(self, membership: Membership) -> bool {
        match (self.membership, self.not_membership) {
            (None, None) => true,
            (wanted, unwanted) => {
                wanted == Some(membership) || unwanted.is_some_and(|unwanted| unwanted != membership)
            }
        }
    }
}

/// Somebody in a room.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct JoinedMember {
    /// Who.
    pub user_id: OwnedUserId,
    /// Their name in this room.
    pub display_name: Option<String>,
    /// Their picture in this room.
    pub avatar_url: Option<String>,
}

impl Rooms {
    /// The member events of a room: at present, when the user left it, or at an earlier point of the room. `None` when the
    /// user may not see the room at that point.
    pub async fn members(
        &self,
        room: &Room,
        viewer: &Viewer<'_>,
        access: &Access,
        at: Option<RoomStreamToken>,
        filter: MembersFilter,
    ) -> Result<Option<Vec<Arc<EventRecord>>>, StorageError> {
        let at = match at {
            Some(token) => {
                let Some(event) = self.event_at(room, token).await? else { return Ok(Some(Vec::new())) };
                Some(event)
            }
            None => None,
        };
        let point = match (at, access) {
            (Some(at), Access::Former(left)) if place_of(&at) > place_of(left) => Some(left.clone()),
            (None, Access::Former(left)) => Some(left.clone()),
            (at, _) => at,
        };
        let is_newest = |point: &EventRecord| room.read().last_position <= point.position.unwrap_or_default();
        let mut events = match point {
            Some(point) if !is_newest(&point) => {
                if !self.is_visible(room, &point, viewer).await? {
                    return Ok(None);
                }
                self.list_state_after(&point, |event_type, _| event_type == MEMBER).await?
            }
            _ => self.current_members(room).await?,
        };
        events.retain(|event| membership_of(event).is_some_and(|membership| filter.wants(membership)));
        Ok(Some(events))
    }

    /// Who is in a room at present.
    pub async fn joined_members(&self, room: &Room) -> Result<Vec<JoinedMember>, StorageError> {
        let events = self.current_members(room).await?;
        Ok(events.iter().filter_map(|event| joined_member(event)).collect())
    }

    async fn current_members(&self, room: &Room) -> Result<Vec<Arc<EventRecord>>, StorageError> {
        let mut nids: Vec<EventNid> = {
            let state = room.read();
            state.state.get(MEMBER).map(|members| members.values().copied().collect()).unwrap_or_default()
        };
        nids.sort_unstable();
        self.inner.store.list_events(&nids).await
    }
}

fn joined_member(event: &EventRecord) -> Option<JoinedMember> {
    #[derive(Deserialize)]
    struct Event {
        content: Content,
    }
    #[derive(Default, Deserialize)]
    struct Content {
        #[serde(default)]
        membership: serde_json::Value,
        #[serde(default)]
        displayname: serde_json::Value,
        #[serde(default)]
        avatar_url: serde_json::Value,
    }
    let content = serde_json::from_str::<Event>(&event.json).ok()?.content;
    if content.membership != "join" {
        return None;
    }
    // Redaction leaves only the membership.
    let shown = |value: serde_json::Value| {
        value.as_str().filter(|_| event.redacted_by.is_none()).map(ToOwned::to_owned)
    };
    Some(JoinedMember {
        user_id: event.state_key.as_deref()?.try_into().ok()?,
        display_name: shown(content.displayname),
        avatar_url: shown(content.avatar_url),
    })
}
