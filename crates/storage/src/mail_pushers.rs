//! What waits to be mailed, and how often a room may be mailed about. The pushers are in [`crate::pushers`].

use hs_model::{
    ids::{EventNid, RoomNid},
    notices::Attention,
    stream::Position,
};

use crate::{Reader, Txn, error::Result, pushers::QueuedPush};

/// A room that something waits to be mailed about.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct RoomToMail {
    /// The room.
    pub room: RoomNid,
    /// Since when the oldest of it waits, in milliseconds.
    pub waiting_since: i64,
    /// How much waits.
    pub count: i64,
    /// Where the newest of it stands.
    pub newest: Position,
    /// The last mail about the room.
    pub pause: Option<MailPause>,
}

/// The last mail about a room.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct MailPause {
    /// The newest event that was mailed.
    pub last_event: EventNid,
    /// When, in milliseconds.
    pub mailed_at: i64,
    /// How long the room is quiet after that.
    pub pause_ms: i64,
}

impl Reader {
    /// The rooms that something waits to be mailed about, the longest wait first.
    pub async fn list_rooms_to_mail(&mut self, pusher: i64, limit: i64) -> Result<Vec<RoomToMail>> {
        let rows = sqlx::query!(
            r#"SELECT q.room_nid, q.waiting_since AS "waiting_since!", q.count AS "count!", q.newest AS "newest!",
                 p.last_event_nid AS "last_event_nid?", p.mailed_at AS "mailed_at?", p.pause_ms AS "pause_ms?"
               FROM (
                 SELECT room_nid, MIN(queued_at) AS waiting_since, COUNT(*) AS count, MAX(stream_position) AS newest
                 FROM push_queue
                 WHERE pusher_nid = $1
                 GROUP BY room_nid
               ) q
               LEFT JOIN mail_pauses p ON p.pusher_nid = $1 AND p.room_nid = q.room_nid
               ORDER BY q.waiting_since, q.room_nid
               LIMIT $2"#,
            pusher,
            limit
        )
        .fetch_all(self.conn())
        .await?;
        Ok(rows
            .into_iter()
            .map(|row| RoomToMail {
                room: RoomNid(row.room_nid),
                waiting_since: row.waiting_since,
                count: row.count,
                newest: Position(row.newest),
                pause: match (row.last_event_nid, row.mailed_at, row.pause_ms) {
                    (Some(last_event), Some(mailed_at), Some(pause_ms)) => {
                        Some(MailPause { last_event: EventNid(last_event), mailed_at, pause_ms })
                    }
                    _ => None,
                },
            })
            .collect())
    }

    /// The newest that waits to be mailed about each of some rooms, oldest first.
    pub async fn list_newest_to_mail(
        &mut self,
        pusher: i64,
        rooms: &[RoomNid],
        per_room: i64,
    ) -> Result<Vec<QueuedPush>> {
        let rooms: Vec<i64> = rooms.iter().map(|room| room.0).collect();
        let rows = sqlx::query!(
            r#"SELECT q.event_nid, q.room_nid, q.stream_position, q.attention, q.tweaks, q.queued_at
               FROM UNNEST($2::bigint[]) AS wanted (room_nid)
               CROSS JOIN LATERAL (
                 SELECT event_nid, room_nid, stream_position, attention, tweaks, queued_at
                 FROM push_queue
                 WHERE pusher_nid = $1 AND room_nid = wanted.room_nid
                 ORDER BY stream_position DESC
                 LIMIT $3
               ) q
               ORDER BY q.stream_position"#,
            pusher,
            &rooms,
            per_room
        )
        .fetch_all(self.conn())
        .await?;
        Ok(rows
            .into_iter()
            .map(|row| QueuedPush {
                event: EventNid(row.event_nid),
                room: RoomNid(row.room_nid),
                position: Position(row.stream_position),
                attention: Attention::from_code(row.attention),
                tweaks: row.tweaks,
                queued_at: row.queued_at,
            })
            .collect())
    }

    /// The address that a token ends notifications for.
    pub async fn find_address_to_unsubscribe(&mut self, token: &str) -> Result<Option<String>> {
        let address = sqlx::query_scalar!("SELECT pushkey FROM pushers WHERE unsubscribe_token = $1", token)
            .fetch_optional(self.conn())
            .await?;
        Ok(address)
    }
}

impl Txn {
    /// The token that ends a pusher; `proposed` if it has none yet. `None` when the pusher is gone.
    pub async fn ensure_unsubscribe_token(&mut self, pusher: i64, proposed: &str) -> Result<Option<String>> {
        let token = sqlx::query_scalar!(
            r#"UPDATE pushers
               SET unsubscribe_token = COALESCE(unsubscribe_token, $2)
               WHERE pusher_nid = $1
               RETURNING unsubscribe_token AS "token!""#,
            pusher,
            proposed
        )
        .fetch_optional(self.conn())
        .await?;
        Ok(token)
    }

    /// Deletes the pusher that a token belongs to. Whether there was one.
    pub async fn delete_pusher_by_token(&mut self, token: &str) -> Result<bool> {
        let done = sqlx::query!("DELETE FROM pushers WHERE unsubscribe_token = $1", token)
            .execute(self.conn())
            .await?;
        Ok(done.rows_affected() > 0)
    }

    /// What waited to be mailed about some rooms, each up to a position, was, or need not be any more.
    pub async fn delete_mailed(&mut self, pusher: i64, rooms: &[(RoomNid, Position)]) -> Result<()> {
        let nids: Vec<i64> = rooms.iter().map(|(room, _)| room.0).collect();
        let up_to: Vec<i64> = rooms.iter().map(|(_, position)| position.0).collect();
        sqlx::query!(
            "DELETE FROM push_queue q
             USING UNNEST($2::bigint[], $3::bigint[]) AS done (room_nid, up_to)
             WHERE q.pusher_nid = $1 AND q.room_nid = done.room_nid AND q.stream_position <= done.up_to",
            pusher,
            &nids,
            &up_to
        )
        .execute(self.conn())
        .await?;
        Ok(())
    }

    /// Notes for rooms that a mail was about them.
    pub async fn upsert_mail_pauses(&mut self, pusher: i64, pauses: &[(RoomNid, MailPause)]) -> Result<()> {
        let rooms: Vec<i64> = pauses.iter().map(|(room, _)| room.0).collect();
        let events: Vec<i64> = pauses.iter().map(|(_, pause)| pause.last_event.0).collect();
        let times: Vec<i64> = pauses.iter().map(|(_, pause)| pause.mailed_at).collect();
        let lengths: Vec<i64> = pauses.iter().map(|(_, pause)| pause.pause_ms).collect();
        // The pusher may have been deleted meanwhile.
        sqlx::query!(
            "INSERT INTO mail_pauses (pusher_nid, room_nid, last_event_nid, mailed_at, pause_ms)
             SELECT p.pusher_nid, new.*
             FROM (SELECT pusher_nid FROM pushers WHERE pusher_nid = $1 FOR KEY SHARE) p,
               UNNEST($2::bigint[], $3::bigint[], $4::bigint[], $5::bigint[])
                 AS new (room_nid, last_event_nid, mailed_at, pause_ms)
             ON CONFLICT (pusher_nid, room_nid) DO UPDATE
             SET last_event_nid = EXCLUDED.last_event_nid, mailed_at = EXCLUDED.mailed_at,
               pause_ms = EXCLUDED.pause_ms",
            pusher,
            &rooms,
            &events,
            &times,
            &lengths
        )
        .execute(self.conn())
        .await?;
        Ok(())
    }
}
