//! The log as this process has seen it: applies entries in order to the caches, then wakes those who wait.
//!
//! Commits of this process arrive through `LogTail::submit`, with the events themselves; commits of other replicas are
//! announced by `NOTIFY` and read from the log. Both are applied strictly in order of position. An announcement names the
//! process that committed, since our own often overtake what is handed in, which is worth waiting for: what is read from the
//! log costs queries, and caches take it for somebody else's doing.

use std::{
    collections::BTreeMap,
    fmt,
    future::Future,
    pin::Pin,
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicI64, Ordering},
    },
    time::Duration,
};

use futures_util::FutureExt;
use hs_model::{
    ids::{EventNid, RoomNid, UserNid},
    stream::Position,
};
use parking_lot::{Mutex, RwLock};
use sqlx::postgres::PgListener;
use tokio::{
    sync::{Notify, watch},
    time::Instant,
};

use crate::{
    Store,
    error::Result,
    log::{LogEntry, LogKind},
};

/// How often the head of the log is looked at when no news comes: the net under a lost notification.
const POLL_INTERVAL: Duration = Duration::from_secs(2);
/// How long to wait for what this process has committed to be handed in: a task that is dropped right after its commit never
/// does.
const OWN_PATIENCE: Duration = Duration::from_millis(50);
/// How many entries of other replicas are read at once.
const READ_LIMIT: i64 = 1000;

/// What a replica sends when it begins to serve, instead of a position.
pub(crate) const NEW_REPLICA: &str = "new replica";

/// A cache that follows the log.
pub trait LogApplier: Send + Sync {
    /// Takes note of entries, in order. Waiters are woken only after all appliers have returned.
    fn apply<'a>(&'a self, entries: &'a [LogEntry]) -> Pin<Box<dyn Future<Output = ()> + Send + 'a>>;
}

/// See the module's description.
pub struct LogTail {
    /// Committed by this process, not applied yet; by first position.
    pending: Mutex<BTreeMap<i64, Vec<LogEntry>>>,
    appliers: RwLock<Vec<Arc<dyn LogApplier>>>,
    applied: watch::Sender<Position>,
    wake: Notify,
    /// What this process calls itself when it announces a commit.
    process: String,
    /// Whether anybody follows at all; commands that only write do not.
    is_followed: AtomicBool,
    is_listening: AtomicBool,
    /// The highest position that this process has heard of.
    newest: AtomicI64,
}

impl fmt::Debug for LogTail {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("LogTail").field("applied", &self.applied()).finish_non_exhaustive()
    }
}

impl LogTail {
    pub(crate) fn new(process: String) -> Self {
        Self {
            process,
            pending: Mutex::new(BTreeMap::new()),
            appliers: RwLock::new(Vec::new()),
            applied: watch::Sender::new(Position::START),
            wake: Notify::new(),
            is_followed: AtomicBool::new(false),
            is_listening: AtomicBool::new(false),
            newest: AtomicI64::new(0),
        }
    }

    /// Adds a cache. Must happen before [`run`](Self::run), since an applier that comes later has missed entries.
    pub fn register(&self, applier: Arc<dyn LogApplier>) {
        self.appliers.write().push(applier);
    }

    /// Up to where the log is applied.
    pub fn applied(&self) -> Position {
        *self.applied.borrow()
    }

    /// Whether other replicas can make themselves heard at present.
    pub fn is_listening(&self) -> bool {
        self.is_listening.load(Ordering::Acquire)
    }

    /// How many positions of the log are known to be committed and not applied yet.
    pub fn lag(&self) -> i64 {
        (self.newest.load(Ordering::Relaxed) - self.applied().0).max(0)
    }

    /// Changes whenever more of the log is applied.
    pub fn watch(&self) -> watch::Receiver<Position> {
        self.applied.subscribe()
    }

    /// Returns when everything up to `position` is applied, or the tail has stopped.
    pub async fn wait_applied(&self, position: Position) {
        if self.applied() >= position || !self.is_followed.load(Ordering::Acquire) {
            return;
        }
        // An error means that the sender is gone, which cannot be while `self` lives.
        let _ = self.applied.subscribe().wait_for(|applied| *applied >= position).await;
    }

    /// Hands in what a commit of this process has written.
    pub(crate) fn submit(&self, entries: Vec<LogEntry>) {
        if !self.is_followed.load(Ordering::Acquire) {
            return;
        }
        if let (Some(first), Some(last)) = (entries.first(), entries.last()) {
            self.newest.fetch_max(last.position.0, Ordering::Relaxed);
            self.pending.lock().insert(first.position.0, entries);
            self.wake.notify_one();
        }
    }

    /// Starts at the present head of the log: caches are empty, so what lies before does not concern them.
    pub async fn start(&self, store: &Store) -> Result<()> {
        let head = store.reader().await?.find_log_head().await?;
        self.applied.send_replace(head);
        self.is_followed.store(true, Ordering::Release);
        Ok(())
    }

    /// Follows the log until the future is dropped.
    pub async fn run(&self, store: &Store) {
        let mut listener = None;
        let mut announced = 0;
        let mut look_at = Instant::now() + POLL_INTERVAL;
        loop {
            if listener.is_none() {
                listener = connect_listener(store).await;
                self.is_listening.store(listener.is_some(), Ordering::Release);
                // Whatever was announced while nobody listened has to be looked up.
                announced = i64::MAX;
            }
            let before = self.applied();
            if let Err(error) = self.catch_up(store, announced).await {
                tracing::warn!(%error, "could not read the log; trying again");
                tokio::time::sleep(Duration::from_millis(200)).await;
                continue;
            }
            announced = 0;
            let now = Instant::now();
            if self.lag() == 0 {
                look_at = now + POLL_INTERVAL;
            } else if self.applied() > before || look_at > now + OWN_PATIENCE {
                look_at = now + OWN_PATIENCE;
            }
            tokio::select! {
                () = self.wake.notified() => {}
                news = self.receive(store, &mut listener) => announced = news,
                () = tokio::time::sleep_until(look_at) => announced = i64::MAX,
            }
        }
    }

    /// Applies all that is known: submitted entries as they are, and from the database what others have announced.
    async fn catch_up(&self, store: &Store, announced: i64) -> Result<()> {
        let mut announced = announced;
        loop {
            let applied = self.applied().0;
            let next = {
                let mut pending = self.pending.lock();
                // Entries read from the database before their own task handed them in.
                while pending.first_key_value().is_some_and(|(first, _)| *first <= applied) {
                    pending.pop_first();
                }
                match pending.first_key_value() {
                    Some((first, _)) if *first == applied + 1 => {
                        pending.pop_first().map(|(_, entries)| entries)
                    }
                    _ => None,
                }
            };
            match next {
                Some(entries) => self.apply(store, &entries).await,
                None if announced > applied => {
                    if self.read_and_apply(store).await? == 0 {
                        announced = 0;
                    }
                }
                None => return Ok(()),
            }
        }
    }

    async fn read_and_apply(&self, store: &Store) -> Result<usize> {
        let entries = store.reader().await?.list_log(self.applied(), READ_LIMIT).await?;
        if !entries.is_empty() {
            self.apply(store, &entries).await;
        }
        Ok(entries.len())
    }

    async fn apply(&self, store: &Store, entries: &[LogEntry]) {
        let new = entries.iter().filter(|entry| entry.kind == LogKind::Event);
        for event in new.filter_map(|entry| entry.event.as_ref()) {
            store.event_cache().insert_new(event);
            if let Some(target) = event.redacts {
                store.event_cache().forget(target);
            }
        }
        if entries.iter().any(|entry| entry.kind == LogKind::RoomReplaced) {
            store.event_cache().forget_all();
        }
        let appliers = self.appliers.read().clone();
        for applier in appliers {
            // A cache that panics must not stop the log for everybody; what it missed it will not have, so say so loudly.
            if std::panic::AssertUnwindSafe(applier.apply(entries)).catch_unwind().await.is_err() {
                tracing::error!("a follower of the log panicked");
            }
        }
        if let Some(last) = entries.last() {
            self.applied.send_replace(last.position);
        }
    }

    /// The position that another replica announces, 0 for one of our own, `i64::MAX` when that is unknown.
    async fn receive(&self, store: &Store, listener: &mut Option<PgListener>) -> i64 {
        let Some(active) = listener else { return std::future::pending().await };
        // `None` or an error: the connection was lost, and with it perhaps news.
        if let Ok(Some(news)) = active.try_recv().await {
            if news.payload() == NEW_REPLICA {
                store.set_other_replicas(true);
            }
            let (position, process) = news.payload().split_once(' ').unwrap_or((news.payload(), ""));
            let Ok(position) = position.parse() else { return i64::MAX };
            self.newest.fetch_max(position, Ordering::Relaxed);
            if process == self.process { 0 } else { position }
        } else {
            *listener = None;
            self.is_listening.store(false, Ordering::Release);
            store.set_other_replicas(true);
            i64::MAX
        }
    }
}

async fn connect_listener(store: &Store) -> Option<PgListener> {
    let connected = async {
        let mut listener = PgListener::connect_with(store.pool()).await?;
        listener.listen("kith_log").await?;
        Ok::<_, sqlx::Error>(listener)
    };
    match connected.await {
        Ok(listener) => Some(listener),
        Err(error) => {
            tracing::debug!(%error, "could not listen for news of other replicas");
            None
        }
    }
}

impl crate::Reader {
    /// Entries after a position, in order, with their events.
    pub async fn list_log(&mut self, after: Position, limit: i64) -> Result<Vec<LogEntry>> {
        let rows = sqlx::query!(
            "SELECT position, kind, room_nid, user_nid, subject
             FROM log
             WHERE position > $1
             ORDER BY position
             LIMIT $2",
            after.0,
            limit
        )
        .fetch_all(self.conn())
        .await?;
        let mut entries = rows
            .into_iter()
            .map(|row| {
                Ok(LogEntry {
                    position: Position(row.position),
                    kind: LogKind::from_code(row.kind, row.position)?,
                    room: row.room_nid.map(RoomNid),
                    user: row.user_nid.map(UserNid),
                    subject: row.subject,
                    event: None,
                    change: None,
                    is_local: false,
                })
            })
            .collect::<Result<Vec<_>>>()?;
        let wanted: Vec<EventNid> = entries
            .iter()
            .filter(|entry| entry.kind.has_event())
            .filter_map(|entry| entry.subject.map(EventNid))
            .collect();
        if !wanted.is_empty() {
            let mut events = self.find_events(&wanted).await?;
            for (redaction, target) in self.list_redacted_by(&wanted).await? {
                if let Some(event) = events.get_mut(&redaction) {
                    Arc::make_mut(event).redacts = Some(target);
                }
            }
            for entry in &mut entries {
                if entry.kind.has_event() {
                    entry.event = entry.subject.and_then(|nid| events.get(&EventNid(nid)).cloned());
                }
            }
        }
        Ok(entries)
    }

    /// The events that redactions have redacted.
    async fn list_redacted_by(&mut self, redactions: &[EventNid]) -> Result<Vec<(EventNid, EventNid)>> {
        let redactions: Vec<i64> = redactions.iter().map(|nid| nid.0).collect();
        let rows = sqlx::query!(
            r#"SELECT redacted_by AS "redaction!", event_nid FROM events WHERE redacted_by = ANY($1)"#,
            &redactions
        )
        .fetch_all(self.conn())
        .await?;
        Ok(rows.into_iter().map(|row| (EventNid(row.redaction), EventNid(row.event_nid))).collect())
    }
}

impl crate::Txn {
    /// Deletes entries of the log except for the newest `keep`. Returns how many went.
    ///
    /// What they told of stays: each kind of change keeps its position in its own table. Only followers need the entries.
    pub async fn prune_log(&mut self, keep: i64) -> Result<u64> {
        let done =
            sqlx::query!("DELETE FROM log WHERE position <= (SELECT position FROM log_head) - $1", keep)
                .execute(self.conn())
                .await?;
        Ok(done.rows_affected())
    }
}
