//! The handle of the sender, and which replica sends.

use std::{collections::HashSet, fmt, sync::Arc, time::Duration};

use hs_e2ee::E2ee;
use hs_model::clock::Clock;
use hs_rooms::Rooms;
use hs_storage::{StorageError, Store, tail::LogApplier};
use metrics::counter;
use parking_lot::{Mutex, RwLock};
use ruma::{OwnedServerName, ServerName};
use tokio::{
    sync::{Notify, Semaphore},
    time::Instant,
};
use tokio_util::sync::CancellationToken;

use super::{
    catch_up::{CatchUp, MAX_PLANNING},
    device_updates::DeviceUpdates,
    feed::Feed,
    follower::Follower,
    lease::Lease,
    serving::Serving,
    transaction::{Transaction, Transport},
};

/// How many servers that made themselves heard are remembered until there is time to look at them.
const MAX_HEARD: usize = 10_000;
/// How often a replica that does not send looks which servers the other one waits for.
const WAITING_REFRESH: Duration = Duration::from_secs(15);

/// Whether something may be sent to a server.
pub type IsAllowed = Arc<dyn Fn(&ServerName) -> bool + Send + Sync>;

/// How the sender works.
#[derive(Clone)]
pub struct SenderOptions {
    /// This replica, as the holder of the lease.
    pub holder: String,
    /// To which servers something may be sent.
    pub is_allowed: IsAllowed,
    /// How often progress is written down and retries that have come due are looked for.
    pub tick: Duration,
    /// How long a replica that has died holds the others up.
    pub lease: Duration,
    /// How long something may wait in memory before it is noted which server lacks it.
    pub patience: Duration,
    /// How long to wait for what is under way when this replica stops.
    pub drain: Duration,
    /// How long a server may take for a transaction.
    pub timeout: Duration,
    /// How many transactions are under way at the same time.
    pub max_sending: usize,
    /// How many servers are told what they have missed at the same time; those that have not been answering count here.
    pub max_catching_up: usize,
}

impl SenderOptions {
    /// Usual values; `holder` names this replica.
    pub fn new(holder: String) -> Self {
        Self {
            holder,
            is_allowed: Arc::new(|_| true),
            tick: Duration::from_secs(1),
            lease: Duration::from_secs(10),
            patience: Duration::from_secs(5),
            drain: Duration::from_secs(3),
            timeout: Duration::from_mins(1),
            max_sending: 256,
            max_catching_up: 32,
        }
    }
}

impl fmt::Debug for SenderOptions {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("SenderOptions").field("holder", &self.holder).finish_non_exhaustive()
    }
}

/// Sends to other servers what happens here. Cloning is cheap.
#[derive(Clone, Debug)]
pub struct Sender {
    pub(super) inner: Arc<Inner>,
}

#[derive(Debug)]
pub(super) struct Inner {
    pub(super) store: Store,
    pub(super) clock: Arc<dyn Clock>,
    pub(super) options: SenderOptions,
    pub(super) lease: Lease,
    pub(super) own_name: OwnedServerName,
    pub(super) transport: Arc<dyn Transport>,
    pub(super) follower: Follower,
    pub(super) catch_up: CatchUp,
    pub(super) feed: Arc<Feed>,
    pub(super) wake: Arc<Notify>,
    /// The servers that do not answer, as far as this replica knows.
    pub(super) waiting: RwLock<HashSet<OwnedServerName>>,
    /// Those of them that have made themselves heard.
    pub(super) heard: Mutex<HashSet<OwnedServerName>>,
}

impl Sender {
    /// A sender for `rooms`; its [`applier`](Self::applier) must be registered with the log after that of the rooms.
    pub fn new(
        rooms: Rooms,
        e2ee: E2ee,
        clock: Arc<dyn Clock>,
        transport: Arc<dyn Transport>,
        options: SenderOptions,
    ) -> Self {
        let store = rooms.store().clone();
        let own_name = rooms.server_name().to_owned();
        let updates = DeviceUpdates::new(store.clone(), e2ee, own_name.clone());
        let wake = Arc::new(Notify::new());
        let catch_up = CatchUp {
            store: store.clone(),
            rooms: rooms.clone(),
            updates: updates.clone(),
            transport: transport.clone(),
            clock: clock.clone(),
            own_name: own_name.clone(),
            planning: Arc::new(Semaphore::new(MAX_PLANNING)),
            timeout: options.timeout,
        };
        let inner = Inner {
            follower: Follower { store: store.clone(), rooms, updates, own_name: own_name.clone() },
            feed: Arc::new(Feed::new(own_name.clone(), wake.clone())),
            lease: Lease::new(store.clone(), options.holder.clone(), options.lease),
            store,
            clock,
            options,
            own_name,
            transport,
            catch_up,
            wake,
            waiting: RwLock::default(),
            heard: Mutex::default(),
        };
        Self { inner: Arc::new(inner) }
    }

    /// What must be registered with the log before it is followed.
    pub fn applier(&self) -> Arc<dyn LogApplier> {
        self.inner.feed.clone()
    }

    /// A request of another server has come in: if it was given up for a while, it is tried again at once. Costs next to
    /// nothing otherwise.
    pub fn heard_from(&self, server: &ServerName) {
        if !self.inner.waiting.read().contains(server) {
            return;
        }
        let mut heard = self.inner.heard.lock();
        if heard.len() < MAX_HEARD && heard.insert(server.to_owned()) {
            self.inner.wake.notify_one();
        }
    }

    /// Sends while this replica holds the lease, and waits for it otherwise, until `stop` is cancelled.
    pub async fn run(&self, stop: CancellationToken) -> Result<(), StorageError> {
        let mut next_refresh = Instant::now();
        while !stop.is_cancelled() {
            if self.inner.lease.acquire().await? {
                let ended = self.serve(&stop).await;
                self.inner.feed.close();
                ended?;
                continue;
            }
            if Instant::now() >= next_refresh {
                self.inner.refresh_waiting().await?;
                next_refresh = Instant::now() + WAITING_REFRESH;
            }
            self.inner.report_heard().await?;
            tokio::select! {
                () = stop.cancelled() => {}
                () = self.inner.wake.notified() => {}
                () = tokio::time::sleep(self.inner.options.lease / 4) => {}
            }
        }
        Ok(())
    }

    /// Sends until the lease is lost or `stop` is cancelled.
    async fn serve(&self, stop: &CancellationToken) -> Result<(), StorageError> {
        let is_settled = tokio::select! {
            biased;
            // However long the work takes. What is under way is broken off together with it.
            lost = self.inner.lease.keep() => {
                lost?;
                false
            }
            worked = self.work(stop) => worked?,
        };
        if is_settled {
            self.inner.lease.release().await?;
        } else if !stop.is_cancelled() {
            tracing::info!("another replica sends to other servers from now on");
        }
        Ok(())
    }

    /// As long as this replica has the lease. `true` when it stops and has written down how far it has come.
    async fn work(&self, stop: &CancellationToken) -> Result<bool, StorageError> {
        // Opened before the position is read: what comes from now on is kept, what came before is in the database.
        self.inner.feed.open(self.inner.store.applied());
        let mut serving = Serving::start(self.inner.clone()).await?;
        tracing::debug!("sending to other servers");
        serving.run(stop).await?;
        if !stop.is_cancelled() {
            return Ok(false);
        }
        serving.drain(self.inner.options.drain).await?;
        serving.settle(Duration::ZERO).await
    }
}

impl Inner {
    /// Learns which servers the replica that sends waits for.
    async fn refresh_waiting(&self) -> Result<(), StorageError> {
        let rows = self.store.reader().await?.list_unsettled_destinations().await?;
        let now_ms = self.clock.now_ms();
        let names = rows
            .into_iter()
            .filter(|row| row.retry_at.is_some_and(|retry_at| retry_at > now_ms))
            .filter_map(|row| OwnedServerName::try_from(row.server_name).ok());
        *self.waiting.write() = names.collect();
        Ok(())
    }

    /// Tells the replica that sends which servers this one has heard of.
    async fn report_heard(&self) -> Result<(), StorageError> {
        let heard = std::mem::take(&mut *self.heard.lock());
        for server in heard {
            self.waiting.write().remove(&server);
            let mut txn = self.store.begin().await?;
            txn.note_destination_heard(server.as_str()).await?;
            txn.commit().await?;
        }
        Ok(())
    }
}

/// Counts what a server has taken.
pub(super) fn count_sent(transaction: &Transaction) {
    counter!("kith_federation_sent_transactions_total").increment(1);
    counter!("kith_federation_sent_pdus_total").increment(transaction.pdus.len() as u64);
    counter!("kith_federation_sent_edus_total").increment(transaction.edus.len() as u64);
}
