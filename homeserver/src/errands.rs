//! Errands: what a change of an account brings about in all rooms of its user, done in the background by one replica.
//!
//! The errand is written down together with the change, and struck off when it is done, so that neither a crash nor a
//! failing database leaves rooms behind. Doing one twice does no harm.

use std::{future::ready, pin::Pin, sync::Arc, time::Duration};

use hs_rooms::{RoomActions, Sender, WriteError};
use hs_storage::{
    StorageError, Store,
    errands::{Errand, ErrandKind},
    log::{LogEntry, LogKind},
    tail::LogApplier,
};
use rand::RngExt as _;
use tokio::sync::Notify;

use crate::tasks::Tasks;

/// How often to look for errands that nobody told of: those of a command, or of a replica that has died.
const POLL_INTERVAL: Duration = Duration::from_secs(15);
/// How long an errand may take before another replica thinks that whoever does it has died.
const LEASE: Duration = Duration::from_mins(2);
/// How long to wait while another replica is at it, or after a failure.
const PAUSE: Duration = Duration::from_millis(500);
/// How many errands are looked up at once.
const ERRANDS_PER_LOOK: i64 = 20;
const LEASE_NAME: &str = "room-errands";

/// Does the errands.
#[derive(Clone, Debug)]
struct Worker {
    store: Store,
    actions: RoomActions,
    wake: Arc<Notify>,
    /// This replica, as the holder of the lease.
    holder: String,
}

/// Starts doing errands. Must be called before the log is followed.
pub(crate) fn start(tasks: &Tasks, store: &Store, actions: &RoomActions) {
    let wake = Arc::new(Notify::new());
    store.tail().register(Arc::new(Waker(wake.clone())));
    let holder = format!("{:016x}", rand::rng().random::<u64>());
    let worker = Worker { store: store.clone(), actions: actions.clone(), wake, holder };
    tasks.supervise("room errands", move || {
        let worker = worker.clone();
        async move { worker.run().await }
    });
}

/// Wakes the worker when an account has changed here.
#[derive(Debug)]
struct Waker(Arc<Notify>);

impl LogApplier for Waker {
    fn apply<'a>(&'a self, entries: &'a [LogEntry]) -> Pin<Box<dyn Future<Output = ()> + Send + 'a>> {
        let is_news =
            |entry: &LogEntry| entry.is_local && matches!(entry.kind, LogKind::Profile | LogKind::Session);
        if entries.iter().any(is_news) {
            self.0.notify_one();
        }
        Box::pin(ready(()))
    }
}

impl Worker {
    async fn run(&self) -> Result<(), StorageError> {
        loop {
            self.work_off().await?;
            // Running out of time is what usually happens.
            let _ = tokio::time::timeout(POLL_INTERVAL, self.wake.notified()).await;
        }
    }

    /// Does all errands there are.
    async fn work_off(&self) -> Result<(), StorageError> {
        loop {
            let errands = self.store.reader().await?.list_room_errands(ERRANDS_PER_LOOK).await?;
            if errands.is_empty() {
                return Ok(());
            }
            if !self.renew_lease().await? {
                tokio::time::sleep(PAUSE).await;
                continue;
            }
            let mut has_failed = false;
            for errand in &errands {
                has_failed |= !self.renew_lease().await? || !self.try_errand(errand).await?;
            }
            let mut txn = self.store.begin().await?;
            txn.release_lease(LEASE_NAME, &self.holder).await?;
            txn.commit().await?;
            if has_failed {
                tokio::time::sleep(PAUSE).await;
            }
        }
    }

    async fn renew_lease(&self) -> Result<bool, StorageError> {
        let mut txn = self.store.begin().await?;
        let is_ours = txn.acquire_lease(LEASE_NAME, &self.holder, LEASE).await?;
        txn.commit().await?;
        Ok(is_ours)
    }

    /// Does an errand and strikes it off; `false` when it has to be tried again.
    async fn try_errand(&self, errand: &Errand) -> Result<bool, StorageError> {
        if let Err(error) = self.do_errand(errand).await {
            tracing::warn!(%error, ?errand, "could not bring a change of an account into all rooms; trying again");
            return Ok(false);
        }
        let mut txn = self.store.begin().await?;
        txn.delete_room_errand(errand).await?;
        txn.commit().await?;
        Ok(true)
    }

    async fn do_errand(&self, errand: &Errand) -> Result<(), WriteError> {
        let mut ids = self.store.user_ids(&[errand.user]).await?;
        let Some(user_id) = ids.remove(&errand.user) else { return Ok(()) };
        let user = Sender { nid: errand.user, user_id };
        match errand.kind {
            ErrandKind::ShowProfile => self.actions.show_profile_everywhere(&user).await,
            ErrandKind::Leave => self.actions.leave_everywhere(&user).await,
        }
    }
}
