//! Leases: work that must run once is done by the replica that holds the lease, until it stops renewing it.

use std::time::Duration;

use crate::{Txn, error::Result};

impl Txn {
    /// Takes a lease or renews one's own. `false` when another holder has it.
    ///
    /// Time is the database's, so that replicas whose clocks differ agree.
    pub async fn acquire_lease(&mut self, name: &str, holder: &str, duration: Duration) -> Result<bool> {
        let done = sqlx::query!(
            "INSERT INTO leases (name, holder, expires_at)
             VALUES ($1, $2, (EXTRACT(EPOCH FROM clock_timestamp()) * 1000)::bigint + $3)
             ON CONFLICT (name) DO UPDATE SET holder = EXCLUDED.holder, expires_at = EXCLUDED.expires_at
             WHERE leases.holder = EXCLUDED.holder
               OR leases.expires_at < (EXTRACT(EPOCH FROM clock_timestamp()) * 1000)::bigint",
            name,
            holder,
            duration.as_millis() as i64
        )
        .execute(self.conn())
        .await?;
        Ok(done.rows_affected() == 1)
    }

    /// Gives a lease back early.
    pub async fn release_lease(&mut self, name: &str, holder: &str) -> Result<()> {
        sqlx::query!("DELETE FROM leases WHERE name = $1 AND holder = $2", name, holder)
            .execute(self.conn())
            .await?;
        Ok(())
    }
}
