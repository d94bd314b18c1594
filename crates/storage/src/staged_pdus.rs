//! Events of other servers that wait for what comes before them.

use hs_model::ids::RoomNid;
use ruma::{OwnedEventId, OwnedServerName};

use crate::{
    Reader, Txn,
    error::{Result, StorageError},
};

/// A waiting event.
#[derive(Clone, Debug)]
pub struct StagedPdu {
    /// Its id.
    pub event_id: OwnedEventId,
    /// The server that sent it.
    pub origin: OwnedServerName,
    /// Its JSON, checked.
    pub json: String,
    /// Its depth.
    pub depth: i64,
}

impl Reader {
    /// How many events wait that a server has sent, and how many in a room.
    pub async fn count_staged_pdus(&mut self, origin: &str, room: RoomNid) -> Result<(i64, i64)> {
        let row = sqlx::query!(
            r#"SELECT
                 (SELECT COUNT(*) FROM staged_pdus WHERE origin = $1) AS "of_origin!",
                 (SELECT COUNT(*) FROM staged_pdus WHERE room_nid = $2) AS "in_room!""#,
            origin,
            room.0
        )
        .fetch_one(self.conn())
        .await?;
        Ok((row.of_origin, row.in_room))
    }

    /// Rooms in which events wait that nobody works on.
    pub async fn list_staged_rooms(&mut self, now_ms: i64, limit: i64) -> Result<Vec<RoomNid>> {
        let rooms = sqlx::query_scalar!(
            "SELECT room_nid FROM staged_pdus WHERE retry_at <= $1 GROUP BY room_nid ORDER BY MIN(retry_at) LIMIT $2",
            now_ms,
            limit
        )
        .fetch_all(self.conn())
        .await?;
        Ok(rooms.into_iter().map(RoomNid).collect())
    }
}

impl Txn {
    /// Writes events down. Nobody else works on them before `retry_at`.
    pub async fn insert_staged_pdus(
        &mut self,
        room: RoomNid,
        pdus: &[StagedPdu],
        retry_at: i64,
    ) -> Result<()> {
        let ids: Vec<&str> = pdus.iter().map(|pdu| pdu.event_id.as_str()).collect();
        let origins: Vec<&str> = pdus.iter().map(|pdu| pdu.origin.as_str()).collect();
        let json: Vec<&str> = pdus.iter().map(|pdu| pdu.json.as_str()).collect();
        let depths: Vec<i64> = pdus.iter().map(|pdu| pdu.depth).collect();
        sqlx::query!(
            "INSERT INTO staged_pdus (event_id, room_nid, origin, json, depth, retry_at)
             SELECT event_id, $1, origin, json, depth, $2
             FROM UNNEST($3::text[], $4::text[], $5::text[], $6::bigint[]) AS new (event_id, origin, json, depth)
             ON CONFLICT (event_id) DO NOTHING",
            room.0,
            retry_at,
            &ids as &[&str],
            &origins as &[&str],
            &json as &[&str],
            &depths
        )
        .execute(self.conn())
        .await?;
        Ok(())
    }

    /// Takes the shallowest events of a room to work on, until `until`. `is_owner` says that those count too which this
    /// process took earlier.
    pub async fn take_staged_pdus(
        &mut self,
        room: RoomNid,
        (now_ms, until): (i64, i64),
        is_owner: bool,
        limit: i64,
    ) -> Result<Vec<StagedPdu>> {
        let rows = sqlx::query!(
            "WITH due AS (
               SELECT event_id FROM staged_pdus
               WHERE room_nid = $1 AND (retry_at <= $2 OR ($4 AND attempts = 0))
               ORDER BY depth, event_id
               LIMIT $5
               FOR UPDATE SKIP LOCKED
             )
             UPDATE staged_pdus s SET retry_at = $3
             FROM due
             WHERE s.event_id = due.event_id
             RETURNING s.event_id, s.origin, s.json, s.depth",
            room.0,
            now_ms,
            until,
            is_owner,
            limit
        )
        .fetch_all(self.conn())
        .await?;
        let mut pdus = rows
            .into_iter()
            .map(|row| {
                let wrong = |column| StorageError::Inconsistent {
                    table: "staged_pdus",
                    column,
                    row: row.event_id.clone(),
                };
                Ok(StagedPdu {
                    event_id: row.event_id.as_str().try_into().map_err(|_| wrong("event_id"))?,
                    origin: row.origin.as_str().try_into().map_err(|_| wrong("origin"))?,
                    json: row.json,
                    depth: row.depth,
                })
            })
            .collect::<Result<Vec<_>>>()?;
        pdus.sort_by(|a, b| (a.depth, &a.event_id).cmp(&(b.depth, &b.event_id)));
        Ok(pdus)
    }

    /// Forgets events.
    pub async fn delete_staged_pdus(&mut self, ids: &[OwnedEventId]) -> Result<()> {
        let ids: Vec<&str> = ids.iter().map(|id| id.as_str()).collect();
        sqlx::query!("DELETE FROM staged_pdus WHERE event_id = ANY($1)", &ids as &[&str])
            .execute(self.conn())
            .await?;
        Ok(())
    }

    /// Puts an event off after an attempt failed. `false`, and it is forgotten, when there have been too many.
    pub async fn postpone_staged_pdu(
        &mut self,
        id: &OwnedEventId,
        retry_at: i64,
        max_attempts: i32,
    ) -> Result<bool> {
        let attempts = sqlx::query_scalar!(
            "UPDATE staged_pdus SET attempts = attempts + 1, retry_at = $2 WHERE event_id = $1 RETURNING attempts",
            id.as_str(),
            retry_at
        )
        .fetch_optional(self.conn())
        .await?;
        if attempts.is_some_and(|attempts| attempts >= max_attempts) {
            self.delete_staged_pdus(std::slice::from_ref(id)).await?;
            return Ok(false);
        }
        Ok(true)
    }
}
