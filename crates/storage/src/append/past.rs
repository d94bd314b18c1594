//! Writing events that arrive after those that follow them. They are before everything in the order of arrival, change
//! nothing about the present, and nobody waits for them: they take no position in the log.

use super::{AppendUnit, array_literal};
use crate::{Store, error::Result, txn::Txn};

impl Store {
    /// Writes events of a room's past, newest last. The unit's head, state changes and memberships do not count. `false`, and
    /// nothing is written, when one of them has come another way meanwhile: what is built on it would name the wrong event.
    pub async fn insert_past(&self, unit: &AppendUnit) -> Result<bool> {
        let units = std::slice::from_ref(unit);
        let mut txn = self.begin().await?;
        txn.lock_edges(units).await?;
        txn.insert_state_groups(units).await?;
        txn.insert_relations(units).await?;
        txn.insert_redactions(units).await?;
        txn.delete_outliers(units).await?;
        if !txn.insert_past_events(unit).await? {
            txn.rollback().await?;
            return Ok(false);
        }
        txn.insert_edges(units).await?;
        txn.commit().await?;
        for event in &unit.events {
            self.event_cache().forget(event.record.nid);
            if let Some(target) = event.record.redacts {
                self.event_cache().forget(target);
            }
        }
        Ok(true)
    }
}

impl Txn {
    /// Whether all of them were new.
    async fn insert_past_events(&mut self, unit: &AppendUnit) -> Result<bool> {
        // Newest first, so that it gets the greatest of the negative positions.
        let events: Vec<_> = unit.events.iter().rev().collect();
        let nids: Vec<i64> = events.iter().map(|e| e.record.nid.0).collect();
        let ids: Vec<&str> = events.iter().map(|e| e.record.event_id.as_str()).collect();
        let senders: Vec<i64> = events.iter().map(|e| e.record.sender_nid.0).collect();
        let types: Vec<i64> = events.iter().map(|e| e.type_nid.0).collect();
        let slots: Vec<Option<i64>> = events.iter().map(|e| e.record.slot.map(i64::from)).collect();
        let depths: Vec<i64> = events.iter().map(|e| e.record.depth).collect();
        let times: Vec<i64> = events.iter().map(|e| e.record.origin_server_ts).collect();
        let before: Vec<Option<i64>> = events.iter().map(|e| e.record.state_before.map(i64::from)).collect();
        let after: Vec<Option<i64>> = events.iter().map(|e| e.state_after.map(i64::from)).collect();
        let outcomes: Vec<i16> = events.iter().map(|e| e.record.outcome.code()).collect();
        let reasons: Vec<Option<&str>> = events.iter().map(|e| e.reason.as_deref()).collect();
        let prev: Vec<String> =
            events.iter().map(|e| array_literal(e.prev.iter().map(|nid| nid.0))).collect();
        let auth: Vec<String> =
            events.iter().map(|e| array_literal(e.auth.iter().map(|nid| nid.0))).collect();
        let replaces: Vec<Option<i64>> = events.iter().map(|e| e.record.replaces.map(i64::from)).collect();
        let json: Vec<&str> = events.iter().map(|e| &*e.record.json).collect();
        let done = sqlx::query!(
            "WITH new AS (
               SELECT * FROM UNNEST($2::bigint[], $3::text[], $4::bigint[], $5::bigint[], $6::bigint[], $7::bigint[],
                 $8::bigint[], $9::bigint[], $10::bigint[], $11::smallint[], $12::text[], $13::text[], $14::text[],
                 $15::bigint[], $16::text[]) WITH ORDINALITY
                 AS e (event_nid, event_id, sender_nid, type_nid, slot_nid, depth, origin_server_ts, state_before,
                   state_after, outcome, reason, prev_nids, auth_nids, replaces, json, n)
             ), stored AS (
               INSERT INTO events (event_nid, event_id, room_nid, sender_nid, type_nid, slot_nid, stream_position, depth,
                 origin_server_ts, state_before, state_after, outcome, reason, prev_nids, auth_nids, replaces)
               SELECT event_nid, event_id, $1, sender_nid, type_nid, slot_nid, nextval('history_positions'), depth,
                 origin_server_ts, state_before, state_after, outcome, reason, prev_nids::bigint[], auth_nids::bigint[],
                 replaces
               FROM (SELECT * FROM new ORDER BY n) AS new
               ON CONFLICT (event_id) DO NOTHING
               RETURNING event_nid
             )
             INSERT INTO event_json (event_nid, json)
             SELECT event_nid, json FROM stored JOIN new USING (event_nid)",
            unit.room.0,
            &nids,
            &ids as &[&str],
            &senders,
            &types,
            &slots as &[Option<i64>],
            &depths,
            &times,
            &before as &[Option<i64>],
            &after as &[Option<i64>],
            &outcomes,
            &reasons as &[Option<&str>],
            &prev,
            &auth,
            &replaces as &[Option<i64>],
            &json as &[&str]
        )
        .execute(self.conn())
        .await?;
        Ok(done.rows_affected() == events.len() as u64)
    }
}
