//! What events say they relate to: children of events, for aggregations, and threads.
//!
//! A redacted child has lost its relation, so it is never among the answers.

use hs_model::{
    ids::{EventNid, RoomNid, SlotNid, StateGroupNid, UserNid},
    stream::Position,
};
use ruma::{EventId, OwnedEventId};

use crate::{
    Reader,
    error::{Result, StorageError},
    events::{Order, Place},
    history::{RawTimelineRow, Span, TimelineRow},
};

/// A child event, as far as aggregations look at it.
#[derive(Clone, Debug)]
pub struct ChildRow {
    /// What it relates to.
    pub parent_id: OwnedEventId,
    /// How.
    pub rel_type: String,
    /// Its id.
    pub event_id: OwnedEventId,
    /// Its type.
    pub event_type: String,
    /// Who sent it.
    pub sender: UserNid,
    /// What stands in its row of the timeline.
    pub row: TimelineRow,
}

/// Which children are asked for.
#[derive(Clone, Copy, Debug)]
pub struct RelatedQuery<'a> {
    /// The room of parent and children.
    pub room: RoomNid,
    /// The parent.
    pub parent: &'a EventId,
    /// Only relations of this type.
    pub rel_type: Option<&'a str>,
    /// Only children of this type.
    pub event_type: Option<&'a str>,
    /// How many relations may lie between the parent and a child: 1 for direct children only.
    pub max_hops: i32,
}

/// The root of a thread.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ThreadRow {
    /// The root, as it stands in the timeline.
    pub root: TimelineRow,
    /// Where the newest event of the thread stands.
    pub latest: Place,
}

/// Which threads are asked for.
#[derive(Clone, Copy, Debug)]
pub struct ThreadQuery {
    /// Their room.
    pub room: RoomNid,
    /// Only those that this user has taken part in.
    pub participant: Option<UserNid>,
    /// Events after this place do not count.
    pub until: Option<Place>,
    /// Only threads whose newest event stands at or before this place.
    pub from: Option<Place>,
}

impl Reader {
    /// The children of events that are aggregated: replacements, thread events and references, in topological order.
    pub async fn list_children(&mut self, room: RoomNid, parents: &[&EventId]) -> Result<Vec<ChildRow>> {
        let parents: Vec<&str> = parents.iter().map(|id| id.as_str()).collect();
        let rows = sqlx::query!(
            r#"SELECT r.parent_id, r.rel_type, e.event_nid, e.event_id, t.event_type, e.sender_nid, e.depth,
                 e.stream_position AS "position!", e.origin_server_ts, e.state_before, e.slot_nid
             FROM event_relations r
             JOIN events e USING (event_nid)
             JOIN event_types t USING (type_nid)
             WHERE r.room_nid = $1 AND r.parent_id = ANY($2)
               AND r.rel_type IN ('m.replace', 'm.thread', 'm.reference')
               AND e.outcome = 0 AND e.redacted_by IS NULL AND e.stream_position IS NOT NULL
             ORDER BY e.depth, e.stream_position"#,
            room.0,
            &parents as &[&str]
        )
        .fetch_all(self.conn())
        .await?;
        rows.into_iter()
            .map(|row| {
                Ok(ChildRow {
                    parent_id: parse_event_id("parent_id", row.parent_id, row.event_nid)?,
                    rel_type: row.rel_type,
                    event_id: parse_event_id("event_id", row.event_id, row.event_nid)?,
                    event_type: row.event_type,
                    sender: UserNid(row.sender_nid),
                    row: TimelineRow {
                        nid: EventNid(row.event_nid),
                        place: Place { depth: row.depth, position: Position(row.position) },
                        origin_server_ts: row.origin_server_ts,
                        state_before: row.state_before.map(StateGroupNid),
                        slot: row.slot_nid.map(SlotNid),
                    },
                })
            })
            .collect()
    }

    /// Those of the events that have children with one of these relation types (any, when there are none) sent by one of
    /// these users (anybody, when there are none).
    pub async fn list_parents(
        &mut self,
        room: RoomNid,
        parents: &[&EventId],
        rel_types: &[String],
        senders: &[String],
    ) -> Result<Vec<OwnedEventId>> {
        let parents: Vec<&str> = parents.iter().map(|id| id.as_str()).collect();
        let rows = sqlx::query!(
            "SELECT DISTINCT r.parent_id
             FROM event_relations r
             JOIN events e USING (event_nid)
             JOIN users u ON u.user_nid = e.sender_nid
             WHERE r.room_nid = $1 AND r.parent_id = ANY($2)
               AND (CARDINALITY($3::text[]) = 0 OR r.rel_type = ANY($3))
               AND (CARDINALITY($4::text[]) = 0 OR u.user_id = ANY($4))
               AND e.outcome = 0 AND e.redacted_by IS NULL AND e.stream_position IS NOT NULL",
            room.0,
            &parents as &[&str],
            rel_types,
            senders
        )
        .fetch_all(self.conn())
        .await?;
        rows.into_iter().map(|row| parse_event_id("parent_id", row.parent_id, 0)).collect()
    }

    /// The children of an event, and theirs as far as the query goes, in topological order.
    pub async fn list_related(
        &mut self,
        query: RelatedQuery<'_>,
        span: Span,
        order: Order,
        limit: i64,
    ) -> Result<Vec<TimelineRow>> {
        let (low, high) = span.bounds();
        let rows = match order {
            Order::Forward => {
                sqlx::query_as!(
                    RawTimelineRow,
                    r#"WITH RECURSIVE related AS (
                         SELECT e.event_nid, e.event_id, r.rel_type, t.event_type, 1 AS hops
                         FROM event_relations r
                         JOIN events e USING (event_nid)
                         JOIN event_types t USING (type_nid)
                         WHERE r.room_nid = $1 AND r.parent_id = $2
                           AND e.outcome = 0 AND e.redacted_by IS NULL AND e.stream_position IS NOT NULL
                         UNION ALL
                         SELECT e.event_nid, e.event_id, r.rel_type, t.event_type, related.hops + 1
                         FROM related
                         JOIN event_relations r ON r.parent_id = related.event_id
                         JOIN events e ON e.event_nid = r.event_nid
                         JOIN event_types t USING (type_nid)
                         WHERE related.hops < $5 AND r.room_nid = $1
                           AND e.outcome = 0 AND e.redacted_by IS NULL AND e.stream_position IS NOT NULL
                       )
                       SELECT event_nid, depth, stream_position AS "position!", origin_server_ts, state_before, slot_nid
                       FROM events
                       WHERE event_nid IN (
                           SELECT event_nid FROM related
                           WHERE ($3::text IS NULL OR rel_type = $3) AND ($4::text IS NULL OR event_type = $4)
                         )
                         AND (depth, stream_position) > ($6, $7) AND (depth, stream_position) <= ($8, $9)
                       ORDER BY depth, stream_position
                       LIMIT $10"#,
                    query.room.0,
                    query.parent.as_str(),
                    query.rel_type,
                    query.event_type,
                    query.max_hops,
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
                sqlx::query_as!(
                    RawTimelineRow,
                    r#"WITH RECURSIVE related AS (
                         SELECT e.event_nid, e.event_id, r.rel_type, t.event_type, 1 AS hops
                         FROM event_relations r
                         JOIN events e USING (event_nid)
                         JOIN event_types t USING (type_nid)
                         WHERE r.room_nid = $1 AND r.parent_id = $2
                           AND e.outcome = 0 AND e.redacted_by IS NULL AND e.stream_position IS NOT NULL
                         UNION ALL
                         SELECT e.event_nid, e.event_id, r.rel_type, t.event_type, related.hops + 1
                         FROM related
                         JOIN event_relations r ON r.parent_id = related.event_id
                         JOIN events e ON e.event_nid = r.event_nid
                         JOIN event_types t USING (type_nid)
                         WHERE related.hops < $5 AND r.room_nid = $1
                           AND e.outcome = 0 AND e.redacted_by IS NULL AND e.stream_position IS NOT NULL
                       )
                       SELECT event_nid, depth, stream_position AS "position!", origin_server_ts, state_before, slot_nid
                       FROM events
                       WHERE event_nid IN (
                           SELECT event_nid FROM related
                           WHERE ($3::text IS NULL OR rel_type = $3) AND ($4::text IS NULL OR event_type = $4)
                         )
                         AND (depth, stream_position) > ($6, $7) AND (depth, stream_position) <= ($8, $9)
                       ORDER BY depth DESC, stream_position DESC
                       LIMIT $10"#,
                    query.room.0,
                    query.parent.as_str(),
                    query.rel_type,
                    query.event_type,
                    query.max_hops,
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
        Ok(rows.into_iter().map(TimelineRow::from).collect())
    }

    /// The roots of threads, the one with the newest event first.
    pub async fn list_threads(&mut self, query: ThreadQuery, limit: i64) -> Result<Vec<ThreadRow>> {
        let (_, until) = Span { after: None, until: query.until }.bounds();
        let (_, from) = Span { after: None, until: query.from }.bounds();
        let rows = sqlx::query!(
            r#"WITH threads AS (
                 SELECT DISTINCT ON (r.parent_id) r.parent_id, e.depth, e.stream_position
                 FROM event_relations r
                 JOIN events e USING (event_nid)
                 WHERE r.room_nid = $1 AND r.rel_type = 'm.thread'
                   AND e.outcome = 0 AND e.redacted_by IS NULL AND e.stream_position IS NOT NULL
                   AND (e.depth, e.stream_position) <= ($2, $3)
                 ORDER BY r.parent_id, e.depth DESC, e.stream_position DESC
               )
               SELECT root.event_nid, root.depth, root.stream_position AS "position!", root.origin_server_ts,
                 root.state_before, root.slot_nid,
                 threads.depth AS latest_depth, threads.stream_position AS "latest_position!"
               FROM threads
               JOIN events root ON root.event_id = threads.parent_id
               WHERE root.room_nid = $1 AND root.outcome = 0 AND root.stream_position IS NOT NULL
                 AND NOT EXISTS (SELECT FROM event_relations own WHERE own.event_nid = root.event_nid)
                 AND (threads.depth, threads.stream_position) <= ($4, $5)
                 AND (
                   $6::bigint IS NULL
                   OR root.sender_nid = $6
                   OR EXISTS (
                     SELECT FROM event_relations r
                     JOIN events e USING (event_nid)
                     WHERE r.room_nid = $1 AND r.parent_id = threads.parent_id AND r.rel_type = 'm.thread'
                       AND e.sender_nid = $6 AND e.outcome = 0 AND e.redacted_by IS NULL
                   )
                 )
               ORDER BY threads.depth DESC, threads.stream_position DESC
               LIMIT $7"#,
            query.room.0,
            until.depth,
            until.position.0,
            from.depth,
            from.position.0,
            query.participant.map(i64::from),
            limit
        )
        .fetch_all(self.conn())
        .await?;
        Ok(rows
            .into_iter()
            .map(|row| ThreadRow {
                root: TimelineRow {
                    nid: EventNid(row.event_nid),
                    place: Place { depth: row.depth, position: Position(row.position) },
                    origin_server_ts: row.origin_server_ts,
                    state_before: row.state_before.map(StateGroupNid),
                    slot: row.slot_nid.map(SlotNid),
                },
                latest: Place { depth: row.latest_depth, position: Position(row.latest_position) },
            })
            .collect())
    }
}

fn parse_event_id(column: &'static str, id: String, nid: i64) -> Result<OwnedEventId> {
    id.try_into().map_err(|_| StorageError::Inconsistent {
        table: "event_relations",
        column,
        row: nid.to_string(),
    })
}
