//! Whose devices and keys have changed, and for whom that is news.

use std::collections::BTreeMap;

use hs_model::{
    ids::{RoomNid, UserNid},
    membership::Membership,
    stream::Position,
};

use crate::{
    Reader, Txn,
    error::{Result, StorageError},
};

/// A user's own way into or out of a room since a position.
#[derive(Clone, Debug)]
pub struct OwnMove {
    /// The room.
    pub room: RoomNid,
    /// What the user is now.
    pub membership: Membership,
    /// The member event in force at the position, as JSON, if there was one.
    pub before: Option<String>,
}

impl Reader {
    /// The users whose devices last changed after a position and up to another, and who share a room with a user, or are that
    /// user.
    pub async fn list_device_list_changes(
        &mut self,
        user: UserNid,
        after: Position,
        up_to: Position,
    ) -> Result<Vec<UserNid>> {
        let users = sqlx::query_scalar!(
            "SELECT c.user_nid
             FROM device_list_changes c
             WHERE c.position > $2 AND c.position <= $3
               AND (c.user_nid = $1 OR EXISTS (
                   SELECT FROM memberships own JOIN memberships other USING (room_nid)
                   WHERE own.user_nid = $1 AND own.membership = $4
                     AND other.user_nid = c.user_nid AND other.membership = $4
               ))
             ORDER BY c.user_nid",
            user.0,
            after.0,
            up_to.0,
            Membership::Join.code()
        )
        .fetch_all(self.conn())
        .await?;
        Ok(users.into_iter().map(UserNid).collect())
    }

    /// The members whose membership in a room that a user is in has changed after a position.
    pub async fn list_members_moved(
        &mut self,
        user: UserNid,
        after: Position,
    ) -> Result<Vec<(UserNid, Membership)>> {
        let rows = sqlx::query!(
            "SELECT DISTINCT other.user_nid, other.membership
             FROM memberships own
             JOIN room_heads h ON h.room_nid = own.room_nid AND h.last_position > $2
             JOIN memberships other ON other.room_nid = own.room_nid AND other.stream_position > $2
             WHERE own.user_nid = $1 AND own.membership = $3 AND other.user_nid <> $1",
            user.0,
            after.0,
            Membership::Join.code()
        )
        .fetch_all(self.conn())
        .await?;
        rows.into_iter()
            .map(|row| Ok((UserNid(row.user_nid), membership(row.membership, row.user_nid)?)))
            .collect()
    }

    /// The rooms in which a user's own membership has changed after a position.
    pub async fn list_own_moves(&mut self, user: UserNid, after: Position) -> Result<Vec<OwnMove>> {
        let rows = sqlx::query!(
            r#"SELECT m.room_nid, m.membership, before.json AS "before?"
             FROM memberships m
             JOIN events now USING (event_nid)
             LEFT JOIN LATERAL (
                 SELECT j.json
                 FROM events e JOIN event_json j USING (event_nid)
                 WHERE e.slot_nid = now.slot_nid AND e.room_nid = m.room_nid AND e.stream_position <= $2
                   AND e.outcome = 0
                 ORDER BY e.stream_position DESC
                 LIMIT 1
             ) AS before ON TRUE
             WHERE m.user_nid = $1 AND m.stream_position > $2
             ORDER BY m.room_nid"#,
            user.0,
            after.0
        )
        .fetch_all(self.conn())
        .await?;
        rows.into_iter()
            .map(|row| {
                Ok(OwnMove {
                    room: RoomNid(row.room_nid),
                    membership: membership(row.membership, user.0)?,
                    before: row.before,
                })
            })
            .collect()
    }

    /// Everybody who is joined to one of the rooms, except for one.
    pub async fn list_joined_users(&mut self, rooms: &[RoomNid], except: UserNid) -> Result<Vec<UserNid>> {
        let rooms: Vec<i64> = rooms.iter().map(|room| room.0).collect();
        let users = sqlx::query_scalar!(
            "SELECT DISTINCT user_nid
             FROM memberships
             WHERE room_nid = ANY($1) AND membership = $2 AND user_nid <> $3",
            &rooms,
            Membership::Join.code(),
            except.0
        )
        .fetch_all(self.conn())
        .await?;
        Ok(users.into_iter().map(UserNid).collect())
    }

    /// The rooms that a user is joined to.
    pub async fn list_joined_room_nids(&mut self, user: UserNid) -> Result<Vec<RoomNid>> {
        let rooms = sqlx::query_scalar!(
            "SELECT room_nid FROM memberships WHERE user_nid = $1 AND membership = $2 ORDER BY room_nid",
            user.0,
            Membership::Join.code()
        )
        .fetch_all(self.conn())
        .await?;
        Ok(rooms.into_iter().map(RoomNid).collect())
    }
}

impl Reader {
    /// The rooms that users are joined to.
    pub async fn list_joined_room_nids_of(&mut self, users: &[UserNid]) -> Result<Vec<(UserNid, RoomNid)>> {
        let users: Vec<i64> = users.iter().map(|user| user.0).collect();
        let rows = sqlx::query!(
            "SELECT user_nid, room_nid FROM memberships WHERE user_nid = ANY($1) AND membership = $2",
            &users,
            Membership::Join.code()
        )
        .fetch_all(self.conn())
        .await?;
        Ok(rows.into_iter().map(|row| (UserNid(row.user_nid), RoomNid(row.room_nid))).collect())
    }
}

impl Txn {
    pub(crate) async fn upsert_device_list_changes(
        &mut self,
        changes: &BTreeMap<UserNid, Position>,
    ) -> Result<()> {
        let users: Vec<i64> = changes.keys().map(|user| user.0).collect();
        let positions: Vec<i64> = changes.values().map(|position| position.0).collect();
        sqlx::query!(
            "INSERT INTO device_list_changes (user_nid, position)
             SELECT * FROM UNNEST($1::bigint[], $2::bigint[])
             ON CONFLICT (user_nid) DO UPDATE SET position = EXCLUDED.position",
            &users,
            &positions
        )
        .execute(self.conn())
        .await?;
        Ok(())
    }
}

fn membership(code: i16, user: i64) -> Result<Membership> {
    Membership::from_code(code).ok_or_else(|| StorageError::Inconsistent {
        table: "memberships",
        column: "membership",
        row: user.to_string(),
    })
}
