//! Rooms below rooms, and what a user is in many rooms at once.

use std::collections::{HashMap, HashSet};

use hs_model::{
    ids::{EventNid, RoomNid, UserNid},
    membership::Membership,
};
use ruma::OwnedRoomId;

use crate::{
    Reader,
    error::{Result, StorageError},
};

impl Reader {
    /// The `m.space.child` events in the current state of rooms.
    pub async fn list_space_children(&mut self, spaces: &[RoomNid]) -> Result<Vec<(RoomNid, EventNid)>> {
        let spaces: Vec<i64> = spaces.iter().map(|room| room.0).collect();
        let rows = sqlx::query!(
            "SELECT c.room_nid, c.event_nid
             FROM current_state c JOIN state_slots s USING (slot_nid)
             WHERE c.room_nid = ANY($1) AND s.event_type = 'm.space.child'
             ORDER BY c.room_nid, c.event_nid",
            &spaces
        )
        .fetch_all(self.conn())
        .await?;
        Ok(rows.into_iter().map(|row| (RoomNid(row.room_nid), EventNid(row.event_nid))).collect())
    }

    /// The numbers of those of the rooms that this server knows.
    pub async fn find_room_nids(&mut self, rooms: &[OwnedRoomId]) -> Result<HashMap<OwnedRoomId, RoomNid>> {
        // Other servers name rooms as they like; with U+0000 in the name the database must not be asked.
        let names = rooms.iter().filter(|room| !room.as_str().contains('\0'));
        let ids: Vec<String> = names.map(ToString::to_string).collect();
        let rows = sqlx::query!("SELECT room_id, room_nid FROM rooms WHERE room_id = ANY($1)", &ids)
            .fetch_all(self.conn())
            .await?;
        rows.into_iter().map(|row| Ok((parse_room_id(row.room_id)?, RoomNid(row.room_nid)))).collect()
    }

    /// What a user is, or was, in each of the rooms.
    pub async fn list_memberships_among(
        &mut self,
        user: UserNid,
        rooms: &[RoomNid],
    ) -> Result<HashMap<RoomNid, Membership>> {
        let rooms: Vec<i64> = rooms.iter().map(|room| room.0).collect();
        let rows = sqlx::query!(
            "SELECT room_nid, membership FROM memberships WHERE user_nid = $1 AND room_nid = ANY($2)",
            user.0,
            &rooms
        )
        .fetch_all(self.conn())
        .await?;
        Ok(rows
            .into_iter()
            .filter_map(|row| Some((RoomNid(row.room_nid), Membership::from_code(row.membership)?)))
            .collect())
    }

    /// Those of the rooms that a user has joined.
    pub async fn list_joined_among(
        &mut self,
        rooms: &[OwnedRoomId],
        user: UserNid,
    ) -> Result<HashSet<OwnedRoomId>> {
        let ids: Vec<String> = rooms.iter().map(ToString::to_string).collect();
        let joined = sqlx::query_scalar!(
            "SELECT r.room_id
             FROM rooms r JOIN memberships m USING (room_nid)
             WHERE r.room_id = ANY($1) AND m.user_nid = $2 AND m.membership = $3",
            &ids,
            user.0,
            Membership::Join.code()
        )
        .fetch_all(self.conn())
        .await?;
        joined.into_iter().map(parse_room_id).collect()
    }

    /// The rooms that two users have both joined, those with numbers above `after`, in the order of their numbers.
    pub async fn list_mutual_rooms(
        &mut self,
        user: UserNid,
        other: UserNid,
        after: RoomNid,
        limit: i64,
    ) -> Result<Vec<(RoomNid, OwnedRoomId)>> {
        let rows = sqlx::query!(
            "SELECT r.room_nid, r.room_id
             FROM memberships own
             JOIN memberships other USING (room_nid)
             JOIN rooms r USING (room_nid)
             WHERE own.user_nid = $1 AND own.membership = $5
               AND other.user_nid = $2 AND other.membership = $5
               AND r.room_nid > $3
             ORDER BY r.room_nid
             LIMIT $4",
            user.0,
            other.0,
            after.0,
            limit,
            Membership::Join.code()
        )
        .fetch_all(self.conn())
        .await?;
        rows.into_iter().map(|row| Ok((RoomNid(row.room_nid), parse_room_id(row.room_id)?))).collect()
    }

    /// How many rooms two users have both joined.
    pub async fn count_mutual_rooms(&mut self, user: UserNid, other: UserNid) -> Result<i64> {
        let count = sqlx::query_scalar!(
            r#"SELECT COUNT(*) AS "count!"
             FROM memberships own JOIN memberships other USING (room_nid)
             WHERE own.user_nid = $1 AND own.membership = $3
               AND other.user_nid = $2 AND other.membership = $3"#,
            user.0,
            other.0,
            Membership::Join.code()
        )
        .fetch_one(self.conn())
        .await?;
        Ok(count)
    }
}

fn parse_room_id(id: String) -> Result<OwnedRoomId> {
    OwnedRoomId::try_from(id.as_str()).map_err(|_| StorageError::Inconsistent {
        table: "rooms",
        column: "room_id",
        row: id,
    })
}
