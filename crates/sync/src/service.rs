//! The long poll.

use std::{sync::Arc, time::Duration};

use hs_e2ee::{E2ee, LocalDevice};
use hs_ephemeral::Ephemeral;
use hs_model::stream::Position;
use hs_push::Push;
use hs_rooms::Rooms;
use hs_storage::{StorageError, Store, tail::LogApplier};
use tokio::{sync::watch, time::Instant};
use tokio_util::sync::CancellationToken;

use crate::{
    feed::Feeds,
    lazy_members::LazyMembers,
    v3::{self, Request, Response},
};

/// What [`Sync`] needs to know.
#[derive(Clone, Debug)]
pub struct SyncOptions {
    /// The longest wait, whatever the client asks for.
    pub max_timeout: Duration,
}

impl Default for SyncOptions {
    fn default() -> Self {
        // Proxies commonly give up after a minute.
        Self { max_timeout: Duration::from_secs(50) }
    }
}

/// Why a sync failed.
#[derive(Debug, thiserror::Error)]
pub enum SyncError {
    /// The token is from a later time than this server's log: the database was set back.
    #[error("the token is from the future")]
    TokenFromTheFuture,
    /// The database failed.
    #[error(transparent)]
    Storage(#[from] StorageError),
}

/// Answers syncs.
#[derive(Clone, Debug)]
pub struct Sync {
    pub(crate) inner: Arc<Inner>,
}

#[derive(Debug)]
pub(crate) struct Inner {
    pub(crate) store: Store,
    pub(crate) rooms: Rooms,
    pub(crate) ephemeral: Ephemeral,
    pub(crate) e2ee: E2ee,
    pub(crate) push: Push,
    pub(crate) lazy_members: LazyMembers,
    feeds: Feeds,
    options: SyncOptions,
    /// Ends long polls when the server stops.
    stop: CancellationToken,
}

impl Sync {
    /// A sync over these rooms; `stop` ends long polls early, with what there is.
    pub fn new(
        store: Store,
        rooms: Rooms,
        ephemeral: Ephemeral,
        e2ee: E2ee,
        push: Push,
        options: SyncOptions,
        stop: CancellationToken,
    ) -> Self {
        let feeds = Feeds::new(store.clone(), rooms.clone());
        let lazy_members = LazyMembers::new();
        Self {
            inner: Arc::new(Inner {
                store,
                rooms,
                ephemeral,
                e2ee,
                push,
                lazy_members,
                feeds,
                options,
                stop,
            }),
        }
    }

    /// Begins at the present position of the log, which must be started and not yet followed. Returns what must be
    /// registered with it, after the caches that a response reads from.
    pub fn start(&self) -> Arc<dyn LogApplier> {
        self.inner.feeds.start();
        Arc::new(self.inner.feeds.clone())
    }

    /// How many users are syncing at this process.
    pub fn active_users(&self) -> usize {
        self.inner.feeds.count()
    }

    /// What happened since the request's token; waits for something to happen if it may.
    pub async fn sync_v3(&self, request: &Request) -> Result<Response, SyncError> {
        let inner = &self.inner;
        if let Some(since) = request.since {
            Box::pin(self.catch_up(since)).await?;
            let device = LocalDevice { user: request.user, device: request.device };
            let confirmed = request.to_device_since.unwrap_or(since);
            Box::pin(inner.e2ee.confirm_to_device(device, confirmed)).await?;
        }
        let deadline = Instant::now() + request.timeout.min(inner.options.max_timeout);
        loop {
            // On the heap, and gone while this waits: there may be thousands who wait.
            let (response, position, mut news) = Box::pin(self.look(request)).await?;
            let may_wait = request.since.is_some() && !request.full_state;
            if !response.is_empty() || !may_wait || inner.stop.is_cancelled() {
                return Ok(response);
            }
            let changed = news.wait_for(|latest| *latest > position);
            tokio::select! {
                biased;
                // The feed was dropped: open it again.
                result = changed => { let _ = result; }
                () = tokio::time::sleep_until(deadline) => return Ok(response),
                () = inner.stop.cancelled() => return Ok(response),
            }
        }
    }

    /// What there is to tell now, as of which position, and a watch on what comes after it.
    async fn look(
        &self,
        request: &Request,
    ) -> Result<(Response, Position, watch::Receiver<Position>), SyncError> {
        let inner = &self.inner;
        let since = request.since.unwrap_or(Position::START);
        let (snapshot, news) = inner.feeds.open(request.user, since).await?;
        inner.store.tail().wait_applied(snapshot.position).await;
        let position = snapshot.position;
        let response = v3::build(inner, request, snapshot).await?;
        Ok((response, position, news))
    }

    /// A token of another replica may be ahead of this one.
    async fn catch_up(&self, since: Position) -> Result<(), SyncError> {
        let store = &self.inner.store;
        if store.applied() >= since {
            return Ok(());
        }
        if store.reader().await?.find_log_head().await? < since {
            return Err(SyncError::TokenFromTheFuture);
        }
        store.tail().wait_applied(since).await;
        Ok(())
    }
}
