//! Who is typing where.

use std::{
    collections::{BTreeSet, HashMap},
    sync::Arc,
    time::Duration,
};

use futures_util::future::join_all;
use hs_model::{
    ids::{RoomNid, UserNid},
    stream::Position,
};
use hs_storage::{
    StorageError,
    ephemeral::{EphemeralWrite, EphemeralWriteError},
    typing::{TypingChange, TypingRow, TypingUpdate},
};
use ruma::{OwnedUserId, UserId};

use crate::Ephemeral;

/// How long somebody counts as typing at most without saying so again.
const MAX_TIMEOUT: Duration = Duration::from_mins(2);
/// How long a user of another server counts as typing: servers repeat it more often than that.
const REMOTE_TIMEOUT: Duration = Duration::from_mins(1);
/// How long a replica waits before it ends what another one should have ended.
const GRACE_MS: i64 = 5_000;
/// How many rooms are remembered in which nobody types any more.
const MAX_QUIET_ROOMS: usize = 20_000;
/// How many of the log's newest entries are searched at the start for rooms in which somebody has stopped typing.
const STARTUP_ENTRIES: i64 = 20_000;
/// How long to wait before trying again when the database fails.
const RETRY_INTERVAL: Duration = Duration::from_secs(1);

/// Who types in a room.
#[derive(Clone, Debug)]
pub struct TypingNow {
    /// When that last changed.
    pub changed: Position,
    /// The users; empty when the last one has stopped.
    pub user_ids: Arc<[OwnedUserId]>,
}

/// Who types where, in memory.
#[derive(Debug, Default)]
pub(crate) struct TypingRooms {
    rooms: HashMap<RoomNid, TypingRoom>,
    /// Rooms in which nobody types any more, by the position of their last change.
    quiet: BTreeSet<(Position, RoomNid)>,
}

#[derive(Debug)]
struct TypingRoom {
    now: TypingNow,
    typists: Vec<Typist>,
}

#[derive(Debug)]
struct Typist {
    user: UserNid,
    user_id: OwnedUserId,
    expires_at: i64,
    /// Whether this process was told last, and so has to end it.
    is_ours: bool,
    /// Is no longer in the room, so time does not matter.
    has_left: bool,
}

impl Typist {
    fn due_at(&self) -> i64 {
        match (self.has_left, self.is_ours) {
            (true, _) => 0,
            (false, true) => self.expires_at,
            (false, false) => self.expires_at.saturating_add(GRACE_MS),
        }
    }
}

impl TypingRooms {
    /// Begins anew with what the database says.
    pub(crate) fn start(&mut self, rows: Vec<TypingRow>, changes: &[(RoomNid, Position)]) {
        *self = Self::default();
        for (room, position) in changes {
            self.change(*room, *position, |_| {});
        }
        for row in rows {
            let position = self.rooms.get(&row.room).map_or(Position::START, |room| room.now.changed);
            self.started(row, position, false);
        }
    }

    /// Somebody started typing.
    pub(crate) fn started(&mut self, row: TypingRow, position: Position, is_ours: bool) {
        self.change(row.room, position, |typists| {
            typists.retain(|typist| typist.user != row.user);
            typists.push(Typist {
                user: row.user,
                user_id: row.user_id,
                expires_at: row.expires_at,
                is_ours,
                has_left: false,
            });
        });
    }

    /// Somebody stopped typing.
    pub(crate) fn stopped(&mut self, room: RoomNid, user: UserNid, position: Position) {
        self.change(room, position, |typists| typists.retain(|typist| typist.user != user));
    }

    /// Somebody goes on typing: nothing that anybody must hear of.
    fn prolonged(&mut self, room: RoomNid, user: UserNid, expires_at: i64, is_ours: Option<bool>) {
        let typist = self
            .rooms
            .get_mut(&room)
            .and_then(|room| room.typists.iter_mut().find(|typist| typist.user == user));
        if let Some(typist) = typist {
            typist.expires_at = expires_at;
            typist.is_ours = is_ours.unwrap_or(typist.is_ours);
        }
    }

    /// Somebody has left the room.
    pub(crate) fn left(&mut self, room: RoomNid, user: UserNid) {
        let room = self.rooms.get_mut(&room);
        if let Some(typist) = room.and_then(|room| room.typists.iter_mut().find(|typist| typist.user == user))
        {
            typist.has_left = true;
        }
    }

    /// Whether somebody is typing.
    pub(crate) fn find(&self, room: RoomNid, user_id: &UserId) -> Option<UserNid> {
        let typist = self.rooms.get(&room)?.typists.iter().find(|typist| typist.user_id == user_id)?;
        Some(typist.user)
    }

    fn now(&self, room: RoomNid) -> Option<TypingNow> {
        self.rooms.get(&room).map(|room| room.now.clone())
    }

    /// When somebody's time is up next, in milliseconds.
    fn next_due(&self) -> Option<i64> {
        self.rooms.values().flat_map(|room| &room.typists).map(Typist::due_at).min()
    }

    /// What ends the typing of those whose time is up.
    fn due(&self, now: i64) -> Vec<TypingUpdate> {
        let mut due = Vec::new();
        for (room, typing) in &self.rooms {
            let late = typing.typists.iter().filter(|typist| typist.due_at() <= now);
            due.extend(late.map(|typist| TypingUpdate {
                room: *room,
                user: typist.user,
                user_id: typist.user_id.clone(),
                change: if typist.has_left { TypingChange::Stop } else { TypingChange::Expire(now) },
            }));
        }
        due
    }

    fn change(&mut self, room_nid: RoomNid, position: Position, change: impl FnOnce(&mut Vec<Typist>)) {
        let room = self.rooms.entry(room_nid).or_insert_with(|| TypingRoom {
            now: TypingNow { changed: Position::START, user_ids: Arc::default() },
            typists: Vec::new(),
        });
        self.quiet.remove(&(room.now.changed, room_nid));
        change(&mut room.typists);
        room.now = TypingNow {
            changed: position,
            user_ids: room.typists.iter().map(|typist| typist.user_id.clone()).collect(),
        };
        if room.typists.is_empty() {
            self.quiet.insert((position, room_nid));
            if self.quiet.len() > MAX_QUIET_ROOMS
                && let Some((_, room)) = self.quiet.pop_first()
            {
                self.rooms.remove(&room);
            }
        }
    }
}

impl Ephemeral {
    /// A user in a room types, for `timeout` unless they say so again, or has stopped (`None`).
    pub async fn set_typing(
        &self,
        room: RoomNid,
        user: UserNid,
        user_id: &UserId,
        timeout: Option<Duration>,
    ) -> Result<(), EphemeralWriteError> {
        let change = match timeout {
            Some(timeout) => {
                let timeout_ms = timeout.min(MAX_TIMEOUT).as_millis() as i64;
                TypingChange::Until(self.inner.clock.now_ms() + timeout_ms)
            }
            None => TypingChange::Stop,
        };
        let update = TypingUpdate { room, user, user_id: user_id.to_owned(), change };
        let written = self.inner.writer.write(EphemeralWrite::Typing(update)).await?;
        // Also for a start: its entry may have come back through the database, like one of another replica.
        if let Some(expires_at) = written.typing_until {
            self.inner.typing.write().prolonged(room, user, expires_at, Some(true));
        }
        if timeout.is_some() {
            self.inner.typing_wake.notify_one();
            self.note_active(user);
        }
        Ok(())
    }

    /// Another server tells that a user of its own types, or no longer. It ends by itself when that server says nothing more.
    pub async fn receive_typing(
        &self,
        room: RoomNid,
        user: UserNid,
        user_id: &UserId,
        is_typing: bool,
    ) -> Result<(), EphemeralWriteError> {
        self.set_typing(room, user, user_id, is_typing.then_some(REMOTE_TIMEOUT)).await
    }

    /// Who types in a room; `None` when nobody did lately.
    pub fn typing(&self, room: RoomNid) -> Option<TypingNow> {
        self.inner.typing.read().now(room)
    }

    /// Ends the typing of those whose time is up. [`run`](Self::run) calls it in time.
    pub async fn expire_typing(&self) -> Result<(), EphemeralWriteError> {
        let now = self.inner.clock.now_ms();
        let due = self.inner.typing.read().due(now);
        let writes = due.into_iter().map(|update| async move {
            let (room, user) = (update.room, update.user);
            let written = self.inner.writer.write(EphemeralWrite::Typing(update)).await?;
            let mut typing = self.inner.typing.write();
            match (written.position, written.typing_until) {
                (Some(_), _) => {}
                // Another replica has been told meanwhile.
                (None, Some(expires_at)) => typing.prolonged(room, user, expires_at, Some(false)),
                // Another replica was faster, and its news is on its way or was lost.
                (None, None) => {
                    let changed = typing.now(room).map_or(Position::START, |now| now.changed);
                    typing.stopped(room, user, changed);
                }
            }
            Ok(())
        });
        join_all(writes).await.into_iter().collect()
    }

    pub(crate) async fn load_typing(&self, head: Position) -> Result<(), StorageError> {
        let mut reader = self.inner.store.reader().await?;
        let changes = reader.list_typing_changes(Position(head.0 - STARTUP_ENTRIES)).await?;
        let rows = reader.list_typing().await?;
        self.inner.typing.write().start(rows, &changes);
        Ok(())
    }

    pub(crate) async fn run_typing(&self) {
        loop {
            let next_due = self.inner.typing.read().next_due();
            let wake = self.inner.typing_wake.notified();
            match next_due {
                None => wake.await,
                Some(due_at) => {
                    let wait_ms = (due_at - self.inner.clock.now_ms()).max(0);
                    tokio::select! {
                        () = wake => continue,
                        () = tokio::time::sleep(Duration::from_millis(wait_ms as u64)) => {}
                    }
                    if let Err(error) = self.expire_typing().await {
                        tracing::warn!(%error, "could not end typing; trying again");
                        tokio::time::sleep(RETRY_INTERVAL).await;
                    }
                }
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const ROOM: RoomNid = RoomNid(1);

    fn row(user: i64, expires_at: i64) -> TypingRow {
        let user_id = format!("@user{user}:example.org").try_into().unwrap();
        TypingRow { room: ROOM, user: UserNid(user), user_id, expires_at }
    }

    fn typists(rooms: &TypingRooms) -> (i64, Vec<String>) {
        let now = rooms.now(ROOM).expect("the room is known");
        (now.changed.0, now.user_ids.iter().map(|id| id.localpart().to_owned()).collect())
    }

    #[test]
    fn starting_and_stopping_change_the_list() {
        let mut rooms = TypingRooms::default();
        assert!(rooms.now(ROOM).is_none());

        rooms.started(row(1, 100), Position(5), true);
        rooms.started(row(2, 100), Position(6), true);
        rooms.stopped(ROOM, UserNid(1), Position(7));
        assert_eq!(typists(&rooms), (7, vec!["user2".to_owned()]));

        rooms.stopped(ROOM, UserNid(2), Position(8));
        assert_eq!(typists(&rooms), (8, vec![]));
    }

    #[test]
    fn going_on_puts_the_end_off_and_changes_nothing_else() {
        let mut rooms = TypingRooms::default();
        rooms.started(row(1, 100), Position(5), true);

        rooms.prolonged(ROOM, UserNid(1), 200, Some(true));

        assert_eq!(typists(&rooms), (5, vec!["user1".to_owned()]));
        assert!(rooms.due(199).is_empty());
        assert_eq!(rooms.due(200).len(), 1);
    }

    #[test]
    fn what_another_replica_should_end_is_ended_later() {
        let mut rooms = TypingRooms::default();
        rooms.started(row(1, 100), Position(5), false);

        assert!(rooms.due(100 + GRACE_MS - 1).is_empty());
        assert_eq!(rooms.due(100 + GRACE_MS).len(), 1);
        assert_eq!(rooms.next_due(), Some(100 + GRACE_MS));
    }

    #[test]
    fn who_has_left_the_room_stops_at_once() {
        let mut rooms = TypingRooms::default();
        rooms.started(row(1, 100), Position(5), false);

        rooms.left(ROOM, UserNid(1));

        assert_eq!(rooms.due(1).iter().map(|update| update.change).collect::<Vec<_>>(), [TypingChange::Stop]);
    }

    #[test]
    fn rooms_where_nobody_types_any_more_are_forgotten_in_time() {
        let mut rooms = TypingRooms::default();
        for room in 0..=MAX_QUIET_ROOMS as i64 {
            rooms.stopped(RoomNid(room), UserNid(1), Position(room + 1));
        }

        assert_eq!(rooms.rooms.len(), MAX_QUIET_ROOMS);
        assert!(rooms.now(RoomNid(0)).is_none());
    }

    #[test]
    fn start_knows_who_types_and_where_somebody_has_stopped() {
        let mut rooms = TypingRooms::default();
        rooms.start(vec![row(1, 100)], &[(ROOM, Position(4)), (RoomNid(2), Position(5))]);

        assert_eq!(typists(&rooms), (4, vec!["user1".to_owned()]));
        assert!(rooms.now(RoomNid(2)).expect("known").user_ids.is_empty());
    }
}
