//! Whether a user may read a room at all, and up to where.

use std::sync::Arc;

use hs_model::{membership::Membership, records::EventRecord, stream::Position};
use hs_room_rules::visibility::HistoryVisibility;
use hs_storage::{StorageError, events::Place};

use crate::{
    Room, Rooms,
    client_event::{Viewer, membership_of},
    visibility::{HISTORY_VISIBILITY, history_visibility_of},
};

/// How many of a user's member events are looked at in search of the one by which they joined.
const MAX_MEMBER_EVENTS: usize = 1000;
/// How many are read first: usually the last but one is the join.
const FIRST_MEMBER_EVENTS: i64 = 4;

/// What ties a user to a room that they may read. Which events they may see is decided for each event.
#[derive(Clone, Debug)]
pub enum Access {
    /// They are in it.
    Member,
    /// They were in it, until this event.
    Former(Arc<EventRecord>),
    /// Anybody may read it.
    Reader,
}

impl Access {
    /// The place after which there is nothing for the user.
    pub fn until(&self) -> Option<Place> {
        match self {
            Self::Former(left) => place_of(left),
            Self::Member | Self::Reader => None,
        }
    }
}

/// The last time that a user was in a room.
#[derive(Clone, Debug)]
pub(crate) struct Stay {
    /// The position of the last event that says they were in it.
    pub(crate) last_join: Position,
    /// The event that ended it; `None` when they are still there.
    pub(crate) left: Option<Arc<EventRecord>>,
}

/// Where an event stands in the graph; `None` for outliers.
pub(crate) fn place_of(event: &EventRecord) -> Option<Place> {
    event.position.map(|position| Place { depth: event.depth, position })
}

impl Rooms {
    /// Whether, and how, a user may read a room; `None` when not.
    ///
    /// Who was invited, or asked to be let in, is not in the room yet. Who has forgotten a room never was.
    pub async fn access(&self, room: &Room, viewer: &Viewer<'_>) -> Result<Option<Access>, StorageError> {
        if room.read().membership(viewer.user) == Some(Membership::Join) {
            return Ok(Some(Access::Member));
        }
        // Another replica may know better.
        let membership = self.inner.store.reader().await?.find_membership(room.nid, viewer.user).await?;
        if membership.as_ref().is_some_and(|row| row.membership == Membership::Join) {
            return Ok(Some(Access::Member));
        }
        if self.is_world_readable(room).await? {
            return Ok(Some(Access::Reader));
        }
        if membership.is_none_or(|row| row.is_forgotten) {
            return Ok(None);
        }
        let stay = self.last_stay(room, viewer).await?;
        Ok(stay.and_then(|stay| stay.left).map(Access::Former))
    }

    /// Whether anybody may read what is sent to the room now.
    pub async fn is_world_readable(&self, room: &Room) -> Result<bool, StorageError> {
        let event = room.read().state_event(HISTORY_VISIBILITY, "");
        let Some(nid) = event else { return Ok(false) };
        let events = self.inner.store.find_events(&[nid]).await?;
        let visibility = events.get(&nid).map(|event| history_visibility_of(event));
        Ok(visibility == Some(HistoryVisibility::WorldReadable))
    }

    /// The last time that a user was in a room; `None` when they never were.
    pub(crate) async fn last_stay(
        &self,
        room: &Room,
        viewer: &Viewer<'_>,
    ) -> Result<Option<Stay>, StorageError> {
        let store = &self.inner.store;
        let slots = store.find_slots(&[("m.room.member", viewer.user_id.as_str())]).await?;
        let Some(slot) = slots.into_values().next() else { return Ok(None) };
        let mut reader = store.reader().await?;
        let (mut before, mut limit, mut seen) = (Position(i64::MAX), FIRST_MEMBER_EVENTS, 0);
        let mut later = None;
        while seen < MAX_MEMBER_EVENTS {
            let page = reader.list_slot_events(room.nid, slot, before, limit).await?;
            let nids: Vec<_> = page.iter().map(|(nid, _)| *nid).collect();
            let events = reader.find_events(&nids).await?;
            for (nid, position) in &page {
                let Some(event) = events.get(nid) else { continue };
                if membership_of(event) == Some(Membership::Join) {
                    return Ok(Some(Stay { last_join: *position, left: later }));
                }
                later = Some(event.clone());
            }
            let Some((_, oldest)) = page.last() else { break };
            (before, limit, seen) = (*oldest, 100, seen + page.len());
        }
        Ok(None)
    }
}
