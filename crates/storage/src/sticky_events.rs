//! Events that are delivered for a while whatever comes after them.

use std::borrow::Cow;

use hs_model::{
    ids::{EventNid, RoomNid},
    records::EventRecord,
    stream::Position,
};
use serde::Deserialize;
use serde_json::value::RawValue;

use crate::{Reader, Txn, error::Result};

/// The key of the event that says so.
const KEY: &str = "\"msc4354_sticky\"";
/// No event is sticky for longer.
pub const MAX_STICKY_MS: i64 = 3_600_000;

/// An event that is sticky for a while.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct StickyEvent {
    /// Its number.
    pub event: EventNid,
    /// Its room.
    pub room: RoomNid,
    /// Where it stands in the log.
    pub position: Position,
    /// Until when it is sticky.
    pub expires_at: i64,
}

/// Until when an event that is received now is sticky, if it is at all.
pub fn sticky_until(event: &EventRecord, now_ms: i64) -> Option<i64> {
    #[derive(Deserialize)]
    struct Event<'a> {
        #[serde(borrow)]
        msc4354_sticky: Option<Cow<'a, RawValue>>,
    }
    #[derive(Deserialize)]
    struct Sticky {
        duration_ms: i64,
    }
    // Nearly no event is.
    if !event.json.contains(KEY) {
        return None;
    }
    let sticky = serde_json::from_str::<Event<'_>>(&event.json).ok()?.msc4354_sticky?;
    let duration = serde_json::from_str::<Sticky>(sticky.get()).ok()?.duration_ms;
    // The sender's clock may not put the beginning into the future.
    (duration >= 0).then(|| event.origin_server_ts.min(now_ms).saturating_add(duration.min(MAX_STICKY_MS)))
}

impl Reader {
    /// The events up to a position that are still sticky, in order.
    pub async fn list_sticky_events(&mut self, up_to: Position, now_ms: i64) -> Result<Vec<StickyEvent>> {
        let rows = sqlx::query!(
            "SELECT event_nid, room_nid, stream_position, expires_at
             FROM sticky_events
             WHERE expires_at > $2 AND stream_position <= $1
             ORDER BY stream_position",
            up_to.0,
            now_ms
        )
        .fetch_all(self.conn())
        .await?;
        let event = |row: (i64, i64, i64, i64)| StickyEvent {
            event: EventNid(row.0),
            room: RoomNid(row.1),
            position: Position(row.2),
            expires_at: row.3,
        };
        let rows = rows.into_iter();
        Ok(rows
            .map(|row| event((row.event_nid, row.room_nid, row.stream_position, row.expires_at)))
            .collect())
    }
}

impl Txn {
    /// Notes which events are sticky.
    pub(crate) async fn insert_sticky_events(&mut self, events: &[StickyEvent]) -> Result<()> {
        if events.is_empty() {
            return Ok(());
        }
        let nids: Vec<i64> = events.iter().map(|event| event.event.0).collect();
        let rooms: Vec<i64> = events.iter().map(|event| event.room.0).collect();
        let positions: Vec<i64> = events.iter().map(|event| event.position.0).collect();
        let expiries: Vec<i64> = events.iter().map(|event| event.expires_at).collect();
        sqlx::query!(
            "INSERT INTO sticky_events (event_nid, room_nid, stream_position, expires_at)
             SELECT * FROM UNNEST($1::bigint[], $2::bigint[], $3::bigint[], $4::bigint[])",
            &nids,
            &rooms,
            &positions,
            &expiries
        )
        .execute(self.conn())
        .await?;
        Ok(())
    }

    /// Forgets the events that are sticky no longer.
    pub async fn delete_expired_sticky_events(&mut self, now_ms: i64) -> Result<u64> {
        let done = sqlx::query!("DELETE FROM sticky_events WHERE expires_at <= $1", now_ms)
            .execute(self.conn())
            .await?;
        Ok(done.rows_affected())
    }
}
