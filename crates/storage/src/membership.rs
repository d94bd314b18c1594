//! Who is in which room.

use hs_model::{
    ids::{EventNid, RoomNid, UserNid},
    membership::Membership,
    records::MembershipRecord,
    stream::Position,
};
use ruma::{OwnedRoomId, RoomId};

use crate::{
    Reader, Txn,
    error::{Result, StorageError},
    log::LogKind,
};

struct Row {
    room_nid: i64,
    user_nid: i64,
    membership: i16,
    event_nid: i64,
    stream_position: i64,
    is_forgotten: bool,
}

impl Row {
    fn into_record(self) -> Result<MembershipRecord> {
        let membership =
            Membership::from_code(self.membership).ok_or_else(|| StorageError::Inconsistent {
                table: "memberships",
                column: "membership",
                row: format!("{}/{}", self.room_nid, self.user_nid),
            })?;
        Ok(MembershipRecord {
            room: RoomNid(self.room_nid),
            user: UserNid(self.user_nid),
            membership,
            event: EventNid(self.event_nid),
            position: Position(self.stream_position),
            is_forgotten: self.is_forgotten,
        })
    }
}

impl Reader {
    /// A user's membership in a room, if there ever was one.
    pub async fn find_membership(
        &mut self,
        room: RoomNid,
        user: UserNid,
    ) -> Result<Option<MembershipRecord>> {
        let row = sqlx::query_as!(
            Row,
            "SELECT room_nid, user_nid, membership, event_nid, stream_position, is_forgotten
             FROM memberships WHERE room_nid = $1 AND user_nid = $2",
            room.0,
            user.0
        )
        .fetch_optional(self.conn())
        .await?;
        row.map(Row::into_record).transpose()
    }

    /// All memberships of a user.
    pub async fn list_memberships_of_user(&mut self, user: UserNid) -> Result<Vec<MembershipRecord>> {
        let rows = sqlx::query_as!(
            Row,
            "SELECT room_nid, user_nid, membership, event_nid, stream_position, is_forgotten
             FROM memberships WHERE user_nid = $1
             ORDER BY room_nid",
            user.0
        )
        .fetch_all(self.conn())
        .await?;
        rows.into_iter().map(Row::into_record).collect()
    }

    /// The ids of the rooms that a user has joined, in the order of their numbers.
    pub async fn list_joined_rooms(&mut self, user: UserNid) -> Result<Vec<OwnedRoomId>> {
        let ids = sqlx::query_scalar!(
            "SELECT r.room_id
             FROM memberships m JOIN rooms r USING (room_nid)
             WHERE m.user_nid = $1 AND m.membership = $2
             ORDER BY room_nid",
            user.0,
            Membership::Join.code()
        )
        .fetch_all(self.conn())
        .await?;
        ids.into_iter()
            .map(|id| {
                RoomId::parse(&id).map_err(|_| StorageError::Inconsistent {
                    table: "rooms",
                    column: "room_id",
                    row: id,
                })
            })
            .collect()
    }

    /// Whether a user has joined at least one of the rooms.
    pub async fn is_joined_to_any(&mut self, rooms: &[OwnedRoomId], user: UserNid) -> Result<bool> {
        let ids: Vec<String> = rooms.iter().map(ToString::to_string).collect();
        let is_joined = sqlx::query_scalar!(
            r#"SELECT EXISTS (
                 SELECT FROM rooms r JOIN memberships m USING (room_nid)
                 WHERE r.room_id = ANY($1) AND m.user_nid = $2 AND m.membership = $3
               ) AS "is_joined!""#,
            &ids,
            user.0,
            Membership::Join.code()
        )
        .fetch_one(self.conn())
        .await?;
        Ok(is_joined)
    }

    /// Those of the users who are joined to a room that a user is joined to.
    pub async fn list_users_sharing_room(
        &mut self,
        user: UserNid,
        users: &[UserNid],
    ) -> Result<Vec<UserNid>> {
        let users: Vec<i64> = users.iter().map(|user| user.0).collect();
        let found = sqlx::query_scalar!(
            "SELECT DISTINCT other.user_nid
             FROM memberships own JOIN memberships other USING (room_nid)
             WHERE own.user_nid = $1 AND own.membership = $3
               AND other.user_nid = ANY($2) AND other.membership = $3",
            user.0,
            &users,
            Membership::Join.code()
        )
        .fetch_all(self.conn())
        .await?;
        Ok(found.into_iter().map(UserNid).collect())
    }

    /// All memberships in a room.
    pub async fn list_memberships_in_room(&mut self, room: RoomNid) -> Result<Vec<MembershipRecord>> {
        let rows = sqlx::query_as!(
            Row,
            "SELECT room_nid, user_nid, membership, event_nid, stream_position, is_forgotten
             FROM memberships WHERE room_nid = $1
             ORDER BY user_nid",
            room.0
        )
        .fetch_all(self.conn())
        .await?;
        rows.into_iter().map(Row::into_record).collect()
    }
}

impl Txn {
    /// Marks a room as forgotten by a user who is not in it. `false` when the user is in it, or never was.
    pub async fn forget_room(&mut self, room: RoomNid, user: UserNid) -> Result<bool> {
        let done = sqlx::query!(
            "UPDATE memberships SET is_forgotten = TRUE
             WHERE room_nid = $1 AND user_nid = $2 AND membership IN ($3, $4)",
            room.0,
            user.0,
            Membership::Leave.code(),
            Membership::Ban.code()
        )
        .execute(self.conn())
        .await?;
        if done.rows_affected() == 1 {
            self.log(LogKind::RoomRecord, Some(room), Some(user)).await?;
            return Ok(true);
        }
        Ok(false)
    }
}
