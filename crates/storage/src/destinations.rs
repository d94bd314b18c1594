//! How far other servers have been told of what happened here.
//!
//! The sender of the federation follows the log from one position for all servers. A server that does not take what it is
//! sent has a row that says since when: before the sender's position moves past what a server lacks, its row covers it.

use hs_model::{
    ids::{EventNid, RoomNid},
    stream::Position,
};

use crate::{Reader, Txn, error::Result, log::LogKind};

/// What is kept of a server.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct DestinationRow {
    /// Its name.
    pub server_name: String,
    /// What happened after this position may not have been delivered; `None` when all was.
    pub pending_since: Option<Position>,
    /// Since when nothing gets through, in milliseconds; `None` when the last attempt did.
    pub failing_since: Option<i64>,
    /// Nothing is sent before, in milliseconds.
    pub retry_at: Option<i64>,
    /// Attempts that failed in a row.
    pub failures: i32,
    /// When something last got through after it had not, in milliseconds.
    pub last_success_at: Option<i64>,
}

impl Reader {
    /// How far the log has been worked off for other servers.
    pub async fn find_sender_position(&mut self) -> Result<Position> {
        let position =
            sqlx::query_scalar!("SELECT position FROM federation_sender").fetch_one(self.conn()).await?;
        Ok(Position(position))
    }

    /// The servers that lack something, or that do not answer.
    pub async fn list_unsettled_destinations(&mut self) -> Result<Vec<DestinationRow>> {
        let rows = sqlx::query!(
            "SELECT server_name, pending_since, failing_since, retry_at, failures, last_success_at
             FROM destinations
             WHERE pending_since IS NOT NULL OR failing_since IS NOT NULL
             ORDER BY server_name"
        )
        .fetch_all(self.conn())
        .await?;
        Ok(rows
            .into_iter()
            .map(|row| DestinationRow {
                server_name: row.server_name,
                pending_since: row.pending_since.map(Position),
                failing_since: row.failing_since,
                retry_at: row.retry_at,
                failures: row.failures,
                last_success_at: row.last_success_at,
            })
            .collect())
    }

    /// The names of servers by their numbers, as [`LogKind::DestinationHeard`] gives them.
    pub async fn list_destination_names(&mut self, nids: &[i64]) -> Result<Vec<String>> {
        let names = sqlx::query_scalar!(
            "SELECT server_name FROM destinations WHERE destination_nid = ANY($1) ORDER BY destination_nid",
            nids
        )
        .fetch_all(self.conn())
        .await?;
        Ok(names)
    }
}

impl Txn {
    /// Notes how far the log has been worked off for other servers.
    pub async fn set_sender_position(&mut self, position: Position) -> Result<()> {
        sqlx::query!("UPDATE federation_sender SET position = $1 WHERE position < $1", position.0)
            .execute(self.conn())
            .await?;
        Ok(())
    }

    /// Writes what is to be kept of servers, each at most once.
    pub async fn upsert_destinations(&mut self, rows: &[DestinationRow]) -> Result<()> {
        let names: Vec<&str> = rows.iter().map(|row| row.server_name.as_str()).collect();
        let pending: Vec<Option<i64>> =
            rows.iter().map(|row| row.pending_since.map(|position| position.0)).collect();
        let failing: Vec<Option<i64>> = rows.iter().map(|row| row.failing_since).collect();
        let retry: Vec<Option<i64>> = rows.iter().map(|row| row.retry_at).collect();
        let failures: Vec<i32> = rows.iter().map(|row| row.failures).collect();
        let successes: Vec<Option<i64>> = rows.iter().map(|row| row.last_success_at).collect();
        sqlx::query!(
            "INSERT INTO destinations
               (server_name, pending_since, failing_since, retry_at, failures, last_success_at)
             SELECT new.* FROM UNNEST($1::text[], $2::bigint[], $3::bigint[], $4::bigint[], $5::int[], $6::bigint[])
                 AS new (server_name, pending_since, failing_since, retry_at, failures, last_success_at)
             ORDER BY new.server_name
             ON CONFLICT (server_name) DO UPDATE
             SET pending_since = EXCLUDED.pending_since, failing_since = EXCLUDED.failing_since,
               retry_at = EXCLUDED.retry_at, failures = EXCLUDED.failures,
               last_success_at = COALESCE(EXCLUDED.last_success_at, destinations.last_success_at)",
            &names as &[&str],
            &pending as &[Option<i64>],
            &failing as &[Option<i64>],
            &retry as &[Option<i64>],
            &failures,
            &successes as &[Option<i64>]
        )
        .execute(self.conn())
        .await?;
        Ok(())
    }

    /// Notes that every server that shares a room with this one may lack what happened after a position: for when the log
    /// has been pruned further than the sender had come.
    pub async fn doubt_all_destinations(&mut self, own_name: &str, since: Position) -> Result<()> {
        sqlx::query!(
            "INSERT INTO destinations (server_name, pending_since)
             SELECT known.server_name, $2::bigint
             FROM (
                 SELECT u.server_name
                 FROM users u
                 WHERE EXISTS (SELECT FROM memberships m WHERE m.user_nid = u.user_nid AND m.membership = 2)
                 UNION
                 SELECT UNNEST(p.servers) FROM partial_rooms p WHERE p.whole_at IS NULL
             ) AS known
             WHERE known.server_name <> $1
             ORDER BY known.server_name
             ON CONFLICT (server_name) DO UPDATE
             SET pending_since = LEAST(destinations.pending_since, EXCLUDED.pending_since)",
            own_name,
            since.0
        )
        .execute(self.conn())
        .await?;
        Ok(())
    }

    /// Notes that a server that did not answer has made itself heard, for the replica that sends. `false` when it was not
    /// waited for. Takes a position: call it last.
    pub async fn note_destination_heard(&mut self, server_name: &str) -> Result<bool> {
        let nid = sqlx::query_scalar!(
            "UPDATE destinations SET retry_at = NULL
             WHERE server_name = $1 AND retry_at IS NOT NULL
             RETURNING destination_nid",
            server_name
        )
        .fetch_optional(self.conn())
        .await?;
        let Some(nid) = nid else { return Ok(false) };
        self.log_about(LogKind::DestinationHeard, None, None, Some(nid)).await?;
        Ok(true)
    }

    /// Has an event that was made elsewhere sent to the servers of its room, once. Takes a position: call it last.
    pub async fn forward_event(&mut self, room: RoomNid, event: EventNid) -> Result<()> {
        let is_known = sqlx::query_scalar!(
            r#"SELECT EXISTS (SELECT FROM forwarded_events WHERE event_nid = $1) AS "is_known!""#,
            event.0
        )
        .fetch_one(self.conn())
        .await?;
        if is_known {
            return Ok(());
        }
        let position = self.log_about(LogKind::ForwardedEvent, Some(room), None, Some(event.0)).await?;
        // Two at once each take a position; that the event is sent twice does no harm.
        sqlx::query!(
            "INSERT INTO forwarded_events (event_nid, position) VALUES ($1, $2) ON CONFLICT DO NOTHING",
            event.0,
            position.0
        )
        .execute(self.conn())
        .await?;
        Ok(())
    }

    /// Forgets which events were forwarded, where no server lacks them any more. Returns how many that were.
    pub async fn delete_settled_forwarded_events(&mut self) -> Result<u64> {
        let done = sqlx::query!(
            "DELETE FROM forwarded_events
             WHERE position <= (SELECT position FROM federation_sender)
               AND position <= COALESCE((SELECT MIN(pending_since) FROM destinations), position)"
        )
        .execute(self.conn())
        .await?;
        Ok(done.rows_affected())
    }
}
