//! Read receipts: how far a user has read, public or private, for a whole room or for one thread.

use hs_model::{
    ids::{EventNid, RoomNid, UserNid},
    stream::Position,
};
use ruma::{EventId, OwnedEventId, OwnedUserId};

use crate::{
    Reader, Txn,
    error::{Result, StorageError},
};

/// How many relations lead at most from an event to the thread it belongs to.
///
/// <https://spec.matrix.org/v1.19/client-server-api/#threaded-read-receipts>
const MAX_THREAD_HOPS: i32 = 3;

/// Who may know of a receipt.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum ReceiptType {
    /// `m.read`: everybody in the room.
    Read,
    /// `m.read.private`: only the user.
    ReadPrivate,
}

impl ReceiptType {
    /// The name in the specification.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Read => "m.read",
            Self::ReadPrivate => "m.read.private",
        }
    }

    /// The inverse of [`as_str`](Self::as_str).
    pub fn parse(name: &str) -> Option<Self> {
        [Self::Read, Self::ReadPrivate].into_iter().find(|receipt_type| receipt_type.as_str() == name)
    }
}

/// A receipt to be written.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct NewReceipt {
    /// The room.
    pub room: RoomNid,
    /// Whose it is.
    pub user: UserNid,
    /// Whose it is.
    pub user_id: OwnedUserId,
    /// Public or private.
    pub receipt_type: ReceiptType,
    /// `main`, or the id of a thread's root; `None` for a receipt regardless of threads.
    pub thread_id: Option<Box<str>>,
    /// The event read up to.
    pub event_id: OwnedEventId,
    /// Where that event stands; `None` when it is not in the room.
    pub event_position: Option<Position>,
    /// When it was read, in milliseconds.
    pub ts: i64,
}

impl NewReceipt {
    /// Whether this one is to replace `other`, which has the same key: a receipt never moves backwards, and an event
    /// that nobody knows is no step forward.
    pub(crate) fn is_ahead_of(&self, other: &Self) -> bool {
        match (self.event_position, other.event_position) {
            (Some(new), Some(old)) => new > old,
            (Some(_), None) => true,
            (None, Some(_)) => false,
            (None, None) => self.event_id != other.event_id,
        }
    }
}

/// A stored receipt.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ReceiptRow {
    /// What was written.
    pub receipt: NewReceipt,
    /// When it last changed.
    pub position: Position,
}

impl ReceiptRow {
    /// Whether a user may know of it.
    pub fn is_visible_to(&self, viewer: UserNid) -> bool {
        self.receipt.receipt_type == ReceiptType::Read || self.receipt.user == viewer
    }
}

/// What must be known of an event to put a receipt on it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ReceiptTarget {
    /// Its number.
    pub event: EventNid,
    /// Its room.
    pub room: RoomNid,
    /// Where it stands in the log; `None` for an event outside of the room's graph.
    pub position: Option<Position>,
    /// The root of the thread that it belongs to.
    pub thread_root: Option<OwnedEventId>,
}

struct Row {
    room_nid: i64,
    user_nid: i64,
    user_id: String,
    receipt_type: String,
    thread_id: String,
    event_id: String,
    event_position: Option<i64>,
    ts: i64,
    stream_position: i64,
}

impl Row {
    fn into_record(self) -> Result<ReceiptRow> {
        let (room, user) = (self.room_nid, self.user_nid);
        let wrong =
            |column| StorageError::Inconsistent { table: "receipts", column, row: format!("{room}/{user}") };
        Ok(ReceiptRow {
            receipt: NewReceipt {
                room: RoomNid(room),
                user: UserNid(user),
                user_id: self.user_id.try_into().map_err(|_| wrong("user_nid"))?,
                receipt_type: ReceiptType::parse(&self.receipt_type).ok_or_else(|| wrong("receipt_type"))?,
                thread_id: (!self.thread_id.is_empty()).then(|| self.thread_id.into()),
                event_id: self.event_id.try_into().map_err(|_| wrong("event_id"))?,
                event_position: self.event_position.map(Position),
                ts: self.ts,
            },
            position: Position(self.stream_position),
        })
    }
}

impl Reader {
    /// The receipts in rooms that a user may know of and that changed after one position and up to another, in order.
    pub async fn list_receipts(
        &mut self,
        rooms: &[RoomNid],
        viewer: UserNid,
        after: Position,
        up_to: Position,
    ) -> Result<Vec<ReceiptRow>> {
        let rooms: Vec<i64> = rooms.iter().map(|room| room.0).collect();
        let rows = sqlx::query_as!(
            Row,
            "SELECT room_nid, user_nid, user_id, receipt_type, thread_id, event_id, event_position, ts, stream_position
             FROM receipts
             JOIN users USING (user_nid)
             WHERE room_nid = ANY($1) AND stream_position > $2 AND stream_position <= $3
               AND (receipt_type = 'm.read' OR user_nid = $4)
             ORDER BY stream_position",
            &rooms,
            after.0,
            up_to.0,
            viewer.0
        )
        .fetch_all(self.conn())
        .await?;
        rows.into_iter().map(Row::into_record).collect()
    }

    /// The receipts that last changed at these positions. Those that have changed again are missing.
    pub async fn list_receipts_at(&mut self, changes: &[(RoomNid, Position)]) -> Result<Vec<ReceiptRow>> {
        let (rooms, positions): (Vec<i64>, Vec<i64>) =
            changes.iter().map(|(room, position)| (room.0, position.0)).unzip();
        let rows = sqlx::query_as!(
            Row,
            "SELECT r.room_nid, r.user_nid, u.user_id, r.receipt_type, r.thread_id, r.event_id, r.event_position, r.ts,
               r.stream_position
             FROM UNNEST($1::bigint[], $2::bigint[]) AS change (room_nid, stream_position)
             JOIN receipts r USING (room_nid, stream_position)
             JOIN users u USING (user_nid)
             ORDER BY r.stream_position",
            &rooms,
            &positions
        )
        .fetch_all(self.conn())
        .await?;
        rows.into_iter().map(Row::into_record).collect()
    }

    /// All receipts of a user in rooms.
    pub async fn list_receipts_of_user(
        &mut self,
        user: UserNid,
        rooms: &[RoomNid],
    ) -> Result<Vec<ReceiptRow>> {
        let rooms: Vec<i64> = rooms.iter().map(|room| room.0).collect();
        let rows = sqlx::query_as!(
            Row,
            "SELECT room_nid, user_nid, user_id, receipt_type, thread_id, event_id, event_position, ts, stream_position
             FROM receipts
             JOIN users USING (user_nid)
             WHERE room_nid = ANY($1) AND user_nid = $2
             ORDER BY stream_position",
            &rooms,
            user.0
        )
        .fetch_all(self.conn())
        .await?;
        rows.into_iter().map(Row::into_record).collect()
    }

    /// What must be known of an event to put a receipt on it; `None` when it is not stored or not accepted.
    pub async fn find_receipt_target(&mut self, event_id: &EventId) -> Result<Option<ReceiptTarget>> {
        let row = sqlx::query!(
            r#"WITH RECURSIVE related AS (
                 SELECT e.event_nid, r.parent_id, r.rel_type, 1 AS hops
                 FROM events e
                 JOIN event_relations r USING (event_nid)
                 WHERE e.event_id = $1
                 UNION ALL
                 SELECT e.event_nid, r.parent_id, r.rel_type, related.hops + 1
                 FROM related
                 JOIN events e ON e.event_id = related.parent_id
                 JOIN event_relations r ON r.event_nid = e.event_nid
                 WHERE related.rel_type <> 'm.thread' AND related.hops < $2
               )
               SELECT event_nid, room_nid, stream_position,
                 (SELECT parent_id FROM related WHERE rel_type = 'm.thread' LIMIT 1) AS thread_root
               FROM events
               WHERE event_id = $1 AND outcome = 0"#,
            event_id.as_str(),
            MAX_THREAD_HOPS
        )
        .fetch_optional(self.conn())
        .await?;
        Ok(row.map(|row| ReceiptTarget {
            event: EventNid(row.event_nid),
            room: RoomNid(row.room_nid),
            position: row.stream_position.map(Position),
            // What a client sent as a parent need not be an event id; then it is no thread either.
            thread_root: row.thread_root.and_then(|id| id.try_into().ok()),
        }))
    }

    /// Whether an event is the root of a thread, or relates to the root by other relations.
    pub async fn is_at_thread_root(
        &mut self,
        room: RoomNid,
        event_id: &EventId,
        root: &EventId,
    ) -> Result<bool> {
        let is_at_root = sqlx::query_scalar!(
            r#"WITH RECURSIVE related AS (
                 SELECT $1::text AS id, 0 AS hops
                 UNION ALL
                 SELECT r.parent_id, related.hops + 1
                 FROM related
                 JOIN events e ON e.event_id = related.id
                 JOIN event_relations r ON r.event_nid = e.event_nid
                 WHERE related.hops < $4
               )
               SELECT EXISTS (SELECT FROM related WHERE id = $2)
                 AND EXISTS (
                   SELECT FROM event_relations WHERE room_nid = $3 AND parent_id = $2 AND rel_type = 'm.thread'
                 ) AS "is_at_root!""#,
            event_id.as_str(),
            root.as_str(),
            room.0,
            MAX_THREAD_HOPS
        )
        .fetch_one(self.conn())
        .await?;
        Ok(is_at_root)
    }
}

impl Txn {
    /// Writes receipts with distinct keys. Says for each at which position it changed, if it did.
    ///
    /// The log's lock is taken before any row is changed. What another replica commits between this statement's snapshot
    /// and that lock is noticed by the second comparison, at the price of a log entry about nothing.
    pub(crate) async fn upsert_receipts(&mut self, receipts: &[NewReceipt]) -> Result<Vec<Option<Position>>> {
        let rooms: Vec<i64> = receipts.iter().map(|r| r.room.0).collect();
        let users: Vec<i64> = receipts.iter().map(|r| r.user.0).collect();
        let types: Vec<&str> = receipts.iter().map(|r| r.receipt_type.as_str()).collect();
        let threads: Vec<&str> = receipts.iter().map(|r| r.thread_id.as_deref().unwrap_or("")).collect();
        let events: Vec<&str> = receipts.iter().map(|r| r.event_id.as_str()).collect();
        let event_positions: Vec<Option<i64>> =
            receipts.iter().map(|r| r.event_position.map(|position| position.0)).collect();
        let times: Vec<i64> = receipts.iter().map(|r| r.ts).collect();
        let rows = sqlx::query!(
            r#"WITH ahead AS (
                 SELECT new.*, row_number() OVER (ORDER BY n) AS k
                 FROM UNNEST($1::bigint[], $2::bigint[], $3::text[], $4::text[], $5::text[], $6::bigint[], $7::bigint[])
                   WITH ORDINALITY AS new (room_nid, user_nid, receipt_type, thread_id, event_id, event_position, ts, n)
                 LEFT JOIN receipts old USING (room_nid, user_nid, receipt_type, thread_id)
                 WHERE old.event_id IS NULL
                   OR new.event_position > old.event_position
                   OR (old.event_position IS NULL AND new.event_id <> old.event_id)
               ), head AS (
                 UPDATE log_head SET position = position + (SELECT count(*) FROM ahead)
                 WHERE EXISTS (SELECT FROM ahead)
                 RETURNING position - (SELECT count(*) FROM ahead) AS base, position AS last
               ), stored AS (
                 INSERT INTO receipts (room_nid, user_nid, receipt_type, thread_id, event_id, event_position, ts,
                   stream_position)
                 SELECT room_nid, user_nid, receipt_type, thread_id, event_id, event_position, ts, head.base + k
                 FROM ahead, head
                 ON CONFLICT (room_nid, user_nid, receipt_type, thread_id) DO UPDATE
                 SET event_id = EXCLUDED.event_id, event_position = EXCLUDED.event_position, ts = EXCLUDED.ts,
                   stream_position = EXCLUDED.stream_position
                 WHERE receipts.event_position IS NULL OR receipts.event_position < EXCLUDED.event_position
               ), logged AS (
                 INSERT INTO log (position, kind, room_nid, user_nid)
                 SELECT head.base + k, 2, room_nid, user_nid FROM ahead, head
               ), news AS (
                 SELECT pg_notify('kith_log', last || ' ' || current_setting('application_name')) FROM head
               )
               SELECT n AS "n!", head.base + k AS "position!" FROM ahead, head, news"#,
            &rooms,
            &users,
            &types as &[&str],
            &threads as &[&str],
            &events as &[&str],
            &event_positions as &[Option<i64>],
            &times
        )
        .fetch_all(self.conn())
        .await?;
        let mut positions = vec![None; receipts.len()];
        for row in rows {
            positions[row.n as usize - 1] = Some(Position(row.position));
        }
        Ok(positions)
    }
}
