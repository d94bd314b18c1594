//! What a server has missed while it did not answer.

use hs_model::{
    ids::{EventNid, RoomNid, UserNid},
    stream::Position,
};

use crate::{Reader, error::Result};

/// How many events of a room are looked at to find those of this server, when only the latest are wanted: what lies further
/// back is before what others said since, and comes with that.
const LOOK_BACK: i64 = 10_000;
/// The same in a room that the other server is no longer in.
const LOOK_BACK_LOST: i64 = 500;
/// How many ends of a room's graph are told at most, those of this server first, then the newest.
const MAX_EXTREMITIES: i64 = 10;

/// Whom something is looked up for, and what range of the log.
#[derive(Clone, Copy, Debug)]
pub struct Missed<'a> {
    /// The server that has missed something.
    pub destination: &'a str,
    /// This server.
    pub own_name: &'a str,
    /// It has everything up to here.
    pub after: Position,
    /// What lies after this one is not asked for.
    pub up_to: Position,
}

/// A room that a server is in.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct SharedRoom {
    /// The room.
    pub room: RoomNid,
    /// Where the server came into it.
    pub since: Position,
    /// Where something last happened in it.
    pub last_position: Position,
}

/// An event of a room, in the order of the log.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct MissedEvent {
    /// The room.
    pub room: RoomNid,
    /// The event.
    pub event: EventNid,
    /// Where it stands.
    pub position: Position,
    /// Whether this server has to send it.
    pub is_ours: bool,
}

/// The latest update of a user's devices.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct DeviceAnnouncement {
    /// The user.
    pub user: UserNid,
    /// The id of the update; 0 while there was none of a device.
    pub stream_id: i64,
    /// The id of the one before.
    pub prev_id: Option<i64>,
    /// The device that it was about.
    pub device_id: String,
    /// What the cross-signing keys were, as last announced.
    pub signing_keys_hash: Option<Vec<u8>>,
    /// Where those were announced.
    pub signing_keys_at: Option<i64>,
}

impl Reader {
    /// The rooms that a server is in, those with the newest activity first. Of a room that was joined without most of its
    /// members, what another server said of who is in it counts, from the join on.
    pub async fn list_rooms_of_server(&mut self, server: &str) -> Result<Vec<SharedRoom>> {
        let rows = sqlx::query!(
            r#"SELECT shared.room_nid AS "room_nid!", shared.since AS "since!", h.last_position
             FROM (
                 SELECT known.room_nid, MIN(known.since) AS since
                 FROM (
                     SELECT m.room_nid,
                       CASE WHEN m.since = p.whole_at OR (m.since < p.whole_at AND $1 = ANY(p.servers))
                         THEN LEAST(m.since, j.stream_position)
                         ELSE m.since
                       END AS since
                     FROM (
                         SELECT room_nid, COALESCE(since_position, stream_position) AS since
                         FROM users u JOIN memberships USING (user_nid)
                         WHERE u.server_name = $1 AND membership = 2
                     ) AS m
                     LEFT JOIN partial_rooms p ON p.room_nid = m.room_nid
                     LEFT JOIN events j ON j.event_nid = p.join_nid
                     UNION ALL
                     SELECT p.room_nid, j.stream_position
                     FROM partial_rooms p JOIN events j ON j.event_nid = p.join_nid
                     WHERE p.whole_at IS NULL AND $1 = ANY(p.servers)
                 ) AS known
                 GROUP BY known.room_nid
             ) AS shared
             JOIN room_heads h ON h.room_nid = shared.room_nid
             ORDER BY h.last_position DESC"#,
            server
        )
        .fetch_all(self.conn())
        .await?;
        Ok(rows
            .into_iter()
            .map(|row| SharedRoom {
                room: RoomNid(row.room_nid),
                since: Position(row.since),
                last_position: Position(row.last_position),
            })
            .collect())
    }

    /// The first events of each room that a server has missed, in the order of the log; not more than `limit` of a room.
    /// Those made elsewhere are among them, so that who gets `limit` of them knows that there are more.
    pub async fn list_missed_events(
        &mut self,
        missed: Missed<'_>,
        rooms: &[SharedRoom],
        limit: i64,
    ) -> Result<Vec<MissedEvent>> {
        let (nids, since): (Vec<i64>, Vec<i64>) =
            rooms.iter().map(|shared| (shared.room.0, shared.since.max(missed.after).0)).unzip();
        let rows = sqlx::query!(
            r#"SELECT e.room_nid, e.event_nid, e.stream_position AS "position!",
                 (u.server_name = $3
                   OR EXISTS (SELECT FROM forwarded_events f WHERE f.event_nid = e.event_nid))
                 AND u.server_name <> $5 AS "is_ours!"
             FROM UNNEST($1::bigint[], $2::bigint[]) AS shared (room_nid, since)
             CROSS JOIN LATERAL (
                 SELECT room_nid, event_nid, stream_position, sender_nid
                 FROM events
                 WHERE room_nid = shared.room_nid AND stream_position > shared.since AND stream_position <= $4
                   AND outcome = 0
                 ORDER BY stream_position
                 LIMIT $6
             ) AS e
             JOIN users u ON u.user_nid = e.sender_nid
             ORDER BY e.stream_position"#,
            &nids,
            &since,
            missed.own_name,
            missed.up_to.0,
            missed.destination,
            limit
        )
        .fetch_all(self.conn())
        .await?;
        Ok(rows
            .into_iter()
            .map(|row| MissedEvent {
                room: RoomNid(row.room_nid),
                event: EventNid(row.event_nid),
                position: Position(row.position),
                is_ours: row.is_ours,
            })
            .collect())
    }

    /// The ends of the graphs of those rooms in which this server has sent something that a server has missed. Rooms
    /// come in the given order.
    pub async fn list_latest_events(
        &mut self,
        missed: Missed<'_>,
        rooms: &[SharedRoom],
    ) -> Result<Vec<EventNid>> {
        let (nids, since): (Vec<i64>, Vec<i64>) =
            rooms.iter().map(|shared| (shared.room.0, shared.since.max(missed.after).0)).unzip();
        let events = sqlx::query_scalar!(
            "SELECT e.event_nid
             FROM UNNEST($1::bigint[], $2::bigint[]) WITH ORDINALITY AS shared (room_nid, since, rank)
             JOIN room_heads h ON h.room_nid = shared.room_nid
             CROSS JOIN LATERAL (
                 SELECT end_event.event_nid, end_event.stream_position
                 FROM events end_event JOIN users u ON u.user_nid = end_event.sender_nid
                 WHERE end_event.event_nid = ANY(h.forward_extremities) AND end_event.outcome = 0
                   AND end_event.stream_position > shared.since
                   AND u.server_name <> $3
                 ORDER BY u.server_name = $4 DESC, end_event.stream_position DESC
                 LIMIT $5
             ) AS e
             WHERE EXISTS (
                 SELECT FROM (
                     SELECT sender_nid, event_nid
                     FROM events
                     WHERE room_nid = shared.room_nid AND stream_position > shared.since AND outcome = 0
                     ORDER BY stream_position DESC
                     LIMIT $6
                 ) AS recent
                 JOIN users u ON u.user_nid = recent.sender_nid
                 WHERE u.server_name = $4
                   OR EXISTS (SELECT FROM forwarded_events f WHERE f.event_nid = recent.event_nid)
             ) OR EXISTS (
                 SELECT FROM events own JOIN users u ON u.user_nid = own.sender_nid
                 WHERE own.event_nid = ANY(h.forward_extremities) AND own.stream_position > shared.since
                   AND own.outcome = 0
                   AND (u.server_name = $4
                     OR EXISTS (SELECT FROM forwarded_events f WHERE f.event_nid = own.event_nid))
             )
             ORDER BY shared.rank, e.stream_position",
            &nids,
            &since,
            missed.destination,
            missed.own_name,
            MAX_EXTREMITIES,
            LOOK_BACK
        )
        .fetch_all(self.conn())
        .await?;
        Ok(events.into_iter().map(EventNid).collect())
    }

    /// The events by which this server's users have removed or banned users of a server since, or withdrawn invitations.
    pub async fn list_missed_removals(&mut self, missed: Missed<'_>, limit: i64) -> Result<Vec<MissedEvent>> {
        let rows = sqlx::query!(
            "SELECT m.room_nid, m.event_nid, m.stream_position
             FROM users u
             JOIN memberships m USING (user_nid)
             JOIN events e ON e.event_nid = m.event_nid
             JOIN users s ON s.user_nid = e.sender_nid
             WHERE u.server_name = $1
               AND m.membership IN (0, 4) AND m.stream_position > $2 AND m.stream_position <= $3
               AND s.server_name = $4
             ORDER BY m.stream_position
             LIMIT $5",
            missed.destination,
            missed.after.0,
            missed.up_to.0,
            missed.own_name,
            limit
        )
        .fetch_all(self.conn())
        .await?;
        Ok(rows
            .into_iter()
            .map(|row| MissedEvent {
                room: RoomNid(row.room_nid),
                event: EventNid(row.event_nid),
                position: Position(row.stream_position),
                is_ours: true,
            })
            .collect())
    }

    /// The rooms that a server is no longer in because others have removed its users since the position, those with the latest
    /// removals first; `last_position` is that of the last removal, whatever the range.
    pub async fn list_lost_rooms(&mut self, missed: Missed<'_>, limit: i64) -> Result<Vec<SharedRoom>> {
        let rows = sqlx::query!(
            r#"SELECT m.room_nid, MAX(m.stream_position) AS "last!"
             FROM users u
             JOIN memberships m USING (user_nid)
             JOIN events e ON e.event_nid = m.event_nid
             JOIN users s ON s.user_nid = e.sender_nid
             WHERE u.server_name = $1
               AND m.membership IN (0, 4) AND m.stream_position > $2
               AND s.server_name <> $1
               AND NOT EXISTS (
                   SELECT FROM memberships other JOIN users o USING (user_nid)
                   WHERE other.room_nid = m.room_nid AND other.membership = 2 AND o.server_name = $1
               )
             GROUP BY m.room_nid
             ORDER BY MAX(m.stream_position) DESC
             LIMIT $3"#,
            missed.destination,
            missed.after.0,
            limit
        )
        .fetch_all(self.conn())
        .await?;
        Ok(rows
            .into_iter()
            .map(|row| SharedRoom {
                room: RoomNid(row.room_nid),
                since: missed.after,
                last_position: Position(row.last),
            })
            .collect())
    }

    /// The last events up to the end of each room that this server has to send, in the order of the log; not more than `limit`
    /// of a room. Whether the server was in the room by then is not looked at.
    pub async fn list_events_of_lost_rooms(
        &mut self,
        missed: Missed<'_>,
        rooms: &[SharedRoom],
        limit: i64,
    ) -> Result<Vec<MissedEvent>> {
        let (nids, until): (Vec<i64>, Vec<i64>) =
            rooms.iter().map(|lost| (lost.room.0, lost.last_position.min(missed.up_to).0)).unzip();
        let rows = sqlx::query!(
            r#"SELECT e.room_nid, e.event_nid, e.stream_position AS "position!"
             FROM UNNEST($1::bigint[], $2::bigint[]) AS lost (room_nid, until)
             CROSS JOIN LATERAL (
                 SELECT recent.room_nid, recent.event_nid, recent.stream_position
                 FROM (
                     SELECT room_nid, event_nid, stream_position, sender_nid
                     FROM events
                     WHERE room_nid = lost.room_nid AND stream_position > $3 AND stream_position <= lost.until
                       AND outcome = 0
                     ORDER BY stream_position DESC
                     LIMIT $6
                 ) AS recent
                 JOIN users u ON u.user_nid = recent.sender_nid
                 WHERE u.server_name <> $4
                   AND (u.server_name = $5
                     OR EXISTS (SELECT FROM forwarded_events f WHERE f.event_nid = recent.event_nid))
                 ORDER BY recent.stream_position DESC
                 LIMIT $7
             ) AS e
             ORDER BY e.stream_position"#,
            &nids,
            &until,
            missed.after.0,
            missed.destination,
            missed.own_name,
            LOOK_BACK_LOST,
            limit
        )
        .fetch_all(self.conn())
        .await?;
        Ok(rows
            .into_iter()
            .map(|row| MissedEvent {
                room: RoomNid(row.room_nid),
                event: EventNid(row.event_nid),
                position: Position(row.position),
                is_ours: true,
            })
            .collect())
    }

    /// The newest public receipts of this server's users in rooms, after the position: room and position of each.
    pub async fn list_missed_receipts(
        &mut self,
        missed: Missed<'_>,
        rooms: &[SharedRoom],
        limit: i64,
    ) -> Result<Vec<(RoomNid, Position)>> {
        let nids: Vec<i64> = rooms.iter().map(|shared| shared.room.0).collect();
        let rows = sqlx::query!(
            "SELECT r.room_nid, r.stream_position
             FROM receipts r JOIN users u USING (user_nid)
             WHERE r.room_nid = ANY($1) AND r.stream_position > $2 AND r.stream_position <= $3
               AND r.receipt_type = 'm.read' AND u.server_name = $4
             ORDER BY r.stream_position DESC
             LIMIT $5",
            &nids,
            missed.after.0,
            missed.up_to.0,
            missed.own_name,
            limit
        )
        .fetch_all(self.conn())
        .await?;
        Ok(rows.into_iter().map(|row| (RoomNid(row.room_nid), Position(row.stream_position))).collect())
    }

    /// The announcements that a server has missed, of members of rooms that it is in.
    pub async fn list_missed_announcements(
        &mut self,
        missed: Missed<'_>,
        rooms: &[SharedRoom],
    ) -> Result<Vec<DeviceAnnouncement>> {
        let nids: Vec<i64> = rooms.iter().map(|shared| shared.room.0).collect();
        let rows = sqlx::query_as!(
            AnnouncementRow,
            "SELECT a.user_nid, a.stream_id, a.prev_id, a.device_id, a.signing_keys_hash, a.signing_keys_at
             FROM device_announcements a
             WHERE (a.stream_id > $2 OR a.signing_keys_at > $2)
               AND EXISTS (
                   SELECT FROM memberships m
                   WHERE m.user_nid = a.user_nid AND m.room_nid = ANY($1) AND m.membership = 2
               )
             ORDER BY a.user_nid",
            &nids,
            missed.after.0
        )
        .fetch_all(self.conn())
        .await?;
        Ok(rows.into_iter().map(AnnouncementRow::into_record).collect())
    }
}

pub(crate) struct AnnouncementRow {
    pub(crate) user_nid: i64,
    pub(crate) stream_id: i64,
    pub(crate) prev_id: Option<i64>,
    pub(crate) device_id: String,
    pub(crate) signing_keys_hash: Option<Vec<u8>>,
    pub(crate) signing_keys_at: Option<i64>,
}

impl AnnouncementRow {
    pub(crate) fn into_record(self) -> DeviceAnnouncement {
        DeviceAnnouncement {
            user: UserNid(self.user_nid),
            stream_id: self.stream_id,
            prev_id: self.prev_id,
            device_id: self.device_id,
            signing_keys_hash: self.signing_keys_hash,
            signing_keys_at: self.signing_keys_at,
        }
    }
}
