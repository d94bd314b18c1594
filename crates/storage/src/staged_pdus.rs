//! Events of other servers that wait for what comes before them.

use hs_model::ids::RoomNid;
use ruma::{OwnedEventId, OwnedServerName, ServerName};

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
    /// How often it was tried in vain to bring it into its room.
    pub attempts: i32,
}

impl Reader {
    /// How many events wait that a server has sent, and how many of these in a room.
    pub async fn count_staged_pdus(&mut self, origin: &str, room: RoomNid) -> Result<(i64, i64)> {
        let row = sqlx::query!(
            r#"SELECT COUNT(*) AS "of_origin!", COUNT(*) FILTER (WHERE room_nid = $2) AS "in_room!"
               FROM staged_pdus WHERE origin = $1"#,
            origin,
            room.0
        )
        .fetch_one(self.conn())
        .await?;
        Ok((row.of_origin, row.in_room))
    }

    /// Whether anything waits in a room.
    pub async fn has_staged_pdus(&mut self, room: RoomNid) -> Result<bool> {
        let found = sqlx::query_scalar!(
            r#"SELECT EXISTS (SELECT FROM staged_pdus WHERE room_nid = $1) AS "found!""#,
            room.0
        )
        .fetch_one(self.conn())
        .await?;
        Ok(found)
    }

    /// Rooms, and the servers whose events wait in them while nobody works on them.
    pub async fn list_idle_staged(
        &mut self,
        now_ms: i64,
        limit: i64,
    ) -> Result<Vec<(RoomNid, OwnedServerName)>> {
        let rows = sqlx::query!(
            "SELECT room_nid, origin FROM staged_pdus WHERE retry_at <= $1
             GROUP BY room_nid, origin ORDER BY MIN(retry_at) LIMIT $2",
            now_ms,
            limit
        )
        .fetch_all(self.conn())
        .await?;
        rows.into_iter().map(|row| Ok((RoomNid(row.room_nid), origin_of(&row.origin)?))).collect()
    }
}

fn origin_of(text: &str) -> Result<OwnedServerName> {
    let wrong =
        |_| StorageError::Inconsistent { table: "staged_pdus", column: "origin", row: text.to_owned() };
    text.try_into().map_err(wrong)
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

    /// Takes the shallowest events that a server has sent for a room to work on, until `until`: those that are due, and those
    /// never tried, since whoever wrote them down asks for them.
    pub async fn take_staged_pdus(
        &mut self,
        (room, origin): (RoomNid, &ServerName),
        (now_ms, until): (i64, i64),
        limit: i64,
    ) -> Result<Vec<StagedPdu>> {
        let rows = sqlx::query!(
            "WITH due AS (
               SELECT event_id FROM staged_pdus
               WHERE room_nid = $1 AND origin = $2 AND (retry_at <= $3 OR attempts = 0)
               ORDER BY depth, event_id
               LIMIT $5
               FOR UPDATE SKIP LOCKED
             )
             UPDATE staged_pdus s SET retry_at = $4
             FROM due
             WHERE s.event_id = due.event_id
             RETURNING s.event_id, s.origin, s.json, s.depth, s.attempts",
            room.0,
            origin.as_str(),
            now_ms,
            until,
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
                    origin: origin_of(&row.origin)?,
                    json: row.json,
                    depth: row.depth,
                    attempts: row.attempts,
                })
            })
            .collect::<Result<Vec<_>>>()?;
        pdus.sort_by(|a, b| (a.depth, &a.event_id).cmp(&(b.depth, &b.event_id)));
        Ok(pdus)
    }

    /// Has all that waits in a room tried anew, as if for the first time. Returns the servers that have sent it.
    pub async fn renew_staged_pdus(&mut self, room: RoomNid, now_ms: i64) -> Result<Vec<OwnedServerName>> {
        let origins = sqlx::query_scalar!(
            "WITH renewed AS (
               UPDATE staged_pdus SET attempts = 0, retry_at = $2 WHERE room_nid = $1 RETURNING origin
             )
             SELECT DISTINCT origin FROM renewed",
            room.0,
            now_ms
        )
        .fetch_all(self.conn())
        .await?;
        origins.iter().map(|origin| origin_of(origin)).collect()
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
