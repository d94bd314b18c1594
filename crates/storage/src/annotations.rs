//! Questions about `m.relates_to` that are asked before an event is written.

use hs_model::ids::{RoomNid, TypeNid, UserNid};
use ruma::EventId;

use crate::{Reader, error::Result};

impl Reader {
    /// Whether a user has annotated an event by an event of this type and with this key, and not taken it back.
    pub async fn has_annotation(
        &mut self,
        room: RoomNid,
        parent: &EventId,
        key: &str,
        (sender, event_type): (UserNid, TypeNid),
    ) -> Result<bool> {
        let has = sqlx::query_scalar!(
            r#"SELECT EXISTS (
                 SELECT FROM event_relations r
                 JOIN events e USING (event_nid)
                 WHERE r.room_nid = $1 AND r.parent_id = $2 AND r.rel_type = 'm.annotation' AND r.aggregation_key = $3
                   AND e.sender_nid = $4 AND e.type_nid = $5 AND e.redacted_by IS NULL AND e.outcome = 0
               ) AS "has!""#,
            room.0,
            parent.as_str(),
            key,
            sender.0,
            event_type.0
        )
        .fetch_one(self.conn())
        .await?;
        Ok(has)
    }

    /// Whether an event relates to another one.
    pub async fn has_relation(&mut self, event_id: &EventId) -> Result<bool> {
        let has = sqlx::query_scalar!(
            r#"SELECT EXISTS (
                 SELECT FROM events e JOIN event_relations r USING (event_nid)
                 WHERE e.event_id = $1 AND e.redacted_by IS NULL
               ) AS "has!""#,
            event_id.as_str()
        )
        .fetch_one(self.conn())
        .await?;
        Ok(has)
    }
}
