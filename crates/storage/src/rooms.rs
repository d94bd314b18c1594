//! Rooms: their heads, aliases, and place in the directory.

use hs_model::{
    ids::{EventNid, RoomNid, StateGroupNid, UserNid},
    stream::Position,
};
use ruma::{OwnedRoomId, RoomAliasId, RoomId, RoomVersionId};

use crate::{
    Reader, Txn,
    error::{Result, StorageError},
    log::LogKind,
};

/// A room's fixed part.
#[derive(Clone, Debug)]
pub struct RoomRow {
    /// Its number.
    pub nid: RoomNid,
    /// Its id.
    pub room_id: OwnedRoomId,
    /// Its version.
    pub version: RoomVersionId,
    /// Whether it is listed in the directory.
    pub is_published: bool,
}

/// Where a room stands.
#[derive(Clone, Debug)]
pub struct RoomHead {
    /// Counts appends.
    pub version: i64,
    /// The current state.
    pub state_group: StateGroupNid,
    /// Events without successors.
    pub forward_extremities: Vec<EventNid>,
    /// The greatest depth of those.
    pub depth: i64,
    /// The position of the newest event.
    pub last_position: Position,
}

fn room_row(nid: i64, room_id: String, version: &str, is_published: bool) -> Result<RoomRow> {
    let wrong = |column| StorageError::Inconsistent { table: "rooms", column, row: nid.to_string() };
    Ok(RoomRow {
        nid: RoomNid(nid),
        room_id: room_id.try_into().map_err(|_| wrong("room_id"))?,
        version: version.try_into().map_err(|_| wrong("room_version"))?,
        is_published,
    })
}

impl Reader {
    /// A room by its id.
    pub async fn find_room(&mut self, room_id: &RoomId) -> Result<Option<RoomRow>> {
        // Other servers name rooms as they like; with U+0000 in the name the database must not be asked.
        if room_id.as_str().contains('\0') {
            return Ok(None);
        }
        let row = sqlx::query!(
            "SELECT room_nid, room_id, room_version, is_published FROM rooms WHERE room_id = $1",
            room_id.as_str()
        )
        .fetch_optional(self.conn())
        .await?;
        row.map(|row| room_row(row.room_nid, row.room_id, &row.room_version, row.is_published)).transpose()
    }

    /// Rooms by number.
    pub async fn list_rooms(&mut self, rooms: &[RoomNid]) -> Result<Vec<RoomRow>> {
        let nids: Vec<i64> = rooms.iter().map(|room| room.0).collect();
        let rows = sqlx::query!(
            "SELECT room_nid, room_id, room_version, is_published FROM rooms WHERE room_nid = ANY($1)",
            &nids
        )
        .fetch_all(self.conn())
        .await?;
        rows.into_iter()
            .map(|row| room_row(row.room_nid, row.room_id, &row.room_version, row.is_published))
            .collect()
    }

    /// Where a room stands.
    pub async fn find_room_head(&mut self, room: RoomNid) -> Result<Option<RoomHead>> {
        let row = sqlx::query!(
            "SELECT version, state_group, forward_extremities, depth, last_position
             FROM room_heads WHERE room_nid = $1",
            room.0
        )
        .fetch_optional(self.conn())
        .await?;
        Ok(row.map(|row| RoomHead {
            version: row.version,
            state_group: StateGroupNid(row.state_group),
            forward_extremities: row.forward_extremities.into_iter().map(EventNid).collect(),
            depth: row.depth,
            last_position: Position(row.last_position),
        }))
    }

    /// Those of the rooms that have events after a position.
    pub async fn list_rooms_changed_since(
        &mut self,
        rooms: &[RoomNid],
        since: Position,
    ) -> Result<Vec<RoomNid>> {
        let nids: Vec<i64> = rooms.iter().map(|room| room.0).collect();
        let changed = sqlx::query_scalar!(
            "SELECT room_nid FROM room_heads WHERE room_nid = ANY($1) AND last_position > $2",
            &nids,
            since.0
        )
        .fetch_all(self.conn())
        .await?;
        Ok(changed.into_iter().map(RoomNid).collect())
    }

    /// Rooms with numbers above one, in order: for jobs that go through all of them piece by piece.
    pub async fn list_room_nids(&mut self, after: RoomNid, limit: i64) -> Result<Vec<RoomNid>> {
        let rooms = sqlx::query_scalar!(
            "SELECT room_nid FROM rooms WHERE room_nid > $1 ORDER BY room_nid LIMIT $2",
            after.0,
            limit
        )
        .fetch_all(self.conn())
        .await?;
        Ok(rooms.into_iter().map(RoomNid).collect())
    }

    /// The rooms listed in the directory, in the order of their numbers.
    pub async fn list_published_rooms(&mut self) -> Result<Vec<RoomNid>> {
        let rooms = sqlx::query_scalar!("SELECT room_nid FROM rooms WHERE is_published ORDER BY room_nid")
            .fetch_all(self.conn())
            .await?;
        Ok(rooms.into_iter().map(RoomNid).collect())
    }

    /// The room that an alias stands for.
    pub async fn find_alias(&mut self, alias: &RoomAliasId) -> Result<Option<AliasRow>> {
        let row =
            sqlx::query!("SELECT room_nid, creator_nid FROM room_aliases WHERE alias = $1", alias.as_str())
                .fetch_optional(self.conn())
                .await?;
        Ok(row.map(|row| AliasRow { room: RoomNid(row.room_nid), creator: UserNid(row.creator_nid) }))
    }

    /// The aliases of a room that this server keeps, oldest first.
    pub async fn list_aliases(&mut self, room: RoomNid) -> Result<Vec<String>> {
        let aliases = sqlx::query_scalar!(
            "SELECT alias FROM room_aliases WHERE room_nid = $1 ORDER BY created_at, alias",
            room.0
        )
        .fetch_all(self.conn())
        .await?;
        Ok(aliases)
    }
}

/// What an alias stands for.
#[derive(Clone, Copy, Debug)]
pub struct AliasRow {
    /// The room.
    pub room: RoomNid,
    /// Who made the alias.
    pub creator: UserNid,
}

impl Txn {
    /// Makes an alias; `false` when it exists already.
    pub async fn insert_alias(
        &mut self,
        alias: &RoomAliasId,
        room: RoomNid,
        creator: UserNid,
        now_ms: i64,
    ) -> Result<bool> {
        let done = sqlx::query!(
            "INSERT INTO room_aliases (alias, room_nid, creator_nid, created_at)
             VALUES ($1, $2, $3, $4)
             ON CONFLICT (alias) DO NOTHING",
            alias.as_str(),
            room.0,
            creator.0,
            now_ms
        )
        .execute(self.conn())
        .await?;
        Ok(done.rows_affected() == 1)
    }

    /// Deletes an alias; `false` when there was none.
    pub async fn delete_alias(&mut self, alias: &RoomAliasId) -> Result<bool> {
        let done = sqlx::query!("DELETE FROM room_aliases WHERE alias = $1", alias.as_str())
            .execute(self.conn())
            .await?;
        Ok(done.rows_affected() == 1)
    }

    /// Moves all aliases of a room to another, when the one is upgraded to the other.
    pub async fn move_aliases(&mut self, from: RoomNid, to: RoomNid) -> Result<u64> {
        let done = sqlx::query!("UPDATE room_aliases SET room_nid = $2 WHERE room_nid = $1", from.0, to.0)
            .execute(self.conn())
            .await?;
        Ok(done.rows_affected())
    }

    /// Lists a room in the directory, or no longer.
    pub async fn set_published(&mut self, room: RoomNid, is_published: bool) -> Result<()> {
        sqlx::query!("UPDATE rooms SET is_published = $2 WHERE room_nid = $1", room.0, is_published)
            .execute(self.conn())
            .await?;
        self.log(LogKind::RoomRecord, Some(room), None).await?;
        Ok(())
    }
}
