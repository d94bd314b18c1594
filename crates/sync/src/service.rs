//! The long poll.

use std::{future::Future, pin::Pin, sync::Arc, time::Duration};

use hs_e2ee::{E2ee, LocalDevice};
use hs_ephemeral::Ephemeral;
use hs_model::{ids::DeviceNid, stream::Position};
use hs_push::Push;
use hs_rooms::Rooms;
use hs_storage::{StorageError, Store, log::LogEntry, tail::LogApplier};
use tokio::{sync::watch, time::Instant};
use tokio_util::sync::CancellationToken;

use crate::{
    feed::Feeds,
    lazy_members::LazyMembers,
    sliding::{self, Answer, ConnectionKey, Connections, OpenConnection, RoomFactsCache, UserFactsCache},
    sticky::StickyEvents,
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

/// Why a request of sliding sync failed.
#[derive(Debug, thiserror::Error)]
pub enum SlidingError {
    /// There is no such position, or no longer, or it is another client's: the client has to begin anew.
    #[error("the position is not known")]
    UnknownPos,
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
    pub(crate) lazy_members: LazyMembers<DeviceNid>,
    pub(crate) sliding_members: LazyMembers<ConnectionKey>,
    pub(crate) connections: Connections,
    pub(crate) room_facts: RoomFactsCache,
    pub(crate) user_facts: UserFactsCache,
    pub(crate) sticky: StickyEvents,
    feeds: Feeds,
    pub(crate) options: SyncOptions,
    /// Ends long polls when the server stops.
    pub(crate) stop: CancellationToken,
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
        let sticky = StickyEvents::new(store.clone());
        Self {
            inner: Arc::new(Inner {
                store,
                rooms,
                ephemeral,
                e2ee,
                push,
                lazy_members: LazyMembers::new(),
                sliding_members: LazyMembers::new(),
                connections: Connections::new(),
                room_facts: RoomFactsCache::default(),
                user_facts: UserFactsCache::new(),
                sticky,
                feeds,
                options,
                stop,
            }),
        }
    }

    /// Begins at the present position of the log, which must be started and not yet followed. Returns what must be
    /// registered with it, after the caches that a response reads from.
    pub fn start(&self) -> Arc<dyn LogApplier> {
        let Inner { room_facts, sticky, feeds, .. } = &*self.inner;
        feeds.start();
        sticky.start();
        let (room_facts, sticky, feeds) = (room_facts.clone(), sticky.clone(), feeds.clone());
        Arc::new(Follower { room_facts, sticky, feeds })
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
            if request.with_encryption {
                let device = LocalDevice { user: request.user, device: request.device };
                let confirmed = request.to_device_since.unwrap_or(since);
                Box::pin(inner.e2ee.confirm_to_device(device, confirmed)).await?;
            }
        }
        let deadline = Instant::now() + request.timeout.min(inner.options.max_timeout);
        loop {
            // On the heap, and gone while this waits: there may be thousands who wait.
            let (response, position, mut news) = Box::pin(self.look(request)).await?;
            let may_wait = request.since.is_some() && !request.full_state;
            if !response.is_empty() || !may_wait || inner.stop.is_cancelled() {
                return Ok(response);
            }
            if !self.wait(&mut news, position, deadline).await {
                return Ok(response);
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

    /// What happened since the request's `pos`; waits for something to happen if it may.
    pub async fn sync_sliding(&self, request: &sliding::Request) -> Result<sliding::Response, SlidingError> {
        let inner = &self.inner;
        if let Some(pos) = request.pos {
            self.catch_up(pos.position).await.map_err(|error| match error {
                SyncError::TokenFromTheFuture => SlidingError::UnknownPos,
                SyncError::Storage(error) => SlidingError::Storage(error),
            })?;
        }
        let connection = sliding::open(inner, request).await?.ok_or(SlidingError::UnknownPos)?;
        if let Some(since) = request.extensions.to_device.and_then(|wanted| wanted.since)
            && self.catch_up(since).await.is_ok()
        {
            let device = LocalDevice { user: request.user, device: request.device };
            Box::pin(inner.e2ee.confirm_to_device(device, since)).await?;
        }
        let deadline = Instant::now() + request.timeout.min(inner.options.max_timeout);
        loop {
            let (answer, mut position, mut news) = Box::pin(self.look_sliding(request, &connection)).await?;
            let mut may_wait = answer.is_empty() && request.pos.is_some() && !inner.stop.is_cancelled();
            while may_wait {
                may_wait = self.wait(&mut news, position, deadline).await;
                // Presence wakes everybody who shares a room, and is not told here.
                if !may_wait || inner.feeds.has_lasting_news(request.user, position) {
                    break;
                }
                position = *news.borrow();
            }
            if !may_wait {
                return answer.finish(inner, request, &connection).await?.ok_or(SlidingError::UnknownPos);
            }
        }
    }

    /// As [`look`](Self::look), for sliding sync.
    async fn look_sliding(
        &self,
        request: &sliding::Request,
        connection: &OpenConnection,
    ) -> Result<(Answer, Position, watch::Receiver<Position>), StorageError> {
        let inner = &self.inner;
        let since = request.pos.map_or(Position::START, |pos| pos.position);
        let (snapshot, news) = inner.feeds.open(request.user, since).await?;
        inner.store.tail().wait_applied(snapshot.position).await;
        let position = snapshot.position;
        let answer = sliding::build(inner, request, connection, snapshot).await?;
        Ok((answer, position, news))
    }

    /// Waits for news after a position. `false` when the time is up, or the server stops.
    async fn wait(
        &self,
        news: &mut watch::Receiver<Position>,
        position: Position,
        deadline: Instant,
    ) -> bool {
        tokio::select! {
            biased;
            // An error: the feed was dropped, and has to be opened again.
            result = news.wait_for(|latest| *latest > position) => { let _ = result; true }
            () = tokio::time::sleep_until(deadline) => false,
            () = self.inner.stop.cancelled() => false,
        }
    }

    /// A token of another replica may be ahead of this one.
    pub(crate) async fn catch_up(&self, since: Position) -> Result<(), SyncError> {
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

/// Follows the log for all that syncs read from.
struct Follower {
    room_facts: RoomFactsCache,
    sticky: StickyEvents,
    feeds: Feeds,
}

impl LogApplier for Follower {
    fn apply<'a>(&'a self, entries: &'a [LogEntry]) -> Pin<Box<dyn Future<Output = ()> + Send + 'a>> {
        // The feeds wake long polls, which then read the rest.
        self.room_facts.apply(entries);
        self.sticky.apply(entries);
        self.feeds.apply(entries)
    }
}
