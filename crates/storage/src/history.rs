//! Reading a room's past in pieces: by place in the graph, by time, and by what somebody's membership was.

use hs_model::{
    ids::{EventNid, RoomNid, SlotNid, StateGroupNid},
    stream::Position,
};

use crate::{
    Reader,
    error::Result,
    events::{Order, Place},
};

/// An accepted event of a room's timeline without its JSON: what pagination and history visibility look at.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct TimelineRow {
    /// The event.
    pub nid: EventNid,
    /// Where it stands in the graph.
    pub place: Place,
    /// When its origin says it was made.
    pub origin_server_ts: i64,
    /// The state before it.
    pub state_before: Option<StateGroupNid>,
    /// The slot it fills, when it is a state event.
    pub slot: Option<SlotNid>,
}

/// The columns of a [`TimelineRow`] as the database returns them.
pub(crate) struct RawTimelineRow {
    pub(crate) event_nid: i64,
    pub(crate) depth: i64,
    pub(crate) position: i64,
    pub(crate) origin_server_ts: i64,
    pub(crate) state_before: Option<i64>,
    pub(crate) slot_nid: Option<i64>,
}

impl From<RawTimelineRow> for TimelineRow {
    fn from(row: RawTimelineRow) -> Self {
        Self {
            nid: EventNid(row.event_nid),
            place: Place { depth: row.depth, position: Position(row.position) },
            origin_server_ts: row.origin_server_ts,
            state_before: row.state_before.map(StateGroupNid),
            slot: row.slot_nid.map(SlotNid),
        }
    }
}

/// The part of a room between two places: after the one, up to and including the event of the other.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Span {
    /// Where it begins; `None` for the beginning of the room.
    pub after: Option<Place>,
    /// Where it ends; `None` for the end of the room.
    pub until: Option<Place>,
}

impl Span {
    /// The bounds as the queries compare them.
    pub(crate) fn bounds(self) -> (Place, Place) {
        (
            self.after.unwrap_or(Place { depth: -1, position: Position(i64::MIN) }),
            self.until.unwrap_or(Place { depth: i64::MAX, position: Position(i64::MAX) }),
        )
    }
}

/// A place in the order of time: that of an event with this time and place.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct TimePlace {
    /// `origin_server_ts`.
    pub ts: i64,
    /// Breaks ties.
    pub place: Place,
}

impl Reader {
    /// Accepted events of a room in topological order.
    pub async fn list_timeline_rows(
        &mut self,
        room: RoomNid,
        span: Span,
        order: Order,
        limit: i64,
    ) -> Result<Vec<TimelineRow>> {
        let (low, high) = span.bounds();
        let rows = match order {
            Order::Forward => {
                sqlx::query_as!(
                    RawTimelineRow,
                    r#"SELECT event_nid, depth, stream_position AS "position!", origin_server_ts, state_before, slot_nid
                     FROM events
                     WHERE room_nid = $1 AND outcome = 0 AND stream_position IS NOT NULL
                       AND (depth, stream_position) > ($2, $3) AND (depth, stream_position) <= ($4, $5)
                     ORDER BY depth, stream_position
                     LIMIT $6"#,
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
                sqlx::query_as!(
                    RawTimelineRow,
                    r#"SELECT event_nid, depth, stream_position AS "position!", origin_server_ts, state_before, slot_nid
                     FROM events
                     WHERE room_nid = $1 AND outcome = 0 AND stream_position IS NOT NULL
                       AND (depth, stream_position) > ($2, $3) AND (depth, stream_position) <= ($4, $5)
                     ORDER BY depth DESC, stream_position DESC
                     LIMIT $6"#,
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
        Ok(rows.into_iter().map(TimelineRow::from).collect())
    }

    /// Accepted events of a room in the order of their times: those strictly beyond a place in that order.
    pub async fn list_rows_by_time(
        &mut self,
        room: RoomNid,
        beyond: TimePlace,
        order: Order,
        limit: i64,
    ) -> Result<Vec<TimelineRow>> {
        let rows = match order {
            Order::Forward => {
                sqlx::query_as!(
                    RawTimelineRow,
                    r#"SELECT event_nid, depth, stream_position AS "position!", origin_server_ts, state_before, slot_nid
                     FROM events
                     WHERE room_nid = $1 AND outcome = 0 AND stream_position IS NOT NULL AND origin_server_ts >= $2
                       AND (origin_server_ts, depth, stream_position) > ($2, $3, $4)
                     ORDER BY origin_server_ts, depth, stream_position
                     LIMIT $5"#,
                    room.0,
                    beyond.ts,
                    beyond.place.depth,
                    beyond.place.position.0,
                    limit
                )
                .fetch_all(self.conn())
                .await?
            }
            Order::Backward => {
                sqlx::query_as!(
                    RawTimelineRow,
                    r#"SELECT event_nid, depth, stream_position AS "position!", origin_server_ts, state_before, slot_nid
                     FROM events
                     WHERE room_nid = $1 AND outcome = 0 AND stream_position IS NOT NULL AND origin_server_ts <= $2
                       AND (origin_server_ts, depth, stream_position) < ($2, $3, $4)
                     ORDER BY origin_server_ts DESC, depth DESC, stream_position DESC
                     LIMIT $5"#,
                    room.0,
                    beyond.ts,
                    beyond.place.depth,
                    beyond.place.position.0,
                    limit
                )
                .fetch_all(self.conn())
                .await?
            }
        };
        Ok(rows.into_iter().map(TimelineRow::from).collect())
    }

    /// Events that ever filled a state slot of a room as far as is known here, those without a place in the timeline included.
    pub async fn list_slot_values(
        &mut self,
        room: RoomNid,
        slot: SlotNid,
        limit: i64,
    ) -> Result<Vec<EventNid>> {
        let nids = sqlx::query_scalar!(
            "SELECT event_nid FROM events WHERE slot_nid = $1 AND room_nid = $2 AND outcome = 0 LIMIT $3",
            slot.0,
            room.0,
            limit
        )
        .fetch_all(self.conn())
        .await?;
        Ok(nids.into_iter().map(EventNid).collect())
    }

    /// The accepted events that ever filled a state slot of a room and arrived before a position, newest first.
    pub async fn list_slot_events(
        &mut self,
        room: RoomNid,
        slot: SlotNid,
        before: Position,
        limit: i64,
    ) -> Result<Vec<(EventNid, Position)>> {
        let rows = sqlx::query!(
            r#"SELECT event_nid, stream_position AS "position!"
             FROM events
             WHERE slot_nid = $1 AND room_nid = $2 AND outcome = 0 AND stream_position < $3
             ORDER BY stream_position DESC
             LIMIT $4"#,
            slot.0,
            room.0,
            before.0,
            limit
        )
        .fetch_all(self.conn())
        .await?;
        Ok(rows.into_iter().map(|row| (EventNid(row.event_nid), Position(row.position))).collect())
    }
}
