//! Finding the event nearest to a time.

use std::sync::Arc;

use hs_model::{records::EventRecord, stream::Position};
use hs_storage::{
    StorageError,
    events::{Order, Place},
    history::TimePlace,
};

use crate::{Room, Rooms, client_event::Viewer, visibility::Facts};

/// How many events are looked at first; more each time that the user may see none of them.
const FIRST_BATCH: i64 = 10;
/// How many are looked at in the last attempt.
const LAST_BATCH: i64 = 10_000;

impl Rooms {
    /// The event nearest to a time that the user may see: at or after it forward, at or before it backward.
    pub async fn find_visible_event_by_time(
        &self,
        room: &Room,
        viewer: &Viewer<'_>,
        ts: i64,
        order: Order,
    ) -> Result<Option<Arc<EventRecord>>, StorageError> {
        let mut beyond = match order {
            Order::Forward => {
                TimePlace { ts, place: Place { depth: i64::MIN, position: Position(i64::MIN) } }
            }
            Order::Backward => {
                TimePlace { ts, place: Place { depth: i64::MAX, position: Position(i64::MAX) } }
            }
        };
        let mut batch = FIRST_BATCH;
        while batch <= LAST_BATCH {
            let mut reader = self.inner.store.reader().await?;
            let rows = reader.list_rows_by_time(room.nid, beyond, order, batch).await?;
            drop(reader);
            let facts: Vec<Facts> = rows.iter().map(Facts::from).collect();
            let visible = self.visible(room, &facts, viewer).await?;
            if let Some(row) = rows.iter().find(|row| visible.contains(row.nid)) {
                return Ok(self.inner.store.find_events(&[row.nid]).await?.remove(&row.nid));
            }
            match rows.last() {
                Some(last) if rows.len() as i64 == batch => {
                    beyond = TimePlace { ts: last.origin_server_ts, place: last.place };
                }
                _ => return Ok(None),
            }
            batch *= 10;
        }
        Ok(None)
    }
}
