//! Which processes serve this database, and what a process owes to its clients while there are several.

use std::time::Duration;

use crate::{Store, Txn, error::Result, tail::NEW_REPLICA};

impl Txn {
    /// Says that a replica is alive for a while, forgets those that are not, and returns how many there are. Of two that
    /// announce themselves at once, the later one counts the other.
    pub async fn announce_replica(&mut self, replica: &str, alive_for: Duration) -> Result<i64> {
        sqlx::query!("LOCK TABLE replicas IN SHARE ROW EXCLUSIVE MODE").execute(self.conn()).await?;
        sqlx::query!(
            "DELETE FROM replicas WHERE alive_until < (EXTRACT(EPOCH FROM clock_timestamp()) * 1000)::bigint"
        )
        .execute(self.conn())
        .await?;
        sqlx::query!(
            "INSERT INTO replicas (replica, alive_until)
             VALUES ($1, (EXTRACT(EPOCH FROM clock_timestamp()) * 1000)::bigint + $2)
             ON CONFLICT (replica) DO UPDATE SET alive_until = EXCLUDED.alive_until",
            replica,
            alive_for.as_millis() as i64
        )
        .execute(self.conn())
        .await?;
        let count = sqlx::query_scalar!(r#"SELECT count(*) AS "count!" FROM replicas"#)
            .fetch_one(self.conn())
            .await?;
        Ok(count)
    }

    /// Tells those that serve already that they are no longer alone, when this transaction commits.
    pub async fn greet_replicas(&mut self) -> Result<()> {
        sqlx::query!("SELECT pg_notify('kith_log', $1)::text AS news", NEW_REPLICA)
            .fetch_one(self.conn())
            .await?;
        Ok(())
    }

    /// Says that a replica is gone.
    pub async fn dismiss_replica(&mut self, replica: &str) -> Result<()> {
        sqlx::query!("DELETE FROM replicas WHERE replica = $1", replica).execute(self.conn()).await?;
        Ok(())
    }
}

impl Store {
    /// Waits until this process knows what any replica had committed when it was called. Costs nothing while there is only
    /// one.
    pub async fn catch_up(&self) -> Result<()> {
        if !self.has_other_replicas() {
            return Ok(());
        }
        let head = self.reader().await?.find_log_head().await?;
        self.tail().wait_applied(head).await;
        Ok(())
    }
}
