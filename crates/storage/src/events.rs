//! Events: the columns beside their JSON, and the JSON.

use std::{collections::HashMap, sync::Arc};

use hs_model::{
    ids::{DeviceNid, EventNid, RoomNid, SlotNid, StateGroupNid, UserNid},
    notices::Notice,
    records::{EventRecord, Outcome, TransactionRef},
    stream::Position,
};
use ruma::{EventId, OwnedEventId};

use crate::{
    Reader, Store,
    error::{Result, StorageError},
};

/// Which way a list of events runs.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Order {
    /// Oldest first.
    Forward,
    /// Newest first.
    Backward,
}

/// A place in the topological order of a room: after the event with this depth and position.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Place {
    /// The event's depth.
    pub depth: i64,
    /// Its stream ordering.
    pub position: Position,
}

impl Place {
    /// Before the first event of any room.
    pub const START: Self = Self { depth: 0, position: Position::START };

    /// The place just before the event that this place stands after.
    #[must_use]
    pub fn before(self) -> Self {
        Self { position: Position(self.position.0.saturating_sub(1)), ..self }
    }
}

impl Store {
    /// Events by number, without a connection when all of them are in memory. Those that are not stored are missing in the
    /// answer.
    pub async fn find_events(&self, nids: &[EventNid]) -> Result<HashMap<EventNid, Arc<EventRecord>>> {
        let (found, unknown) = self.cached_events(nids);
        if unknown.is_empty() {
            return Ok(found);
        }
        self.reader().await?.find_events(nids).await
    }

    /// Events by number, in the order asked for, leaving out those that are not stored. As
    /// [`find_events`](Self::find_events).
    pub async fn list_events(&self, nids: &[EventNid]) -> Result<Vec<Arc<EventRecord>>> {
        let found = self.find_events(nids).await?;
        Ok(nids.iter().filter_map(|nid| found.get(nid).cloned()).collect())
    }

    /// Those of the events that are in memory, and the numbers of the others.
    fn cached_events(&self, nids: &[EventNid]) -> (HashMap<EventNid, Arc<EventRecord>>, Vec<i64>) {
        let mut found = HashMap::with_capacity(nids.len());
        let mut unknown = Vec::new();
        for nid in nids {
            match self.event_cache().get(*nid) {
                Some(event) => {
                    found.insert(*nid, event);
                }
                None => unknown.push(nid.0),
            }
        }
        (found, unknown)
    }
}

impl Reader {
    /// Events by number. Those that are not stored are missing in the answer.
    pub async fn find_events(&mut self, nids: &[EventNid]) -> Result<HashMap<EventNid, Arc<EventRecord>>> {
        let store = self.store();
        let (mut found, unknown) = store.cached_events(nids);
        if unknown.is_empty() {
            return Ok(found);
        }
        // Read before the rows: an entry made stale by a redaction meanwhile must not be put into the cache.
        let epoch = store.event_cache().epoch();
        let rows = sqlx::query!(
            r#"SELECT e.event_nid, e.event_id, e.room_nid, e.sender_nid, u.user_id AS sender, t.event_type,
                 s.state_key AS "state_key?", e.slot_nid, e.stream_position, e.depth, e.origin_server_ts, e.state_before,
                 e.outcome, e.redacted_by, e.replaces, e.txn_device_nid, e.txn_id,
                 e.notice, e.thread_root, j.json
             FROM events e
             JOIN event_json j USING (event_nid)
             JOIN users u ON u.user_nid = e.sender_nid
             JOIN event_types t USING (type_nid)
             LEFT JOIN state_slots s ON s.slot_nid = e.slot_nid
             WHERE e.event_nid = ANY($1)"#,
            &unknown
        )
        .fetch_all(self.conn())
        .await?;
        for row in rows {
            let nid = EventNid(row.event_nid);
            let wrong =
                |column| StorageError::Inconsistent { table: "events", column, row: nid.0.to_string() };
            let record = Arc::new(EventRecord {
                nid,
                event_id: row.event_id.try_into().map_err(|_| wrong("event_id"))?,
                room: RoomNid(row.room_nid),
                sender_nid: UserNid(row.sender_nid),
                sender: row.sender.try_into().map_err(|_| wrong("sender_nid"))?,
                event_type: row.event_type.into(),
                state_key: row.state_key.map(Into::into),
                slot: row.slot_nid.map(SlotNid),
                position: row.stream_position.map(Position),
                depth: row.depth,
                origin_server_ts: row.origin_server_ts,
                state_before: row.state_before.map(StateGroupNid),
                outcome: Outcome::from_code(row.outcome).ok_or_else(|| wrong("outcome"))?,
                redacted_by: row.redacted_by.map(EventNid),
                redacts: None,
                replaces: row.replaces.map(EventNid),
                transaction: row.txn_device_nid.zip(row.txn_id).map(|(device, txn_id)| TransactionRef {
                    device: DeviceNid(device),
                    txn_id: txn_id.into(),
                }),
                notice: match row.notice {
                    0 => None,
                    code => {
                        let thread_root = row.thread_root.map(OwnedEventId::try_from).transpose();
                        let thread_root = thread_root.map_err(|_| wrong("thread_root"))?;
                        Some(Arc::new(Notice::from_code(code, thread_root)))
                    }
                },
                json: row.json.into(),
            });
            store.event_cache().insert_read(&record, epoch);
            found.insert(nid, record);
        }
        Ok(found)
    }

    /// Events by number, in the order asked for, leaving out those that are not stored.
    pub async fn list_events(&mut self, nids: &[EventNid]) -> Result<Vec<Arc<EventRecord>>> {
        let found = self.find_events(nids).await?;
        Ok(nids.iter().filter_map(|nid| found.get(nid).cloned()).collect())
    }

    /// One event by its id.
    pub async fn find_event(&mut self, event_id: &EventId) -> Result<Option<Arc<EventRecord>>> {
        let Some(nid) = self.find_event_nids(&[event_id]).await?.into_values().next() else {
            return Ok(None);
        };
        Ok(self.find_events(&[nid]).await?.remove(&nid))
    }

    /// The ids of events.
    pub async fn list_event_ids(&mut self, nids: &[EventNid]) -> Result<HashMap<EventNid, OwnedEventId>> {
        let nids: Vec<i64> = nids.iter().map(|nid| nid.0).collect();
        let rows = sqlx::query!("SELECT event_nid, event_id FROM events WHERE event_nid = ANY($1)", &nids)
            .fetch_all(self.conn())
            .await?;
        rows.into_iter()
            .map(|row| Ok((EventNid(row.event_nid), parse_event_id(row.event_id, row.event_nid)?)))
            .collect()
    }

    /// The numbers of those of the events that are stored.
    pub async fn find_event_nids(
        &mut self,
        event_ids: &[&EventId],
    ) -> Result<HashMap<OwnedEventId, EventNid>> {
        let ids: Vec<String> = event_ids.iter().map(|id| id.as_str().to_owned()).collect();
        let rows = sqlx::query!("SELECT event_id, event_nid FROM events WHERE event_id = ANY($1)", &ids)
            .fetch_all(self.conn())
            .await?;
        rows.into_iter()
            .map(|row| Ok((parse_event_id(row.event_id, row.event_nid)?, EventNid(row.event_nid))))
            .collect()
    }

    /// The event that a device sent in a room under a transaction id.
    pub async fn find_event_by_transaction(
        &mut self,
        room: RoomNid,
        device: DeviceNid,
        txn_id: &str,
    ) -> Result<Option<OwnedEventId>> {
        let id = sqlx::query_scalar!(
            "SELECT event_id FROM events WHERE txn_device_nid = $1 AND room_nid = $2 AND txn_id = $3",
            device.0,
            room.0,
            txn_id
        )
        .fetch_optional(self.conn())
        .await?;
        id.map(|id| {
            id.try_into().map_err(|_| StorageError::Inconsistent {
                table: "events",
                column: "event_id",
                row: txn_id.to_owned(),
            })
        })
        .transpose()
    }

    /// Accepted events of a room in topological order, between two places (each exclusive towards the past and
    /// inclusive towards the future: a place stands after its event).
    pub async fn list_timeline(
        &mut self,
        room: RoomNid,
        after: Option<Place>,
        until: Option<Place>,
        order: Order,
        limit: i64,
    ) -> Result<Vec<EventNid>> {
        let low = after.unwrap_or(Place { depth: -1, position: Position(i64::MIN) });
        let high = until.unwrap_or(Place { depth: i64::MAX, position: Position(i64::MAX) });
        let nids = match order {
            Order::Forward => {
                sqlx::query_scalar!(
                    "SELECT event_nid FROM events
                     WHERE room_nid = $1 AND outcome = 0 AND stream_position IS NOT NULL
                       AND (depth, stream_position) > ($2, $3) AND (depth, stream_position) <= ($4, $5)
                     ORDER BY depth, stream_position
                     LIMIT $6",
                    room.0,
                    low.depth,
                    low.position.0,
                    high.depth,
                    high.position.0,
                    limit
                )
                .fetch_all(self.conn())
                .await?
            }
            Order::Backward => {
                sqlx::query_scalar!(
                    "SELECT event_nid FROM events
                     WHERE room_nid = $1 AND outcome = 0 AND stream_position IS NOT NULL
                       AND (depth, stream_position) > ($2, $3) AND (depth, stream_position) <= ($4, $5)
                     ORDER BY depth DESC, stream_position DESC
                     LIMIT $6",
                    room.0,
                    low.depth,
                    low.position.0,
                    high.depth,
                    high.position.0,
                    limit
                )
                .fetch_all(self.conn())
                .await?
            }
        };
        Ok(nids.into_iter().map(EventNid).collect())
    }

    /// The newest accepted events of a room in order of arrival, after one position and up to another; oldest first.
    pub async fn list_recent_events(
        &mut self,
        room: RoomNid,
        after: Position,
        until: Position,
        limit: i64,
    ) -> Result<Vec<EventNid>> {
        let mut nids = sqlx::query_scalar!(
            "SELECT event_nid FROM events
             WHERE room_nid = $1 AND outcome = 0 AND stream_position > $2 AND stream_position <= $3
             ORDER BY stream_position DESC
             LIMIT $4",
            room.0,
            after.0,
            until.0,
            limit
        )
        .fetch_all(self.conn())
        .await?;
        nids.reverse();
        Ok(nids.into_iter().map(EventNid).collect())
    }

    /// All events of a room after a position, those too that the checks did not accept, in the order in which they came.
    pub async fn list_all_events_after(&mut self, room: RoomNid, after: Position) -> Result<Vec<EventNid>> {
        let nids = sqlx::query_scalar!(
            "SELECT event_nid FROM events WHERE room_nid = $1 AND stream_position > $2 ORDER BY stream_position",
            room.0,
            after.0
        )
        .fetch_all(self.conn())
        .await?;
        Ok(nids.into_iter().map(EventNid).collect())
    }

    /// The state events that have come into the current state of a room after one position and up to another: of each slot
    /// the newest. What state resolution has brought back is among them.
    pub async fn list_state_changes(
        &mut self,
        room: RoomNid,
        after: Position,
        until: Position,
    ) -> Result<Vec<EventNid>> {
        let nids = sqlx::query_scalar!(
            r#"SELECT event_nid AS "event_nid!"
             FROM (
               SELECT DISTINCT ON (slot_nid) slot_nid, event_nid
               FROM (
                 SELECT slot_nid, event_nid, stream_position FROM events
                 WHERE room_nid = $1 AND outcome = 0 AND slot_nid IS NOT NULL
                   AND stream_position > $2 AND stream_position <= $3
                 UNION ALL
                 SELECT slot_nid, event_nid, stream_position FROM state_corrections
                 WHERE room_nid = $1 AND stream_position > $2 AND stream_position <= $3
               ) AS changes
               ORDER BY slot_nid, stream_position DESC
             ) AS newest
             WHERE event_nid IS NOT NULL"#,
            room.0,
            after.0,
            until.0
        )
        .fetch_all(self.conn())
        .await?;
        Ok(nids.into_iter().map(EventNid).collect())
    }

    /// What filled those slots of a room's current state at a position that have changed since.
    pub async fn list_state_undone(
        &mut self,
        room: RoomNid,
        at: Position,
    ) -> Result<Vec<(SlotNid, Option<EventNid>)>> {
        let rows = sqlx::query!(
            r#"SELECT DISTINCT ON (slot_nid) slot_nid AS "slot_nid!", replaces
             FROM (
               SELECT slot_nid, replaces, stream_position FROM events
               WHERE room_nid = $1 AND outcome = 0 AND slot_nid IS NOT NULL AND stream_position > $2
               UNION ALL
               SELECT slot_nid, replaces, stream_position FROM state_corrections
               WHERE room_nid = $1 AND stream_position > $2
             ) AS changes
             ORDER BY slot_nid, stream_position"#,
            room.0,
            at.0
        )
        .fetch_all(self.conn())
        .await?;
        Ok(rows.into_iter().map(|row| (SlotNid(row.slot_nid), row.replaces.map(EventNid))).collect())
    }

    /// The event that filled a slot of a room as of a position.
    pub async fn find_slot_at(
        &mut self,
        room: RoomNid,
        slot: SlotNid,
        position: Position,
    ) -> Result<Option<EventNid>> {
        let nid = sqlx::query_scalar!(
            r#"SELECT event_nid FROM (
               (SELECT event_nid, stream_position FROM events
                WHERE slot_nid = $1 AND room_nid = $2 AND outcome = 0 AND stream_position <= $3
                ORDER BY stream_position DESC
                LIMIT 1)
               UNION ALL
               (SELECT event_nid, stream_position FROM state_corrections
                WHERE slot_nid = $1 AND room_nid = $2 AND stream_position <= $3
                ORDER BY stream_position DESC
                LIMIT 1)
             ) AS newest
             ORDER BY stream_position DESC
             LIMIT 1"#,
            slot.0,
            room.0,
            position.0
        )
        .fetch_optional(self.conn())
        .await?;
        Ok(nid.flatten().map(EventNid))
    }

    /// Where a position of the log stands in the graph of a room: after everything that had arrived by then.
    ///
    /// An event that arrived late has a smaller depth than those before it, so the deepest of the last few counts.
    pub async fn find_place_at(&mut self, room: RoomNid, position: Position) -> Result<Option<Place>> {
        let row = sqlx::query!(
            r#"SELECT depth AS "depth!", stream_position AS "position!"
             FROM (
               SELECT depth, stream_position FROM events
               WHERE room_nid = $1 AND outcome = 0 AND stream_position <= $2
               ORDER BY stream_position DESC
               LIMIT 50
             ) AS latest
             ORDER BY depth DESC, stream_position DESC
             LIMIT 1"#,
            room.0,
            position.0
        )
        .fetch_optional(self.conn())
        .await?;
        Ok(row.map(|row| Place { depth: row.depth, position: Position(row.position) }))
    }

    /// Auth and prev events of an event, as far as they are stored.
    pub async fn find_references(&mut self, event: EventNid) -> Result<Option<References>> {
        let row = sqlx::query!("SELECT prev_nids, auth_nids FROM events WHERE event_nid = $1", event.0)
            .fetch_optional(self.conn())
            .await?;
        Ok(row.map(|row| References {
            prev: row.prev_nids.into_iter().map(EventNid).collect(),
            auth: row.auth_nids.into_iter().map(EventNid).collect(),
        }))
    }
}

fn parse_event_id(id: String, nid: i64) -> Result<OwnedEventId> {
    id.try_into().map_err(|_| StorageError::Inconsistent {
        table: "events",
        column: "event_id",
        row: nid.to_string(),
    })
}

/// The events that an event points to.
#[derive(Clone, Debug, Default)]
pub struct References {
    /// `prev_events`.
    pub prev: Vec<EventNid>,
    /// `auth_events`.
    pub auth: Vec<EventNid>,
}
