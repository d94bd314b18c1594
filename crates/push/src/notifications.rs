//! What a user was notified of.
//!
//! <https://spec.matrix.org/v1.19/client-server-api/#listing-notifications>

use std::{collections::HashMap, sync::Arc};

use hs_model::{
    ids::{EventNid, RoomNid, UserNid},
    membership::Membership,
    stream::Position,
};
use hs_storage::{StorageError, notifications::NotifiedRoom};
use ruma::OwnedRoomId;
use serde_json::Value;

use crate::{JoinedRoom, Push, attention::actions};

/// Which notifications are wanted.
#[derive(Clone, Copy, Debug)]
pub struct Page {
    /// Those before this.
    pub before: Position,
    /// How many.
    pub limit: usize,
    /// Only those that stand out.
    pub only_highlights: bool,
}

/// An event that a user was notified of.
#[derive(Clone, Debug)]
pub struct Notification {
    /// The event.
    pub event: EventNid,
    /// Its room.
    pub room: RoomNid,
    /// Its room's id.
    pub room_id: OwnedRoomId,
    /// Where it stands.
    pub position: Position,
    /// What the rule asks for.
    pub actions: Vec<Value>,
    /// Whether the user has read it.
    pub is_read: bool,
}

impl Push {
    /// The rooms that a user has joined, with their ids, and how many the user is invited to.
    pub(crate) async fn joined_rooms(
        &self,
        user: UserNid,
    ) -> Result<(HashMap<RoomNid, OwnedRoomId>, usize), StorageError> {
        let mut reader = self.inner.store.reader().await?;
        let rows = reader.list_memberships_of_user(user).await?;
        let with = |wanted| rows.iter().filter(move |row| row.membership == wanted).map(|row| row.room);
        let joined: Vec<RoomNid> = with(Membership::Join).collect();
        let invites = with(Membership::Invite).count();
        let rooms = reader.list_rooms(&joined).await?;
        Ok((rooms.into_iter().map(|row| (row.nid, row.room_id)).collect(), invites))
    }

    /// How many unread messages a user has in all rooms, invites included.
    pub async fn badge(&self, user: UserNid) -> Result<u64, StorageError> {
        let (ids, invites) = self.joined_rooms(user).await?;
        let rooms: Vec<_> = ids.iter().map(|(room, room_id)| JoinedRoom { room: *room, room_id }).collect();
        let unread = self.unread(user, &rooms, Position(i64::MAX)).await?;
        let messages: u64 = unread.values().map(|unread| unread.total().notification_count).sum();
        Ok(messages + invites as u64)
    }

    /// What a user was notified of, the newest first, and where to go on when there may be more.
    pub async fn notifications(
        &self,
        user: UserNid,
        page: Page,
    ) -> Result<(Vec<Notification>, Option<Position>), StorageError> {
        let (ids, _) = self.joined_rooms(user).await?;
        let joined: Vec<_> = ids.iter().map(|(room, room_id)| JoinedRoom { room: *room, room_id }).collect();
        let receipts = self.read_receipts(user, &joined).await?;
        let personal = self.inner.rules.find(&self.inner.store, &[user]).await?.remove(&user);
        let mut reader = self.inner.store.reader().await?;
        let since: HashMap<RoomNid, Position> = reader
            .list_joined_since(user, &ids.keys().copied().collect::<Vec<_>>())
            .await?
            .into_iter()
            .collect();
        let rooms: Vec<NotifiedRoom> = joined
            .iter()
            .map(|room| NotifiedRoom {
                room: room.room,
                after: since.get(&room.room).copied().unwrap_or_default(),
                is_quiet: personal.as_ref().is_some_and(|rules| rules.is_quiet_in(room.room_id)),
            })
            .collect();
        let limit = page.limit as i64;
        let rows = if page.only_highlights {
            reader.list_highlights(user, &rooms, page.before, limit).await?
        } else {
            reader.list_notifications(user, &rooms, page.before, limit).await?
        };
        let nids: Vec<EventNid> = rows.iter().map(|row| row.event).collect();
        let events = reader.find_events(&nids).await?;
        drop(reader);
        let ignored = self.inner.ignored.find(&self.inner.store, user).await?;
        let next = rows.last().filter(|_| rows.len() == page.limit).map(|row| row.position);
        let notifications = rows
            .into_iter()
            .filter(|row| events.get(&row.event).is_some_and(|event| !ignored.contains(&event.sender_nid)))
            .filter_map(|row| {
                let receipts: &Arc<_> = receipts.get(&row.room)?;
                let thread =
                    events.get(&row.event)?.notice.as_ref().and_then(|notice| notice.thread_root.as_ref());
                let read_up_to = receipts.unthreaded.max(receipts.of_thread(thread));
                Some(Notification {
                    event: row.event,
                    room: row.room,
                    room_id: ids.get(&row.room)?.clone(),
                    position: row.position,
                    actions: actions(row.attention, row.tweaks.as_deref()),
                    is_read: row.position <= read_up_to,
                })
            })
            .collect();
        Ok((notifications, next))
    }

    /// Whether a user has read an event.
    pub async fn has_read(
        &self,
        user: UserNid,
        room: JoinedRoom<'_>,
        event: EventNid,
    ) -> Result<bool, StorageError> {
        let receipts = self.read_receipts(user, &[room]).await?;
        let events = self.inner.store.find_events(&[event]).await?;
        let (Some(event), Some(receipts)) = (events.get(&event), receipts.get(&room.room)) else {
            return Ok(true);
        };
        let thread = event.notice.as_ref().and_then(|notice| notice.thread_root.as_ref());
        Ok(event.position <= Some(receipts.unthreaded.max(receipts.of_thread(thread))))
    }
}
