//! The lease that says which replica sends.

use std::time::Duration;

use hs_storage::{StorageError, Store, Txn};
use parking_lot::Mutex;
use tokio::time::{Instant, sleep_until, timeout_at};

const NAME: &str = "federation-sender";

/// The lease, as this replica knows it.
#[derive(Debug)]
pub(super) struct Lease {
    store: Store,
    holder: String,
    duration: Duration,
    /// Until when nobody else can have it.
    until: Mutex<Instant>,
}

impl Lease {
    pub(super) fn new(store: Store, holder: String, duration: Duration) -> Self {
        Self { store, holder, duration, until: Mutex::new(Instant::now()) }
    }

    /// Takes the lease or renews it. `false` when another replica has it.
    pub(super) async fn acquire(&self) -> Result<bool, StorageError> {
        // The time in the database begins later than this one, so that it does not end earlier.
        let until = Instant::now() + self.duration;
        let Some(txn) = self.begin().await? else { return Ok(false) };
        txn.commit().await?;
        *self.until.lock() = until;
        Ok(true)
    }

    /// A transaction that is written only if this replica has the lease. `None` when another one has it.
    pub(super) async fn begin(&self) -> Result<Option<Txn>, StorageError> {
        let mut txn = self.store.begin().await?;
        if txn.acquire_lease(NAME, &self.holder, self.duration).await? {
            return Ok(Some(txn));
        }
        txn.rollback().await?;
        Ok(None)
    }

    /// Whether nobody else can have the lease.
    pub(super) fn is_held(&self) -> bool {
        Instant::now() < *self.until.lock()
    }

    /// Renews the lease again and again. Returns when it is lost, and not later than another replica may take it.
    pub(super) async fn keep(&self) -> Result<(), StorageError> {
        loop {
            let until = *self.until.lock();
            let renewed = async {
                sleep_until(until - self.duration * 3 / 4).await;
                self.acquire().await
            };
            match timeout_at(until, renewed).await {
                Ok(Ok(true)) => {}
                Ok(Err(error)) => return Err(error),
                Ok(Ok(false)) | Err(_) => return Ok(()),
            }
        }
    }

    /// Leaves the lease to others.
    pub(super) async fn release(&self) -> Result<(), StorageError> {
        let mut txn = self.store.begin().await?;
        txn.release_lease(NAME, &self.holder).await?;
        txn.commit().await
    }
}

#[cfg(test)]
mod tests {
    use hs_testkit::TestDb;

    use super::*;

    fn lease(store: &Store, holder: &str, duration: Duration) -> Lease {
        Lease::new(store.clone(), holder.to_owned(), duration)
    }

    #[tokio::test]
    async fn a_lease_that_is_kept_is_nobody_elses() {
        let db = TestDb::new().await;
        let store = db.store().await;
        let first = lease(&store, "first", Duration::from_secs(2));
        let second = lease(&store, "second", Duration::from_secs(2));
        assert!(!first.is_held());
        assert!(first.acquire().await.unwrap() && first.is_held());
        let taken_until = *first.until.lock();

        let others_try = async {
            while Instant::now() < taken_until {
                assert!(!second.acquire().await.unwrap());
            }
        };
        tokio::select! {
            kept = first.keep() => panic!("lost: {kept:?}"),
            () = others_try => {}
        }

        assert!(first.is_held() && !second.is_held());
        assert!(*first.until.lock() > taken_until);
    }

    #[tokio::test]
    async fn a_lease_that_another_has_is_lost() {
        let db = TestDb::new().await;
        let store = db.store().await;
        let first = lease(&store, "first", Duration::from_secs(2));
        let second = lease(&store, "second", Duration::from_secs(2));
        assert!(first.acquire().await.unwrap());
        // As if the database's time had run ahead.
        first.release().await.unwrap();
        assert!(second.acquire().await.unwrap());

        first.keep().await.unwrap();

        assert!(second.is_held() && second.begin().await.unwrap().is_some());
        assert!(first.begin().await.unwrap().is_none());
    }
}
