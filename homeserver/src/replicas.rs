//! Knowing of other replicas: each announces itself in the database before it serves, and again and again.

use std::time::Duration;

use hs_storage::{StorageError, Store};

use crate::tasks::Tasks;

/// How often a replica says that it is alive.
const INTERVAL: Duration = Duration::from_millis(1500);
/// How long a replica counts as alive after it has said so.
const ALIVE_FOR: Duration = Duration::from_secs(10);

/// Announces this process. Must be awaited before it serves, so that those that run already know of it.
pub(crate) async fn start(tasks: &Tasks, store: &Store, replica: String) -> Result<(), StorageError> {
    announce(store, &replica).await?;
    let mut txn = store.begin().await?;
    txn.greet_replicas().await?;
    txn.commit().await?;
    let (store, stop) = (store.clone(), tasks.stop_token());
    tasks.spawn("replica announcements", async move {
        loop {
            tokio::select! {
                () = stop.cancelled() => break,
                () = tokio::time::sleep(INTERVAL) => {}
            }
            if let Err(error) = announce(&store, &replica).await {
                // Better a query too many than a client that is told old news.
                store.set_other_replicas(true);
                tracing::debug!(%error, "could not look for other replicas");
            }
        }
        if let Err(error) = dismiss(&store, &replica).await {
            tracing::debug!(%error, "could not take leave of other replicas");
        }
    });
    Ok(())
}

async fn announce(store: &Store, replica: &str) -> Result<(), StorageError> {
    // Whoever comes after this question greets, and who listens already hears it.
    let is_listening = store.tail().is_listening();
    let mut txn = store.begin().await?;
    let count = txn.announce_replica(replica, ALIVE_FOR).await?;
    txn.commit().await?;
    store.set_other_replicas(count > 1 || !is_listening);
    Ok(())
}

async fn dismiss(store: &Store, replica: &str) -> Result<(), StorageError> {
    let mut txn = store.begin().await?;
    txn.dismiss_replica(replica).await?;
    txn.commit().await
}
