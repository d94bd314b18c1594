//! What is unread in rooms.

use std::{
    collections::{BTreeMap, HashMap},
    sync::Arc,
};

use hs_model::{ids::RoomNid, membership::Membership};
use hs_push::{Count, JoinedRoom as Joined, Unread};
use hs_rooms::Room;
use hs_storage::StorageError;
use ruma::OwnedEventId;

use super::{Context, joined::JoinedRoom};
use crate::feed::Stay;

/// The counts of all rooms of a response.
#[derive(Debug)]
pub(super) struct Counts(HashMap<RoomNid, Unread>);

impl Counts {
    /// Counts in all rooms at once.
    pub(super) async fn read(
        context: &Context<'_>,
        rooms: &[(Arc<Room>, Stay)],
    ) -> Result<Self, StorageError> {
        let joined = rooms.iter().filter(|(_, stay)| stay.membership == Membership::Join);
        let joined: Vec<Joined<'_>> =
            joined.map(|(room, _)| Joined { room: room.nid, room_id: &room.room_id }).collect();
        if joined.is_empty() {
            return Ok(Self(HashMap::new()));
        }
        Ok(Self(context.inner.push.unread(context.request.user, &joined, context.until).await?))
    }

    /// Tells a room's counts: those of threads apart when the client wants that.
    pub(super) fn add_to(&mut self, context: &Context<'_>, room: &Room, section: &mut JoinedRoom) {
        let unread = self.0.remove(&room.nid).unwrap_or_default();
        let by_thread = context.request.filter.room.timeline.unread_thread_notifications;
        section.unread_notifications = Some(if by_thread { unread.main } else { unread.total() });
        if by_thread {
            section.unread_thread_notifications = unread.threads;
        }
    }
}

/// The counts of threads.
pub(super) type ThreadCounts = BTreeMap<OwnedEventId, Count>;
