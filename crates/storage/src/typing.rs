//! Who is typing where.

use hs_model::{
    ids::{RoomNid, UserNid},
    stream::Position,
};
use ruma::OwnedUserId;

use crate::{
    Reader, Txn,
    error::{Result, StorageError},
};

/// A change of who is typing.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TypingUpdate {
    /// The room.
    pub room: RoomNid,
    /// The user.
    pub user: UserNid,
    /// The user.
    pub user_id: OwnedUserId,
    /// What happens.
    pub change: TypingChange,
}

/// What happens to a user's typing. Times are milliseconds since the epoch.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum TypingChange {
    /// Types, until then if nothing else comes.
    Until(i64),
    /// Has stopped.
    Stop,
    /// Has stopped if the time given last lies at or before this one.
    Expire(i64),
}

impl TypingUpdate {
    /// Puts a later update of the same user on top of this one. The end of a time that was given before says nothing
    /// against a new start or stop.
    pub(crate) fn merge(&mut self, later: &Self) {
        match (self.change, later.change) {
            (TypingChange::Expire(one), TypingChange::Expire(other)) => {
                self.change = TypingChange::Expire(one.max(other));
            }
            (_, TypingChange::Expire(_)) => {}
            _ => self.change = later.change,
        }
    }
}

/// Somebody who is typing.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TypingRow {
    /// The room.
    pub room: RoomNid,
    /// The user.
    pub user: UserNid,
    /// The user.
    pub user_id: OwnedUserId,
    /// When it ends unless the client says otherwise.
    pub expires_at: i64,
}

/// What became of a [`TypingUpdate`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct TypingWritten {
    /// Where the list of who is typing changed, if it did.
    pub position: Option<Position>,
    /// The row's time now; `None` when the user is not typing.
    pub expires_at: Option<i64>,
}

struct Row {
    room_nid: i64,
    user_nid: i64,
    user_id: String,
    expires_at: i64,
}

impl Row {
    fn into_record(self) -> Result<TypingRow> {
        let user_id = self.user_id.try_into().map_err(|_| StorageError::Inconsistent {
            table: "typing",
            column: "user_nid",
            row: self.user_nid.to_string(),
        })?;
        Ok(TypingRow {
            room: RoomNid(self.room_nid),
            user: UserNid(self.user_nid),
            user_id,
            expires_at: self.expires_at,
        })
    }
}

impl Reader {
    /// Everybody who is typing.
    pub async fn list_typing(&mut self) -> Result<Vec<TypingRow>> {
        let rows = sqlx::query_as!(
            Row,
            "SELECT room_nid, user_nid, user_id, expires_at
             FROM typing
             JOIN users USING (user_nid)
             ORDER BY room_nid, user_nid"
        )
        .fetch_all(self.conn())
        .await?;
        rows.into_iter().map(Row::into_record).collect()
    }

    /// Those of these users who are typing in these rooms.
    pub async fn list_typing_of(&mut self, who: &[(RoomNid, UserNid)]) -> Result<Vec<TypingRow>> {
        let (rooms, users): (Vec<i64>, Vec<i64>) = who.iter().map(|(room, user)| (room.0, user.0)).unzip();
        let rows = sqlx::query_as!(
            Row,
            "SELECT room_nid, user_nid, user_id, expires_at
             FROM typing
             JOIN UNNEST($1::bigint[], $2::bigint[]) AS wanted (room_nid, user_nid) USING (room_nid, user_nid)
             JOIN users USING (user_nid)
             ORDER BY room_nid, user_nid",
            &rooms,
            &users
        )
        .fetch_all(self.conn())
        .await?;
        rows.into_iter().map(Row::into_record).collect()
    }

    /// Where typing changed last in each room, among the entries of the log after a position.
    pub async fn list_typing_changes(&mut self, after: Position) -> Result<Vec<(RoomNid, Position)>> {
        let rows = sqlx::query!(
            r#"SELECT room_nid AS "room_nid!", max(position) AS "position!"
             FROM log
             WHERE position > $1 AND kind = 3 AND room_nid IS NOT NULL
             GROUP BY room_nid
             ORDER BY 2"#,
            after.0
        )
        .fetch_all(self.conn())
        .await?;
        Ok(rows.into_iter().map(|row| (RoomNid(row.room_nid), Position(row.position))).collect())
    }
}

impl Txn {
    /// Writes who starts and stops typing; each pair of room and user at most once. Only who starts or stops takes a
    /// position, who goes on does not. The log's lock is taken before any row is changed.
    pub(crate) async fn update_typing(&mut self, updates: &[TypingUpdate]) -> Result<Vec<TypingWritten>> {
        let rooms: Vec<i64> = updates.iter().map(|u| u.room.0).collect();
        let users: Vec<i64> = updates.iter().map(|u| u.user.0).collect();
        let (expires_at, expired_by): (Vec<Option<i64>>, Vec<i64>) = updates
            .iter()
            .map(|update| match update.change {
                TypingChange::Until(time) => (Some(time), 0),
                TypingChange::Stop => (None, i64::MAX),
                TypingChange::Expire(now) => (None, now),
            })
            .unzip();
        let rows = sqlx::query!(
            r#"WITH new AS (
                 SELECT new.*, old.expires_at AS old_expires_at
                 FROM UNNEST($1::bigint[], $2::bigint[], $3::bigint[], $4::bigint[])
                   WITH ORDINALITY AS new (room_nid, user_nid, expires_at, expired_by, n)
                 LEFT JOIN typing old USING (room_nid, user_nid)
               ), changed AS (
                 SELECT *, row_number() OVER (ORDER BY n) AS k
                 FROM new
                 WHERE CASE WHEN expires_at IS NULL THEN old_expires_at <= expired_by ELSE old_expires_at IS NULL END
               ), head AS (
                 UPDATE log_head SET position = position + (SELECT count(*) FROM changed)
                 WHERE EXISTS (SELECT FROM changed)
                 RETURNING position - (SELECT count(*) FROM changed) AS base, position AS last
               ), locked AS (
                 SELECT count(*) FROM head
               ), stored AS (
                 INSERT INTO typing (room_nid, user_nid, expires_at)
                 SELECT room_nid, user_nid, expires_at FROM new, locked WHERE expires_at IS NOT NULL
                 ON CONFLICT (room_nid, user_nid) DO UPDATE SET expires_at = EXCLUDED.expires_at
               ), stopped AS (
                 DELETE FROM typing
                 USING changed, head
                 WHERE typing.room_nid = changed.room_nid AND typing.user_nid = changed.user_nid
                   AND changed.expires_at IS NULL AND typing.expires_at <= changed.expired_by
               ), logged AS (
                 INSERT INTO log (position, kind, room_nid, user_nid)
                 SELECT head.base + k, 3, room_nid, user_nid FROM changed, head
               ), news AS (
                 SELECT pg_notify('kith_log', last || ' ' || current_setting('application_name')) FROM head
               )
               SELECT new.n AS "n!", head.base + changed.k AS position,
                 CASE WHEN changed.n IS NULL THEN COALESCE(new.expires_at, new.old_expires_at) ELSE new.expires_at END
                   AS expires_at
               FROM new
               LEFT JOIN changed ON changed.n = new.n
               LEFT JOIN head ON TRUE
               LEFT JOIN news ON TRUE"#,
            &rooms,
            &users,
            &expires_at as &[Option<i64>],
            &expired_by
        )
        .fetch_all(self.conn())
        .await?;
        let mut written = vec![TypingWritten { position: None, expires_at: None }; updates.len()];
        for row in rows {
            written[row.n as usize - 1] =
                TypingWritten { position: row.position.map(Position), expires_at: row.expires_at };
        }
        Ok(written)
    }
}
