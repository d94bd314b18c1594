//! Rooms that this server has joined without most of their members: these are fetched, while the room is used already.
//!
//! What is to be done is in the database, and whoever works on it holds it for a while: a server that dies leaves it to the
//! next, and of several replicas one works on a room.
//!
//! <https://spec.matrix.org/v1.19/server-server-api/#put_matrixfederationv2send_joinroomideventid>

use std::{sync::Arc, time::Duration};

use futures_util::{StreamExt as _, stream::FuturesUnordered};
use hs_model::{clock::Clock, ids::RoomNid};
use hs_rooms::{Room, Rooms, whole::MakeWholeError};
use hs_storage::{StorageError, partial_rooms::PartialRoom};
use ruma::{OwnedEventId, OwnedServerName, ServerName};

use super::{
    fetch::{Fetch, FetchError},
    gaps::Gaps,
};

/// Whoever takes up a room has this long before somebody else may, and says so again while it goes on: a server may take
/// minutes to tell tens of thousands of events.
const WORKING_TIME_MS: i64 = 15_000;
const KEEP_INTERVAL: Duration = Duration::from_secs(4);
/// How many rooms are worked on at once: each may mean tens of thousands of signatures.
const AT_ONCE: usize = 2;
/// How often rooms are looked for that nobody works on.
const LOOK_INTERVAL: Duration = Duration::from_secs(5);
/// How many servers are asked for the members of a room, before it is put off.
const MAX_SERVERS: usize = 5;
/// How often it is put off because of members whose servers' keys cannot be had: after that, it does without them.
const ATTEMPTS_FOR_KEYS: i32 = 3;
/// How long a room is put off after the first failure, and at most; in between, each time twice as long.
const FIRST_PAUSE_MS: i64 = 5_000;
const MAX_PAUSE_MS: i64 = 600_000;

/// Fetches the members of rooms. Cloning is cheap.
#[derive(Clone, Debug)]
pub struct PartialRooms {
    rooms: Rooms,
    fetch: Fetch,
    gaps: Gaps,
    clock: Arc<dyn Clock>,
}

/// Why a server was of no help.
#[derive(Debug, thiserror::Error)]
enum HelpError {
    #[error(transparent)]
    Fetch(#[from] FetchError),
    #[error(transparent)]
    MakeWhole(#[from] MakeWholeError),
    /// This is nobody's fault, and another server could not do better at the moment.
    #[error("the keys to check {0} events cannot be had")]
    NoKeys(usize),
}

impl PartialRooms {
    /// Fetches what `rooms` misses; `gaps` has what waits for it looked at again.
    pub fn new(rooms: Rooms, fetch: Fetch, gaps: Gaps, clock: Arc<dyn Clock>) -> Self {
        Self { rooms, fetch, gaps, clock }
    }

    /// Works until the future is dropped.
    pub async fn run(&self) -> Result<(), StorageError> {
        let mut work = FuturesUnordered::new();
        loop {
            for partial in self.take(AT_ONCE - work.len().min(AT_ONCE)).await? {
                work.push(self.work_on(partial));
            }
            tokio::select! {
                Some(done) = work.next(), if !work.is_empty() => done?,
                () = self.rooms.partial_news() => {}
                () = tokio::time::sleep(LOOK_INTERVAL) => {}
            }
        }
    }

    async fn take(&self, limit: usize) -> Result<Vec<PartialRoom>, StorageError> {
        if limit == 0 {
            return Ok(Vec::new());
        }
        let now = self.clock.now_ms();
        let mut txn = self.rooms.store().begin().await?;
        let taken = txn.take_partial_rooms((now, now + WORKING_TIME_MS), limit as i64).await?;
        txn.commit().await?;
        Ok(taken)
    }

    async fn work_on(&self, partial: PartialRoom) -> Result<(), StorageError> {
        let store = self.rooms.store();
        let room = self.rooms.find_by_nid(partial.room).await?;
        let join = store.find_events(&[partial.join]).await?.remove(&partial.join);
        let (Some(room), Some(join)) = (room, join) else { return Ok(()) };
        let is_resident = store.reader().await?.is_server_joined(room.nid, self.rooms.server_name()).await?;
        if !is_resident {
            // Everybody here has left again: whoever joins next brings the state along.
            let mut txn = store.begin().await?;
            txn.delete_partial_room(room.nid).await?;
            return txn.commit().await;
        }
        let is_whole = tokio::select! {
            is_whole = self.ask_around(&room, &partial, &join.event_id) => is_whole,
            lost = self.keep(partial.room) => return lost,
        };
        if is_whole {
            self.gaps.wake_all(&room).await?;
            return Ok(());
        }
        let pause = FIRST_PAUSE_MS.saturating_mul(1 << partial.attempts.clamp(0, 10)).min(MAX_PAUSE_MS);
        let mut txn = store.begin().await?;
        txn.postpone_partial_room(room.nid, self.clock.now_ms() + pause).await?;
        txn.commit().await
    }

    /// Keeps others from taking up a room, until the database fails.
    async fn keep(&self, room: RoomNid) -> Result<(), StorageError> {
        loop {
            tokio::time::sleep(KEEP_INTERVAL).await;
            let mut txn = self.rooms.store().begin().await?;
            txn.keep_partial_room(room, self.clock.now_ms() + WORKING_TIME_MS).await?;
            txn.commit().await?;
        }
    }

    /// Asks one server after the other. Whether the room is whole now.
    async fn ask_around(&self, room: &Arc<Room>, partial: &PartialRoom, join: &OwnedEventId) -> bool {
        for server in whom_to_ask(partial) {
            match self.ask(room, partial, join, server).await {
                Ok(()) => {
                    tracing::info!(room_id = %room.room_id, %server, "all members of a joined room are known");
                    return true;
                }
                Err(error @ HelpError::NoKeys(_)) => {
                    tracing::info!(
                        %error, room_id = %room.room_id, %server, attempts = partial.attempts,
                        "not all members of a joined room can be checked yet"
                    );
                    return false;
                }
                Err(error) => {
                    tracing::info!(
                        %error, room_id = %room.room_id, %server,
                        "a server did not tell the members of a joined room"
                    );
                }
            }
        }
        false
    }

    async fn ask(
        &self,
        room: &Arc<Room>,
        partial: &PartialRoom,
        join: &OwnedEventId,
        server: &ServerName,
    ) -> Result<(), HelpError> {
        let told = self.fetch.told_state_before(room, server, join).await?;
        if told.without_keys > 0 {
            if partial.attempts < ATTEMPTS_FOR_KEYS {
                return Err(HelpError::NoKeys(told.without_keys));
            }
            tracing::info!(
                room_id = %room.room_id, events = told.without_keys,
                "a joined room goes without events whose servers' keys cannot be had"
            );
        }
        self.rooms.make_whole(room, partial.join, &told.ids).await?;
        Ok(())
    }
}

/// The server that let the user in, and a few of the others: with each attempt those that come next.
fn whom_to_ask(partial: &PartialRoom) -> Vec<&OwnedServerName> {
    let others: Vec<&OwnedServerName> =
        partial.servers.iter().filter(|server| **server != partial.asked).collect();
    let count = others.len().min(MAX_SERVERS - 1);
    let asked_before = usize::try_from(partial.attempts).unwrap_or_default().saturating_mul(MAX_SERVERS - 1);
    let first = asked_before.checked_rem(others.len()).unwrap_or_default();
    let next = others.into_iter().cycle().skip(first).take(count);
    std::iter::once(&partial.asked).chain(next).collect()
}

#[cfg(test)]
mod tests {
    use hs_model::ids::EventNid;

    use super::*;

    fn partial(servers: &[&str], attempts: i32) -> PartialRoom {
        PartialRoom {
            room: RoomNid(1),
            join: EventNid(1),
            asked: "asked.example".try_into().unwrap(),
            servers: servers.iter().map(|name| (*name).try_into().unwrap()).collect(),
            attempts,
            whole_at: None,
        }
    }

    #[test]
    fn all_servers_are_asked_in_turn() {
        let servers = ["a.example", "asked.example", "b.example", "c.example", "d.example", "e.example"];
        let asked = |attempts| -> Vec<String> {
            let partial = partial(&servers, attempts);
            whom_to_ask(&partial).into_iter().map(ToString::to_string).collect()
        };

        assert_eq!(asked(0), ["asked.example", "a.example", "b.example", "c.example", "d.example"]);
        assert_eq!(asked(1), ["asked.example", "e.example", "a.example", "b.example", "c.example"]);
        assert_eq!(asked(2), ["asked.example", "d.example", "e.example", "a.example", "b.example"]);
    }

    #[test]
    fn few_servers_are_asked_once_each() {
        assert_eq!(whom_to_ask(&partial(&[], 3)), ["asked.example"]);
        assert_eq!(whom_to_ask(&partial(&["a.example"], 3)), ["asked.example", "a.example"]);
    }
}
