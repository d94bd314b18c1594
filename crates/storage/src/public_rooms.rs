//! What the directory of published rooms shows.

use std::collections::HashMap;

use hs_model::{
    ids::{EventNid, RoomNid},
    membership::Membership,
};

use crate::{Reader, error::Result};

/// The state that says something about a room to those outside.
const SHOWN_STATE: [&str; 9] = [
    "m.room.avatar",
    "m.room.canonical_alias",
    "m.room.create",
    "m.room.encryption",
    "m.room.guest_access",
    "m.room.history_visibility",
    "m.room.join_rules",
    "m.room.name",
    "m.room.topic",
];

impl Reader {
    /// How many users have joined each of the rooms.
    pub async fn count_joined(&mut self, rooms: &[RoomNid]) -> Result<HashMap<RoomNid, i64>> {
        let nids: Vec<i64> = rooms.iter().map(|room| room.0).collect();
        let rows = sqlx::query!(
            r#"SELECT room_nid, COUNT(*) AS "joined!" FROM memberships
             WHERE room_nid = ANY($1) AND membership = $2
             GROUP BY room_nid"#,
            &nids,
            Membership::Join.code()
        )
        .fetch_all(self.conn())
        .await?;
        Ok(rows.into_iter().map(|row| (RoomNid(row.room_nid), row.joined)).collect())
    }

    /// The state events of rooms that tell those outside what the rooms are.
    pub async fn list_shown_state(&mut self, rooms: &[RoomNid]) -> Result<Vec<(RoomNid, EventNid)>> {
        let nids: Vec<i64> = rooms.iter().map(|room| room.0).collect();
        let types = SHOWN_STATE.map(ToOwned::to_owned);
        let rows = sqlx::query!(
            "SELECT c.room_nid, c.event_nid
             FROM state_slots s JOIN current_state c USING (slot_nid)
             WHERE c.room_nid = ANY($1) AND s.event_type = ANY($2) AND s.state_key = ''",
            &nids,
            &types
        )
        .fetch_all(self.conn())
        .await?;
        Ok(rows.into_iter().map(|row| (RoomNid(row.room_nid), EventNid(row.event_nid))).collect())
    }
}
