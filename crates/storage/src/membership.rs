//! Who is in which room.

use hs_model::{
    ids::{EventNid, RoomNid, UserNid},
    membership::Membership,
    records::MembershipRecord,
    stream::Position,
};

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
