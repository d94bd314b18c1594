//! Rooms of which not all members are known yet.

use hs_model::{
    ids::{EventNid, RoomNid},
    stream::Position,
};
use ruma::{OwnedServerName, ServerName};

use crate::{
    Reader, Txn,
    error::{Result, StorageError},
};

/// A room that was joined without most of its members.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PartialRoom {
    /// The room.
    pub room: RoomNid,
    /// The event by which this server came in: the state before it is incomplete.
    pub join: EventNid,
    /// The server that let the user in.
    pub asked: OwnedServerName,
    /// The servers in the room, as that server said.
    pub servers: Vec<OwnedServerName>,
    /// How often the rest has been asked for in vain.
    pub attempts: i32,
    /// Where in the log the room became whole; `None` while it is not.
    pub whole_at: Option<Position>,
}

struct Row {
    room_nid: i64,
    join_nid: i64,
    asked: String,
    servers: Vec<String>,
    attempts: i32,
    whole_at: Option<i64>,
}

impl TryFrom<Row> for PartialRoom {
    type Error = StorageError;

    fn try_from(row: Row) -> Result<Self> {
        let wrong = |_| StorageError::Inconsistent {
            table: "partial_rooms",
            column: "asked",
            row: row.room_nid.to_string(),
        };
        Ok(Self {
            room: RoomNid(row.room_nid),
            join: EventNid(row.join_nid),
            asked: OwnedServerName::try_from(row.asked).map_err(wrong)?,
            servers: row.servers.into_iter().filter_map(|name| name.try_into().ok()).collect(),
            attempts: row.attempts,
            whole_at: row.whole_at.map(Position),
        })
    }
}

impl Reader {
    /// What is known of a room that was once joined without most of its members.
    pub async fn find_partial_room(&mut self, room: RoomNid) -> Result<Option<PartialRoom>> {
        let row = sqlx::query_as!(
            Row,
            "SELECT room_nid, join_nid, asked, servers, attempts, whole_at FROM partial_rooms WHERE room_nid = $1",
            room.0
        )
        .fetch_optional(self.conn())
        .await?;
        row.map(PartialRoom::try_from).transpose()
    }

    /// Those of the rooms of which not all members are known.
    pub async fn list_partial_among(&mut self, rooms: &[RoomNid]) -> Result<Vec<RoomNid>> {
        let rooms: Vec<i64> = rooms.iter().map(|room| room.0).collect();
        let found = sqlx::query_scalar!(
            "SELECT room_nid FROM partial_rooms WHERE room_nid = ANY($1) AND whole_at IS NULL",
            &rooms
        )
        .fetch_all(self.conn())
        .await?;
        Ok(found.into_iter().map(RoomNid).collect())
    }

    /// Whether a server is said to be in a room of which not all members are known.
    pub async fn is_server_said_to_be_in(&mut self, room: RoomNid, server: &ServerName) -> Result<bool> {
        let is_said = sqlx::query_scalar!(
            r#"SELECT EXISTS (
                 SELECT FROM partial_rooms WHERE room_nid = $1 AND whole_at IS NULL AND $2 = ANY(servers)
               ) AS "is_said!""#,
            room.0,
            server.as_str()
        )
        .fetch_one(self.conn())
        .await?;
        Ok(is_said)
    }

    /// The rooms that became whole after a position and up to another.
    pub async fn list_rooms_made_whole(&mut self, after: Position, up_to: Position) -> Result<Vec<RoomNid>> {
        let rooms = sqlx::query_scalar!(
            "SELECT room_nid FROM partial_rooms WHERE whole_at > $1 AND whole_at <= $2",
            after.0,
            up_to.0
        )
        .fetch_all(self.conn())
        .await?;
        Ok(rooms.into_iter().map(RoomNid).collect())
    }
}

impl Txn {
    /// Takes rooms whose members nobody fetches at the moment, to fetch them until `until`.
    pub async fn take_partial_rooms(
        &mut self,
        (now_ms, until): (i64, i64),
        limit: i64,
    ) -> Result<Vec<PartialRoom>> {
        let rows = sqlx::query_as!(
            Row,
            "WITH due AS (
               SELECT room_nid FROM partial_rooms
               WHERE whole_at IS NULL AND retry_at <= $1
               ORDER BY retry_at
               LIMIT $3
               FOR UPDATE SKIP LOCKED
             )
             UPDATE partial_rooms p SET retry_at = $2
             FROM due
             WHERE p.room_nid = due.room_nid
             RETURNING p.room_nid, p.join_nid, p.asked, p.servers, p.attempts, p.whole_at",
            now_ms,
            until,
            limit
        )
        .fetch_all(self.conn())
        .await?;
        rows.into_iter().map(PartialRoom::try_from).collect()
    }

    /// Says that the members of a room are still being fetched, until `until` at least.
    pub async fn keep_partial_room(&mut self, room: RoomNid, until: i64) -> Result<()> {
        sqlx::query!(
            "UPDATE partial_rooms SET retry_at = $2 WHERE room_nid = $1 AND whole_at IS NULL",
            room.0,
            until
        )
        .execute(self.conn())
        .await?;
        Ok(())
    }

    /// Puts off fetching the members of a room after it failed.
    pub async fn postpone_partial_room(&mut self, room: RoomNid, retry_at: i64) -> Result<()> {
        sqlx::query!(
            "UPDATE partial_rooms SET attempts = attempts + 1, retry_at = $2 WHERE room_nid = $1 AND whole_at IS NULL",
            room.0,
            retry_at
        )
        .execute(self.conn())
        .await?;
        Ok(())
    }

    /// Fetches no more of a room.
    pub async fn delete_partial_room(&mut self, room: RoomNid) -> Result<()> {
        sqlx::query!("DELETE FROM partial_rooms WHERE room_nid = $1 AND whole_at IS NULL", room.0)
            .execute(self.conn())
            .await?;
        Ok(())
    }
}
