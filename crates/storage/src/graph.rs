//! The graph of a room: where events stand in it, what authorises them, and what is missing.

use std::collections::{HashMap, HashSet};

use hs_model::{
    ids::{EventNid, RoomNid, SlotNid, StateGroupNid, TypeNid, UserNid},
    records::Outcome,
    stream::Position,
};
use ruma::{EventId, OwnedEventId, OwnedUserId};

use crate::{
    Reader, Txn,
    error::{Result, StorageError},
};

/// Where a stored event stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct GraphNode {
    /// Its number.
    pub nid: EventNid,
    /// Its room.
    pub room: RoomNid,
    /// What the checks decided.
    pub outcome: Outcome,
    /// Its depth.
    pub depth: i64,
    /// Its place in the log; `None` for outliers.
    pub position: Option<Position>,
    /// The state before it; `None` for outliers.
    pub state_before: Option<StateGroupNid>,
    /// The state after it, if that differs.
    pub state_after: Option<StateGroupNid>,
    /// The slot it fills.
    pub slot: Option<SlotNid>,
}

impl GraphNode {
    /// The state that the next event builds on; `None` for outliers. A rejected event changes nothing.
    pub fn state(&self) -> Option<StateGroupNid> {
        match self.outcome {
            Outcome::Rejected => self.state_before,
            Outcome::Accepted | Outcome::SoftFailed => self.state_after.or(self.state_before),
        }
    }
}

/// A forward extremity.
#[derive(Clone, Debug)]
pub struct GraphEnd {
    /// Its number.
    pub nid: EventNid,
    /// Its id.
    pub event_id: OwnedEventId,
    /// The state after it.
    pub state: StateGroupNid,
}

/// A state event with what authorises it.
#[derive(Clone, Debug)]
pub struct AuthEdges {
    /// The event.
    pub event: EventNid,
    /// Its auth events.
    pub auth: Vec<EventNid>,
}

/// An event to be stored without a place in the timeline.
#[derive(Clone, Debug)]
pub struct NewOutlier {
    /// Its number.
    pub nid: EventNid,
    /// Its id.
    pub event_id: OwnedEventId,
    /// Its sender.
    pub sender: UserNid,
    /// Its type.
    pub type_nid: TypeNid,
    /// The slot it fills.
    pub slot: Option<SlotNid>,
    /// Its depth.
    pub depth: i64,
    /// When its origin says it was made.
    pub origin_server_ts: i64,
    /// Accepted or rejected.
    pub outcome: Outcome,
    /// Why it was rejected.
    pub reason: Option<String>,
    /// Its auth events.
    pub auth: Vec<EventNid>,
    /// Its JSON.
    pub json: Box<str>,
}

/// A redaction that names an event.
#[derive(Clone, Debug)]
pub struct RedactionRow {
    /// The redaction.
    pub redaction: EventNid,
    /// The event that it names.
    pub target: OwnedEventId,
}

/// An event that others name as their predecessor, and that has no place here.
#[derive(Clone, Debug)]
pub struct MissingEvent {
    /// Its id.
    pub event_id: OwnedEventId,
    /// Who has sent one of those.
    pub named_by: OwnedUserId,
    /// When the latest of those was sent, as its origin says, in milliseconds since 1970.
    pub named_at: i64,
    /// How deep the deepest of those is.
    pub named_depth: i64,
}

/// See [`Reader::find_forerunners`](crate::Reader::find_forerunners).
#[derive(Clone, Debug, Default)]
pub struct Forerunners {
    /// Those of the events that others name as predecessors, and that have been missing.
    pub missed: HashSet<OwnedEventId>,
    /// Those that accepted events name as predecessors.
    pub followed: HashSet<OwnedEventId>,
    /// Accepted redactions of the events, in the order in which they came.
    pub redactions: Vec<RedactionRow>,
}

impl Reader {
    /// Where events stand, as far as they are stored.
    pub async fn find_graph_nodes(&mut self, ids: &[&EventId]) -> Result<HashMap<OwnedEventId, GraphNode>> {
        // No event has an id with U+0000, and the database must not be asked for one.
        let ids: Vec<&str> = ids.iter().map(|id| id.as_str()).filter(|id| !id.contains('\0')).collect();
        let rows = sqlx::query!(
            "SELECT event_nid, event_id, room_nid, outcome, depth, stream_position, state_before, state_after, slot_nid
             FROM events
             WHERE event_id = ANY($1)",
            &ids as &[&str]
        )
        .fetch_all(self.conn())
        .await?;
        rows.into_iter()
            .map(|row| {
                let wrong = |column| StorageError::Inconsistent {
                    table: "events",
                    column,
                    row: row.event_nid.to_string(),
                };
                let node = GraphNode {
                    nid: EventNid(row.event_nid),
                    room: RoomNid(row.room_nid),
                    outcome: Outcome::from_code(row.outcome).ok_or_else(|| wrong("outcome"))?,
                    depth: row.depth,
                    position: row.stream_position.map(Position),
                    state_before: row.state_before.map(StateGroupNid),
                    state_after: row.state_after.map(StateGroupNid),
                    slot: row.slot_nid.map(SlotNid),
                };
                Ok((OwnedEventId::try_from(row.event_id).map_err(|_| wrong("event_id"))?, node))
            })
            .collect()
    }

    /// The ends of a graph, in the order given.
    pub async fn list_ends(&mut self, ends: &[EventNid]) -> Result<Vec<GraphEnd>> {
        let nids: Vec<i64> = ends.iter().map(|nid| nid.0).collect();
        let rows = sqlx::query!(
            r#"SELECT event_nid, event_id, COALESCE(state_after, state_before, 0) AS "state!"
             FROM events
             WHERE event_nid = ANY($1)
             ORDER BY ARRAY_POSITION($1, event_nid)"#,
            &nids
        )
        .fetch_all(self.conn())
        .await?;
        rows.into_iter()
            .map(|row| {
                let wrong = || StorageError::Inconsistent {
                    table: "events",
                    column: "event_id",
                    row: row.event_nid.to_string(),
                };
                Ok(GraphEnd {
                    nid: EventNid(row.event_nid),
                    event_id: OwnedEventId::try_from(row.event_id).map_err(|_| wrong())?,
                    state: StateGroupNid(row.state),
                })
            })
            .collect()
    }

    /// What authorises the state events of a room, outliers included.
    pub async fn list_auth_edges(&mut self, room: RoomNid) -> Result<Vec<AuthEdges>> {
        let rows = sqlx::query!(
            "SELECT event_nid, auth_nids FROM events WHERE room_nid = $1 AND slot_nid IS NOT NULL",
            room.0
        )
        .fetch_all(self.conn())
        .await?;
        Ok(rows.into_iter().map(|row| edges(row.event_nid, row.auth_nids)).collect())
    }

    /// What authorises some events.
    pub async fn list_auth_edges_of(&mut self, events: &[EventNid]) -> Result<Vec<AuthEdges>> {
        let nids: Vec<i64> = events.iter().map(|nid| nid.0).collect();
        let rows = sqlx::query!("SELECT event_nid, auth_nids FROM events WHERE event_nid = ANY($1)", &nids)
            .fetch_all(self.conn())
            .await?;
        Ok(rows.into_iter().map(|row| edges(row.event_nid, row.auth_nids)).collect())
    }

    /// What those stored earlier have to do with events that come now.
    pub async fn find_forerunners(&mut self, room: RoomNid, events: &[&EventId]) -> Result<Forerunners> {
        let ids: Vec<&str> = events.iter().map(|id| id.as_str()).collect();
        let rows = sqlx::query!(
            r#"SELECT m.prev_event_id AS "event_id!", NULL::bigint AS redaction, NULL::bigint AS position,
                 BOOL_OR(e.outcome = 0) AS "is_followed!"
               FROM missing_prev_events m
               JOIN events e USING (event_nid)
               WHERE m.room_nid = $1 AND m.prev_event_id = ANY($2)
               GROUP BY m.prev_event_id
               UNION ALL
               SELECT r.redacts_id, r.redaction_nid, e.stream_position, FALSE
               FROM redactions r
               JOIN events e ON e.event_nid = r.redaction_nid
               WHERE r.room_nid = $1 AND r.redacts_id = ANY($2) AND e.outcome = 0
               ORDER BY 3"#,
            room.0,
            &ids as &[&str]
        )
        .fetch_all(self.conn())
        .await?;
        let mut found = Forerunners::default();
        for row in rows {
            let event_id = events.iter().find(|id| id.as_str() == row.event_id);
            let Some(&event_id) = event_id else { continue };
            if let Some(nid) = row.redaction {
                found.redactions.push(RedactionRow { redaction: EventNid(nid), target: event_id.to_owned() });
                continue;
            }
            found.missed.insert(event_id.to_owned());
            if row.is_followed {
                found.followed.insert(event_id.to_owned());
            }
        }
        Ok(found)
    }

    /// Events that have no place here, and that others between two depths name as their predecessors; those named by the
    /// deepest first. Those of `except` are left out, and those that have been rejected: there is nothing to be had of them.
    /// What was refused names nothing.
    pub async fn list_missing(
        &mut self,
        room: RoomNid,
        (min_depth, max_depth): (i64, i64),
        except: &[OwnedEventId],
        limit: i64,
    ) -> Result<Vec<MissingEvent>> {
        let except: Vec<&str> = except.iter().map(|id| id.as_str()).collect();
        let rows = sqlx::query!(
            r#"SELECT m.prev_event_id, MAX(e.origin_server_ts) AS "named_at!", MAX(u.user_id) AS "named_by!",
                 MAX(e.depth) AS "named_depth!"
               FROM missing_prev_events m
               JOIN events e USING (event_nid)
               JOIN users u ON u.user_nid = e.sender_nid
               WHERE m.room_nid = $1 AND e.depth >= $2 AND e.depth <= $3 AND e.stream_position IS NOT NULL
                 AND e.outcome = 0 AND m.prev_event_id <> ALL($4)
                 AND NOT EXISTS (SELECT FROM events r WHERE r.event_id = m.prev_event_id AND r.outcome = 2)
               GROUP BY m.prev_event_id
               ORDER BY MAX(e.depth) DESC, m.prev_event_id
               LIMIT $5"#,
            room.0,
            min_depth,
            max_depth,
            &except as &[&str],
            limit
        )
        .fetch_all(self.conn())
        .await?;
        rows.into_iter()
            .map(|row| {
                let wrong = |column| StorageError::Inconsistent {
                    table: "missing_prev_events",
                    column,
                    row: row.prev_event_id.clone(),
                };
                Ok(MissingEvent {
                    event_id: row.prev_event_id.as_str().try_into().map_err(|_| wrong("prev_event_id"))?,
                    named_by: row.named_by.as_str().try_into().map_err(|_| wrong("event_nid"))?,
                    named_at: row.named_at,
                    named_depth: row.named_depth,
                })
            })
            .collect()
    }

    /// How deep in its graph a server came into a room, as far as those of its users tell who are in it; `None` when none is.
    pub async fn find_entrance(&mut self, room: RoomNid, server: &str) -> Result<Option<i64>> {
        let depth = sqlx::query_scalar!(
            "SELECT e.depth
             FROM events e
             WHERE e.room_nid = $1 AND e.stream_position >= (
               SELECT MIN(COALESCE(m.since_position, m.stream_position))
               FROM memberships m JOIN users u USING (user_nid)
               WHERE m.room_nid = $1 AND m.membership = 2 AND u.server_name = $2
             )
             ORDER BY e.stream_position
             LIMIT 1",
            room.0,
            server
        )
        .fetch_optional(self.conn())
        .await?;
        Ok(depth)
    }

    /// The rooms in which something is missing since a server came into them.
    pub async fn list_rooms_with_holes(&mut self, server: &str) -> Result<Vec<RoomNid>> {
        let rooms = sqlx::query_scalar!(
            r#"SELECT open.room_nid AS "room_nid!"
             FROM (SELECT DISTINCT room_nid FROM missing_prev_events) AS open
             CROSS JOIN LATERAL (
               SELECT MIN(COALESCE(m.since_position, m.stream_position)) AS position
               FROM memberships m JOIN users u USING (user_nid)
               WHERE m.room_nid = open.room_nid AND m.membership = 2 AND u.server_name = $1
             ) AS since
             CROSS JOIN LATERAL (
               SELECT depth FROM events
               WHERE room_nid = open.room_nid AND stream_position >= since.position
               ORDER BY stream_position
               LIMIT 1
             ) AS entrance
             WHERE EXISTS (
               SELECT FROM missing_prev_events m JOIN events e USING (event_nid)
               WHERE m.room_nid = open.room_nid AND e.depth > entrance.depth AND e.stream_position IS NOT NULL
                 AND e.outcome = 0
                 AND NOT EXISTS (SELECT FROM events r WHERE r.event_id = m.prev_event_id AND r.outcome = 2)
             )
             ORDER BY 1"#,
            server
        )
        .fetch_all(self.conn())
        .await?;
        Ok(rooms.into_iter().map(RoomNid).collect())
    }
}

fn edges(event: i64, auth: Vec<i64>) -> AuthEdges {
    AuthEdges { event: EventNid(event), auth: auth.into_iter().map(EventNid).collect() }
}

impl Txn {
    /// Until the commit, nobody else stores outliers of the room.
    pub async fn lock_outliers(&mut self, room: RoomNid) -> Result<()> {
        const NAMESPACE: i32 = 0x6b69_7468;
        sqlx::query!("SELECT pg_advisory_xact_lock($1, $2)", NAMESPACE, room.0 as i32)
            .execute(self.conn())
            .await?;
        Ok(())
    }

    /// Notes what authorises events that were stored when that was not known.
    pub async fn set_auth_edges(&mut self, edges: &[AuthEdges]) -> Result<()> {
        let nids: Vec<i64> = edges.iter().map(|edge| edge.event.0).collect();
        let auth: Vec<String> = edges
            .iter()
            .map(|edge| crate::append::array_literal(edge.auth.iter().map(|nid| nid.0)))
            .collect();
        sqlx::query!(
            "UPDATE events SET auth_nids = new.auth_nids::bigint[]
             FROM UNNEST($1::bigint[], $2::text[]) AS new (event_nid, auth_nids)
             WHERE events.event_nid = new.event_nid AND events.auth_nids = '{}'",
            &nids,
            &auth
        )
        .execute(self.conn())
        .await?;
        Ok(())
    }

    /// Stores events without a place in the timeline. Under [`lock_outliers`](Self::lock_outliers); those that have come
    /// with a place meanwhile stay as they are.
    pub async fn insert_outliers(&mut self, room: RoomNid, outliers: &[NewOutlier]) -> Result<()> {
        let nids: Vec<i64> = outliers.iter().map(|o| o.nid.0).collect();
        let ids: Vec<&str> = outliers.iter().map(|o| o.event_id.as_str()).collect();
        let senders: Vec<i64> = outliers.iter().map(|o| o.sender.0).collect();
        let types: Vec<i64> = outliers.iter().map(|o| o.type_nid.0).collect();
        let slots: Vec<Option<i64>> = outliers.iter().map(|o| o.slot.map(|slot| slot.0)).collect();
        let depths: Vec<i64> = outliers.iter().map(|o| o.depth).collect();
        let times: Vec<i64> = outliers.iter().map(|o| o.origin_server_ts).collect();
        let outcomes: Vec<i16> = outliers.iter().map(|o| o.outcome.code()).collect();
        let reasons: Vec<Option<&str>> = outliers.iter().map(|o| o.reason.as_deref()).collect();
        let auth: Vec<String> =
            outliers.iter().map(|o| crate::append::array_literal(o.auth.iter().map(|nid| nid.0))).collect();
        let json: Vec<&str> = outliers.iter().map(|o| &*o.json).collect();
        sqlx::query!(
            "WITH new AS (
               SELECT * FROM UNNEST($2::bigint[], $3::text[], $4::bigint[], $5::bigint[], $6::bigint[], $7::bigint[],
                 $8::bigint[], $9::smallint[], $10::text[], $11::text[], $12::text[])
                 AS o (event_nid, event_id, sender_nid, type_nid, slot_nid, depth, origin_server_ts, outcome, reason,
                   auth_nids, json)
             ), stored AS (
               INSERT INTO events (event_nid, event_id, room_nid, sender_nid, type_nid, slot_nid, depth, origin_server_ts,
                 outcome, reason, prev_nids, auth_nids)
               SELECT event_nid, event_id, $1, sender_nid, type_nid, slot_nid, depth, origin_server_ts, outcome, reason,
                 '{}', auth_nids::bigint[]
               FROM new
               ON CONFLICT (event_id) DO NOTHING
               RETURNING event_nid
             )
             INSERT INTO event_json (event_nid, json)
             SELECT event_nid, json FROM stored JOIN new USING (event_nid)",
            room.0,
            &nids,
            &ids as &[&str],
            &senders,
            &types,
            &slots as &[Option<i64>],
            &depths,
            &times,
            &outcomes,
            &reasons as &[Option<&str>],
            &auth,
            &json as &[&str]
        )
        .execute(self.conn())
        .await?;
        Ok(())
    }
}
