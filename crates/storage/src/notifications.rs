//! The events that a user was notified of.

use hs_model::{
    ids::{EventNid, RoomNid, UserNid},
    notices::Attention,
    stream::Position,
};

use crate::{Reader, error::Result};

/// A room to look for notifications in.
#[derive(Clone, Copy, Debug)]
pub struct NotifiedRoom {
    /// The room.
    pub room: RoomNid,
    /// What came up to here is not looked at.
    pub after: Position,
    /// Whether only what was decided for this user notifies.
    pub is_quiet: bool,
}

/// An event that a user was notified of.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct NotificationRow {
    /// The event.
    pub event: EventNid,
    /// Its room.
    pub room: RoomNid,
    /// Where it stands.
    pub position: Position,
    /// How much attention it asked for.
    pub attention: Attention,
    /// The tweaks, where the attention cannot say them.
    pub tweaks: Option<String>,
}

struct Row {
    event_nid: i64,
    room_nid: i64,
    stream_position: i64,
    attention: i16,
    tweaks: Option<String>,
}

impl From<Row> for NotificationRow {
    fn from(row: Row) -> Self {
        Self {
            event: EventNid(row.event_nid),
            room: RoomNid(row.room_nid),
            position: Position(row.stream_position),
            attention: Attention::from_code(row.attention),
            tweaks: row.tweaks,
        }
    }
}

impl Reader {
    /// The newest events before a position that a user was notified of, newest first.
    pub async fn list_notifications(
        &mut self,
        user: UserNid,
        rooms: &[NotifiedRoom],
        before: Position,
        limit: i64,
    ) -> Result<Vec<NotificationRow>> {
        let nids: Vec<i64> = rooms.iter().map(|room| room.room.0).collect();
        let after: Vec<i64> = rooms.iter().map(|room| room.after.0).collect();
        let quiet: Vec<bool> = rooms.iter().map(|room| room.is_quiet).collect();
        let rows = sqlx::query_as!(
            Row,
            r#"SELECT found.event_nid AS "event_nid!", found.room_nid AS "room_nid!",
                 found.stream_position AS "stream_position!", found.attention AS "attention!",
                 found.tweaks AS "tweaks?"
               FROM UNNEST($1::bigint[], $2::bigint[], $3::boolean[]) AS r (room_nid, after, is_quiet)
               CROSS JOIN LATERAL (
                 SELECT e.event_nid, e.room_nid, e.stream_position, COALESCE(n.attention, e.notice) AS attention,
                   n.tweaks
                 FROM events e
                 LEFT JOIN notices n ON n.user_nid = $4 AND n.stream_position = e.stream_position
                 WHERE e.room_nid = r.room_nid AND e.notice <> 0 AND e.redacted_by IS NULL AND e.sender_nid <> $4
                   AND e.stream_position > r.after AND e.stream_position < $5
                   AND COALESCE(n.attention, e.notice) & 1 = 1
                   AND (n.attention IS NOT NULL OR NOT r.is_quiet)
                 ORDER BY e.stream_position DESC
                 LIMIT $6
               ) found
               ORDER BY found.stream_position DESC
               LIMIT $6"#,
            &nids,
            &after,
            &quiet,
            user.0,
            before.0,
            limit
        )
        .fetch_all(self.conn())
        .await?;
        Ok(rows.into_iter().map(NotificationRow::from).collect())
    }

    /// As [`list_notifications`](Self::list_notifications), but only those that stand out: few among many.
    pub async fn list_highlights(
        &mut self,
        user: UserNid,
        rooms: &[NotifiedRoom],
        before: Position,
        limit: i64,
    ) -> Result<Vec<NotificationRow>> {
        let nids: Vec<i64> = rooms.iter().map(|room| room.room.0).collect();
        let after: Vec<i64> = rooms.iter().map(|room| room.after.0).collect();
        let quiet: Vec<bool> = rooms.iter().map(|room| room.is_quiet).collect();
        let rows = sqlx::query_as!(
            Row,
            r#"WITH wanted AS (
                 SELECT * FROM UNNEST($1::bigint[], $2::bigint[], $3::boolean[]) AS r (room_nid, after, is_quiet)
               )
               SELECT found.event_nid AS "event_nid!", found.room_nid AS "room_nid!",
                 found.stream_position AS "stream_position!", found.attention AS "attention!",
                 found.tweaks AS "tweaks?"
               FROM (
                 SELECT e.event_nid, e.room_nid, e.stream_position, n.attention, n.tweaks
                 FROM notices n
                 JOIN wanted r ON r.room_nid = n.room_nid AND n.stream_position > r.after
                 JOIN events e ON e.event_nid = n.event_nid
                 WHERE n.user_nid = $4 AND n.stream_position < $5 AND n.attention & 3 = 3
                   AND e.redacted_by IS NULL AND e.sender_nid <> $4
                 UNION ALL
                 SELECT every.* FROM wanted r
                 CROSS JOIN LATERAL (
                   SELECT e.event_nid, e.room_nid, e.stream_position, e.notice AS attention, NULL::text AS tweaks
                   FROM events e
                   WHERE e.room_nid = r.room_nid AND e.notice & 2 <> 0 AND NOT r.is_quiet
                     AND e.stream_position > r.after AND e.stream_position < $5
                     AND e.redacted_by IS NULL AND e.sender_nid <> $4
                     AND NOT EXISTS (
                       SELECT FROM notices n WHERE n.user_nid = $4 AND n.stream_position = e.stream_position
                     )
                   ORDER BY e.stream_position DESC
                   LIMIT $6
                 ) every
               ) found
               ORDER BY found.stream_position DESC
               LIMIT $6"#,
            &nids,
            &after,
            &quiet,
            user.0,
            before.0,
            limit
        )
        .fetch_all(self.conn())
        .await?;
        Ok(rows.into_iter().map(NotificationRow::from).collect())
    }
}
