//! The graph of a room's events, as other servers ask for it: along the auth events, and along the previous events.

use hs_model::ids::{EventNid, RoomNid};

use crate::{Reader, error::Result};

/// A walk from events to those before them.
#[derive(Clone, Copy, Debug)]
pub struct WalkBack<'a> {
    /// The room. What others lead to is not followed.
    pub room: RoomNid,
    /// Where it begins.
    pub from: &'a [EventNid],
    /// Where it does not go.
    pub except: &'a [EventNid],
    /// How deep an event must be at least.
    pub min_depth: i64,
    /// How many events are found at most, those of `from` included.
    pub limit: i64,
}

impl Reader {
    /// Everything that the events' auth events lead to; at most `limit` events. The events themselves are in it only when
    /// others lead to them.
    pub async fn list_auth_chain(&mut self, events: &[EventNid], limit: i64) -> Result<Vec<EventNid>> {
        let events: Vec<i64> = events.iter().map(|nid| nid.0).collect();
        let nids = sqlx::query_scalar!(
            r#"WITH RECURSIVE chain (event_nid) AS (
                 SELECT auth.event_nid
                 FROM events e, UNNEST(e.auth_nids) AS auth (event_nid)
                 WHERE e.event_nid = ANY($1)
                 UNION
                 SELECT auth.event_nid
                 FROM chain JOIN events e ON e.event_nid = chain.event_nid, UNNEST(e.auth_nids) AS auth (event_nid)
               )
               SELECT event_nid AS "event_nid!" FROM chain LIMIT $2"#,
            &events,
            limit
        )
        .fetch_all(self.conn())
        .await?;
        Ok(nids.into_iter().map(EventNid).collect())
    }

    /// The events before some events of a room, breadth first, those given included.
    pub async fn list_events_before(&mut self, walk: WalkBack<'_>) -> Result<Vec<EventNid>> {
        let from: Vec<i64> = walk.from.iter().map(|nid| nid.0).collect();
        let except: Vec<i64> = walk.except.iter().map(|nid| nid.0).collect();
        // The recursion yields level after level, and ends when the limit is reached.
        let nids = sqlx::query_scalar!(
            r#"WITH RECURSIVE walk (event_nid) AS (
                 SELECT event_nid FROM events WHERE event_nid = ANY($2) AND room_nid = $1
                 UNION
                 SELECT p.event_nid
                 FROM walk
                 JOIN events e ON e.event_nid = walk.event_nid
                 JOIN events p ON p.event_nid = ANY(e.prev_nids)
                 WHERE p.room_nid = $1 AND p.depth >= $4 AND p.event_nid <> ALL($3)
               )
               SELECT event_nid AS "event_nid!" FROM walk LIMIT $5"#,
            walk.room.0,
            &from,
            &except,
            walk.min_depth,
            walk.limit
        )
        .fetch_all(self.conn())
        .await?;
        Ok(nids.into_iter().map(EventNid).collect())
    }
}
