//! Work that comes round by itself. Each job holds a lease, so that one replica does it; when that replica dies, another
//! takes over after the lease has lapsed.

use std::time::Duration;

use anyhow::Result;
use hs_e2ee::E2ee;
use hs_model::{
    clock::{Clock as _, SystemClock},
    ids::RoomNid,
};
use hs_storage::Store;
use rand::RngExt as _;

use crate::tasks::Tasks;

/// How often the jobs come round. A day's worth of what they clear away does no harm.
const INTERVAL: Duration = Duration::from_hours(24);
/// How many entries of the log are kept for followers that lag behind.
const KEPT_LOG_ENTRIES: i64 = 1_000_000;
/// How long the job may take for one batch of rooms before another replica thinks that its holder has died.
const LEASE: Duration = Duration::from_mins(10);
/// How long a device may be away before its connections of sliding sync have to begin anew.
const IDLE_CONNECTIONS: Duration = Duration::from_hours(30 * 24);
/// How long a message to a device of another server waits for that server.
const OUTGOING_EDUS: Duration = Duration::from_hours(60 * 24);
/// How many rooms are read at once.
const ROOMS_PER_BATCH: i64 = 100;

/// Starts all jobs.
pub(crate) fn start(tasks: &Tasks, store: &Store, e2ee: &E2ee) {
    let (store, e2ee) = (store.clone(), e2ee.clone());
    tasks.supervise("housekeeping", move || {
        let (store, e2ee) = (store.clone(), e2ee.clone());
        async move {
            loop {
                // Replicas that start together do not all ask at the same moment.
                let spread = rand::rng().random_range(0.5..1.0);
                tokio::time::sleep(INTERVAL.mul_f64(spread)).await;
                collect_state_groups(&store).await?;
                prune_log(&store).await?;
                e2ee.delete_old_messages().await?;
                e2ee.delete_unused_lists().await?;
                delete_idle_connections(&store).await?;
                delete_expired_sticky_events(&store).await?;
                delete_undeliverable(&store).await?;
            }
            #[expect(unreachable_code, reason = "tells the type of the loop that never ends")]
            Ok::<(), anyhow::Error>(())
        }
    });
}

/// Deletes state groups that nothing refers to, room by room. Returns how many went.
async fn collect_state_groups(store: &Store) -> Result<u64> {
    const NAME: &str = "state-group-collection";
    let holder = format!("{:016x}", rand::rng().random::<u64>());
    let mut deleted = 0;
    let mut after = RoomNid(0);
    loop {
        let mut txn = store.begin().await?;
        let is_ours = txn.acquire_lease(NAME, &holder, LEASE).await?;
        txn.commit().await?;
        if !is_ours {
            return Ok(deleted);
        }
        let rooms = store.reader().await?.list_room_nids(after, ROOMS_PER_BATCH).await?;
        let Some(last) = rooms.last() else { break };
        after = *last;
        for room in rooms {
            // One short transaction for each room: nobody waits for the job.
            let mut txn = store.begin().await?;
            deleted += txn.delete_unused_state_groups(room).await?;
            txn.commit().await?;
        }
    }
    let mut txn = store.begin().await?;
    txn.release_lease(NAME, &holder).await?;
    txn.commit().await?;
    tracing::info!(deleted, "collected unused state groups");
    Ok(deleted)
}

/// Shortens the log. Two replicas doing so at once do no harm.
async fn prune_log(store: &Store) -> Result<()> {
    let mut txn = store.begin().await?;
    let deleted = txn.prune_log(KEPT_LOG_ENTRIES).await?;
    txn.commit().await?;
    tracing::info!(deleted, "pruned the log");
    Ok(())
}

/// Deletes what waits for servers that have been away for so long that nobody reads it any more.
async fn delete_undeliverable(store: &Store) -> Result<()> {
    let before = SystemClock.now_ms() - OUTGOING_EDUS.as_millis() as i64;
    let mut txn = store.begin().await?;
    let edus = txn.delete_stale_outgoing_edus(before).await?;
    let forwarded = txn.delete_settled_forwarded_events().await?;
    txn.commit().await?;
    tracing::info!(edus, forwarded, "cleared what waits for other servers");
    Ok(())
}

/// Forgets what devices that nobody uses any more were told by sliding sync.
async fn delete_idle_connections(store: &Store) -> Result<()> {
    let before = SystemClock.now_ms() - IDLE_CONNECTIONS.as_millis() as i64;
    let mut txn = store.begin().await?;
    let deleted = txn.delete_idle_sliding_connections(before).await?;
    txn.commit().await?;
    tracing::info!(deleted, "deleted idle connections of sliding sync");
    Ok(())
}

/// Forgets which events were sticky.
async fn delete_expired_sticky_events(store: &Store) -> Result<()> {
    let mut txn = store.begin().await?;
    let deleted = txn.delete_expired_sticky_events(SystemClock.now_ms()).await?;
    txn.commit().await?;
    tracing::info!(deleted, "forgot expired sticky events");
    Ok(())
}
