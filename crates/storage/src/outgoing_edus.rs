//! EDUs for other servers that must not be lost: messages from device to device.
//!
//! Whoever writes one calls [`Txn::insert_outgoing_edus`] in the transaction of what it belongs to. The sender of the
//! federation hears of it from the log, sends it, and deletes it when the destination has taken it.

use hs_model::stream::Position;

use crate::{Reader, Store, Txn, error::Result, log::LogKind};

/// How many EDUs wait for a destination at most. Of a server that is gone, the oldest go.
pub const MAX_WAITING: i64 = 20_000;

/// An EDU to be sent.
#[derive(Clone, Copy, Debug)]
pub struct NewOutgoingEdu<'a> {
    /// The server it is for.
    pub destination: &'a str,
    /// Its type, such as `m.direct_to_device`.
    pub edu_type: &'a str,
    /// Its content: a JSON object, which is sent as it is. What makes a repetition recognisable (the `message_id`) is part
    /// of it.
    pub content: &'a str,
}

/// Where a waiting EDU stands in the queue of its destination.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct EduPlace {
    /// Its position in the log.
    pub position: Position,
    /// Which one it is of those that share the position.
    pub ordinal: i32,
}

/// An EDU that waits.
#[derive(Clone, Debug)]
pub struct OutgoingEdu {
    /// The server it is for.
    pub destination: String,
    /// Where it stands.
    pub place: EduPlace,
    /// Its type.
    pub edu_type: String,
    /// JSON object.
    pub content: String,
}

impl Txn {
    /// Queues EDUs for other servers, in this order for each of them. Takes a position: call it last.
    ///
    /// A destination may come more than once. What is too large for an EDU, or is not an object, is the caller's to refuse.
    pub async fn insert_outgoing_edus(&mut self, edus: &[NewOutgoingEdu<'_>], now_ms: i64) -> Result<()> {
        if edus.is_empty() {
            return Ok(());
        }
        let position = self.log(LogKind::OutgoingEdu, None, None).await?;
        let destinations: Vec<&str> = edus.iter().map(|edu| edu.destination).collect();
        let types: Vec<&str> = edus.iter().map(|edu| edu.edu_type).collect();
        let contents: Vec<&str> = edus.iter().map(|edu| edu.content).collect();
        sqlx::query!(
            "INSERT INTO outgoing_edus (destination, position, ordinal, edu_type, content, queued_at)
             SELECT new.destination, $4, new.ordinal::int, new.edu_type, new.content, $5
             FROM UNNEST($1::text[], $2::text[], $3::text[]) WITH ORDINALITY
                 AS new (destination, edu_type, content, ordinal)",
            &destinations as &[&str],
            &types as &[&str],
            &contents as &[&str],
            position.0,
            now_ms
        )
        .execute(self.conn())
        .await?;
        Ok(())
    }

    /// Deletes EDUs that have waited since before a time, and of destinations for which too many wait, the oldest. Returns
    /// how many went.
    pub async fn delete_stale_outgoing_edus(&mut self, before_ms: i64) -> Result<u64> {
        let old = sqlx::query!("DELETE FROM outgoing_edus WHERE queued_at < $1", before_ms)
            .execute(self.conn())
            .await?;
        let surplus = sqlx::query!(
            "DELETE FROM outgoing_edus e
             USING (
                 SELECT crowded.destination, last_kept.position
                 FROM (
                     SELECT destination FROM outgoing_edus GROUP BY destination HAVING COUNT(*) > $1
                 ) AS crowded
                 CROSS JOIN LATERAL (
                     SELECT position FROM outgoing_edus inner_e
                     WHERE inner_e.destination = crowded.destination
                     ORDER BY position DESC
                     OFFSET $1
                     LIMIT 1
                 ) AS last_kept
             ) AS surplus
             WHERE e.destination = surplus.destination AND e.position <= surplus.position",
            MAX_WAITING
        )
        .execute(self.conn())
        .await?;
        Ok(old.rows_affected() + surplus.rows_affected())
    }
}

impl Reader {
    /// The EDUs queued at positions, in order.
    pub async fn list_outgoing_edus_at(&mut self, positions: &[Position]) -> Result<Vec<OutgoingEdu>> {
        let positions: Vec<i64> = positions.iter().map(|position| position.0).collect();
        let rows = sqlx::query!(
            "SELECT destination, position, ordinal, edu_type, content
             FROM outgoing_edus
             WHERE position = ANY($1)
             ORDER BY position, ordinal",
            &positions
        )
        .fetch_all(self.conn())
        .await?;
        Ok(rows
            .into_iter()
            .map(|row| OutgoingEdu {
                destination: row.destination,
                place: EduPlace { position: Position(row.position), ordinal: row.ordinal },
                edu_type: row.edu_type,
                content: row.content,
            })
            .collect())
    }

    /// The EDUs that wait for a destination up to a position, in order, at most `limit`.
    pub async fn list_outgoing_edus(
        &mut self,
        destination: &str,
        up_to: Position,
        limit: i64,
    ) -> Result<Vec<OutgoingEdu>> {
        let rows = sqlx::query!(
            "SELECT destination, position, ordinal, edu_type, content
             FROM outgoing_edus
             WHERE destination = $1 AND position <= $2
             ORDER BY position, ordinal
             LIMIT $3",
            destination,
            up_to.0,
            limit
        )
        .fetch_all(self.conn())
        .await?;
        Ok(rows
            .into_iter()
            .map(|row| OutgoingEdu {
                destination: row.destination,
                place: EduPlace { position: Position(row.position), ordinal: row.ordinal },
                edu_type: row.edu_type,
                content: row.content,
            })
            .collect())
    }
}

impl Store {
    /// Deletes the EDUs for a destination up to a place, which it has taken.
    pub async fn delete_outgoing_edus(&self, destination: &str, up_to: EduPlace) -> Result<()> {
        sqlx::query!(
            "DELETE FROM outgoing_edus WHERE destination = $1 AND (position, ordinal) <= ($2, $3)",
            destination,
            up_to.position.0,
            up_to.ordinal
        )
        .execute(self.pool())
        .await?;
        Ok(())
    }
}
