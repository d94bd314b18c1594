//! What sliding sync needs: the state of connections, and facts about many rooms at once.

use hs_model::{
    ids::{DeviceNid, EventNid, RoomNid, SlotNid, UserNid},
    stream::Position,
};
use ruma::OwnedRoomId;

use crate::{Reader, Txn, error::Result};

/// How many connections a device may have. The one that was changed longest ago goes first.
const MAX_CONNECTIONS: i64 = 16;

/// The state of a connection after a response.
#[derive(Clone, Debug)]
pub struct ConnectionRow {
    /// The device it belongs to.
    pub device: DeviceNid,
    /// The client's name for the connection.
    pub conn_id: String,
    /// The position of the response.
    pub position: Position,
    /// What the client was told.
    pub state: Vec<u8>,
}

/// What lists of rooms are filtered and ordered by.
#[derive(Clone, Debug)]
pub struct RoomFactsRow {
    /// The room.
    pub room: RoomNid,
    /// The position of its newest event.
    pub last_position: Position,
    /// Whether it has an `m.room.encryption` event.
    pub is_encrypted: bool,
    /// Its `m.room.create` event.
    pub create_json: Option<String>,
}

/// How somebody's stay in a room ended.
#[derive(Clone, Copy, Debug)]
pub struct DepartureRow {
    /// The member event.
    pub event: EventNid,
    /// Who sent it.
    pub sender: UserNid,
    /// The member event whose place it took.
    pub replaces: Option<EventNid>,
}

impl Reader {
    /// The state of a connection by its number.
    pub async fn find_sliding_connection(&mut self, serial: i64) -> Result<Option<ConnectionRow>> {
        let row = sqlx::query!(
            "SELECT device_nid, conn_id, stream_position, state FROM sliding_connections WHERE serial = $1",
            serial
        )
        .fetch_optional(self.conn())
        .await?;
        Ok(row.map(|row| ConnectionRow {
            device: DeviceNid(row.device_nid),
            conn_id: row.conn_id,
            position: Position(row.stream_position),
            state: row.state,
        }))
    }

    /// Facts about rooms. `encryption` and `create` are the slots of those state events.
    pub async fn list_room_facts(
        &mut self,
        rooms: &[RoomNid],
        encryption: Option<SlotNid>,
        create: Option<SlotNid>,
    ) -> Result<Vec<RoomFactsRow>> {
        let nids: Vec<i64> = rooms.iter().map(|room| room.0).collect();
        let rows = sqlx::query!(
            r#"SELECT head.room_nid AS "room_nid!", head.last_position AS "last_position!",
                 encryption.event_nid IS NOT NULL AS "is_encrypted!",
                 json.json AS "create_json?"
             FROM room_heads head
             LEFT JOIN current_state encryption
               ON encryption.room_nid = head.room_nid AND encryption.slot_nid = $2
             LEFT JOIN current_state made ON made.room_nid = head.room_nid AND made.slot_nid = $3
             LEFT JOIN event_json json ON json.event_nid = made.event_nid
             WHERE head.room_nid = ANY($1)"#,
            &nids,
            encryption.map(|slot| slot.0),
            create.map(|slot| slot.0)
        )
        .fetch_all(self.conn())
        .await?;
        Ok(rows
            .into_iter()
            .map(|row| RoomFactsRow {
                room: RoomNid(row.room_nid),
                last_position: Position(row.last_position),
                is_encrypted: row.is_encrypted,
                create_json: row.create_json,
            })
            .collect())
    }

    /// The position of the newest accepted event of one of these types, for each room that has one.
    pub async fn list_newest_of_types(
        &mut self,
        rooms: &[RoomNid],
        types: &[&str],
    ) -> Result<Vec<(RoomNid, Position)>> {
        let nids: Vec<i64> = rooms.iter().map(|room| room.0).collect();
        let types: Vec<String> = types.iter().map(|&event_type| event_type.to_owned()).collect();
        let rows = sqlx::query!(
            r#"SELECT room.nid AS "room!", newest.stream_position AS "position!"
             FROM UNNEST($1::bigint[]) AS room (nid)
             CROSS JOIN LATERAL (
               SELECT e.stream_position
               FROM events e
               WHERE e.room_nid = room.nid AND e.outcome = 0 AND e.stream_position > 0
                 AND e.type_nid = ANY(ARRAY(SELECT type_nid FROM event_types WHERE event_type = ANY($2)))
               ORDER BY e.stream_position DESC
               LIMIT 1
             ) AS newest"#,
            &nids,
            &types
        )
        .fetch_all(self.conn())
        .await?;
        Ok(rows.into_iter().map(|row| (RoomNid(row.room), Position(row.position))).collect())
    }

    /// Who sent these member events, and what was there before.
    pub async fn list_departures(&mut self, events: &[EventNid]) -> Result<Vec<DepartureRow>> {
        let nids: Vec<i64> = events.iter().map(|event| event.0).collect();
        let rows = sqlx::query!(
            "SELECT event_nid, sender_nid, replaces FROM events WHERE event_nid = ANY($1)",
            &nids
        )
        .fetch_all(self.conn())
        .await?;
        Ok(rows
            .into_iter()
            .map(|row| DepartureRow {
                event: EventNid(row.event_nid),
                sender: UserNid(row.sender_nid),
                replaces: row.replaces.map(EventNid),
            })
            .collect())
    }

    /// The numbers of those of the rooms that this server holds.
    pub async fn list_room_nids_by_id(&mut self, ids: &[OwnedRoomId]) -> Result<Vec<RoomNid>> {
        let ids: Vec<String> = ids.iter().map(ToString::to_string).collect();
        let nids = sqlx::query_scalar!("SELECT room_nid FROM rooms WHERE room_id = ANY($1)", &ids)
            .fetch_all(self.conn())
            .await?;
        Ok(nids.into_iter().map(RoomNid).collect())
    }

    /// The tags that a user has put on rooms, as the JSON of each room's `m.tag`.
    pub async fn list_tagged_rooms(&mut self, user: UserNid) -> Result<Vec<(RoomNid, String)>> {
        let rows = sqlx::query!(
            "SELECT room_nid, content FROM account_data
             WHERE user_nid = $1 AND room_nid <> 0 AND data_type = 'm.tag'",
            user.0
        )
        .fetch_all(self.conn())
        .await?;
        Ok(rows.into_iter().map(|row| (RoomNid(row.room_nid), row.content)).collect())
    }
}

impl Txn {
    /// Keeps the state of a connection and returns its number; `None` when the device is gone.
    ///
    /// `base` is the state that the client named: it stays, since the client may ask with it again, and so does the newest
    /// other one. Without it the connection begins anew, and forgets what was before.
    pub async fn insert_sliding_connection(
        &mut self,
        row: &ConnectionRow,
        base: Option<i64>,
    ) -> Result<Option<i64>> {
        let serial = sqlx::query_scalar!(
            "WITH kept AS (
               SELECT serial FROM sliding_connections
               WHERE device_nid = $1 AND conn_id = $2 AND $5::bigint IS NOT NULL
               ORDER BY (serial = $5) DESC, serial DESC
               LIMIT 2
             ), crowded AS (
               SELECT conn_id FROM sliding_connections
               WHERE device_nid = $1 AND conn_id <> $2
               GROUP BY conn_id
               ORDER BY max(serial) DESC
               OFFSET $6
             ), deleted AS (
               DELETE FROM sliding_connections
               WHERE device_nid = $1
                 AND ((conn_id = $2 AND serial NOT IN (SELECT serial FROM kept))
                   OR conn_id IN (SELECT conn_id FROM crowded))
             )
             INSERT INTO sliding_connections (device_nid, conn_id, stream_position, state)
             SELECT device_nid, $2, $3, $4 FROM devices WHERE device_nid = $1 FOR KEY SHARE
             RETURNING serial",
            row.device.0,
            row.conn_id,
            row.position.0,
            row.state,
            base,
            MAX_CONNECTIONS - 1
        )
        .fetch_optional(self.conn())
        .await?;
        Ok(serial)
    }

    /// Deletes the connections of devices that nobody has used since a time. Returns how many states went.
    pub async fn delete_idle_sliding_connections(&mut self, last_seen_before_ms: i64) -> Result<u64> {
        let done = sqlx::query!(
            "DELETE FROM sliding_connections c
             USING devices d
             WHERE d.device_nid = c.device_nid AND COALESCE(d.last_seen_at, d.created_at) < $1",
            last_seen_before_ms
        )
        .execute(self.conn())
        .await?;
        Ok(done.rows_affected())
    }
}
