//! The connection pool, migrations, and the way to a [`Reader`] or a [`Txn`].

use std::{
    str::FromStr,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    time::Duration,
};

use hs_model::{hit_rate::HitCounts, stream::Position};
use sqlx::{
    ConnectOptions as _, Connection as _, PgConnection, PgPool,
    migrate::{MigrateError, Migrator},
    postgres::{PgConnectOptions, PgPoolOptions},
};

use crate::{
    error::{Result, StorageError},
    event_cache::EventCache,
    nids::Nids,
    tail::LogTail,
    txn::{Reader, Txn},
};

static MIGRATIONS: Migrator = sqlx::migrate!("./migrations");

/// How to reach the database.
#[derive(Clone, Debug)]
pub struct StoreOptions {
    /// `postgres://…` URL.
    pub url: String,
    /// Upper bound of open connections.
    pub max_connections: u32,
    /// Connections kept open when idle.
    pub min_connections: u32,
    /// How long a request waits for a free connection.
    pub acquire_timeout: Duration,
}

impl StoreOptions {
    /// Usual pool sizes for `url`.
    pub fn new(url: impl Into<String>) -> Self {
        Self {
            url: url.into(),
            max_connections: 20,
            min_connections: 2,
            acquire_timeout: Duration::from_secs(30),
        }
    }
}

/// Figures of the pool, for metrics.
#[derive(Clone, Copy, Debug)]
pub struct PoolFigures {
    /// Open connections.
    pub size: u32,
    /// Open connections that nobody uses.
    pub idle: usize,
}

/// The database, shared by everything that needs it. Cloning is cheap.
#[derive(Clone, Debug)]
pub struct Store {
    inner: Arc<Inner>,
}

#[derive(Debug)]
struct Inner {
    pool: PgPool,
    nids: Nids,
    tail: LogTail,
    events: EventCache,
    has_other_replicas: AtomicBool,
}

impl Store {
    /// Connects; does not look at the schema.
    pub async fn connect(options: &StoreOptions) -> Result<Self> {
        let process = format!("kith {:08x}", rand::random::<u32>());
        let connect = PgConnectOptions::from_str(&options.url)?
            .application_name(&process)
            // Plans of our few, simple statements do not depend on their parameters; planning each time costs more
            // than executing them. A writer that hangs between statements must not hold the log forever.
            .options([
                ("plan_cache_mode", "force_generic_plan"),
                ("idle_in_transaction_session_timeout", "20000"),
                ("synchronous_commit", "on"),
                ("jit", "off"),
            ])
            .statement_cache_capacity(512);
        let pool = PgPoolOptions::new()
            .max_connections(options.max_connections)
            .min_connections(options.min_connections)
            .acquire_timeout(options.acquire_timeout)
            .test_before_acquire(false)
            .connect_with(connect)
            .await?;
        Ok(Self {
            inner: Arc::new(Inner {
                nids: Nids::new(),
                tail: LogTail::new(process),
                events: EventCache::new(),
                // Until it is known that there are none.
                has_other_replicas: AtomicBool::new(true),
                pool,
            }),
        })
    }

    /// Brings the schema up to date, under a lock that other replicas respect.
    ///
    /// # Errors
    /// [`StorageError::Migration`] when the database knows migrations that this binary does not: a newer Kith wrote it.
    pub async fn migrate(&self) -> Result<()> {
        // While another replica does the same, this one waits for its lock: that is slow, and no trouble.
        let options = (*self.inner.pool.connect_options()).clone().disable_statement_logging();
        let mut connection = PgConnection::connect_with(&options).await?;
        MIGRATIONS.run(&mut connection).await.map_err(|error| match error {
            MigrateError::VersionMissing(version) => StorageError::Migration(format!(
                "the database has the schema of a newer Kith (migration {version} is unknown to this one): start that \
                 version, or restore a backup from before the upgrade"
            )),
            MigrateError::VersionMismatch(version) => StorageError::Migration(format!(
                "migration {version} was applied with other content: this database was made by a modified Kith"
            )),
            other => StorageError::Migration(format!("the schema could not be brought up to date: {other}")),
        })
    }

    /// Claims the database for a server name, or checks the claim.
    ///
    /// # Errors
    /// [`StorageError::Migration`] when it belongs to another server name.
    pub async fn claim_server_name(&self, server_name: &str) -> Result<()> {
        let stored = sqlx::query_scalar!(
            "INSERT INTO server_identity (server_name)
             VALUES ($1)
             ON CONFLICT (only_row) DO UPDATE SET server_name = server_identity.server_name
             RETURNING server_name",
            server_name
        )
        .fetch_one(&self.inner.pool)
        .await?;
        if stored != server_name {
            return Err(StorageError::Migration(format!(
                "this database belongs to the server name {stored}, and the configuration says {server_name}: a server \
                 name can not be changed, since the ids of users and rooms contain it"
            )));
        }
        Ok(())
    }

    /// A connection that only reads.
    pub async fn reader(&self) -> Result<Reader> {
        Ok(Reader::pooled(self.inner.pool.acquire().await?, self.clone()))
    }

    /// A connection that reads everything as it was at one moment. Dropping it ends the snapshot.
    pub async fn snapshot(&self) -> Result<Reader> {
        let transaction = self
            .inner
            .pool
            .begin_with("BEGIN TRANSACTION ISOLATION LEVEL REPEATABLE READ, READ ONLY")
            .await?;
        Ok(Reader::in_transaction(transaction, self.clone()))
    }

    /// Opens a write transaction. Dropping it without [`Txn::commit`] rolls back.
    pub async fn begin(&self) -> Result<Txn> {
        Ok(Txn::new(self.inner.pool.begin().await?, self.clone()))
    }

    /// Opens a write of exactly one statement, which is a transaction of its own: saves two round trips.
    pub(crate) async fn begin_single(&self) -> Result<Txn> {
        Ok(Txn::single(self.inner.pool.acquire().await?, self.clone()))
    }

    /// Interned strings.
    pub fn nids(&self) -> &Nids {
        &self.inner.nids
    }

    /// The log as this process has seen it.
    pub fn tail(&self) -> &LogTail {
        &self.inner.tail
    }

    /// The position up to which this process has applied the log: what a sync may promise.
    pub fn applied(&self) -> Position {
        self.inner.tail.applied()
    }

    /// Whether other processes serve this database too.
    pub fn has_other_replicas(&self) -> bool {
        self.inner.has_other_replicas.load(Ordering::Relaxed)
    }

    /// Notes whether other processes serve this database too. That there are none holds only as long as this process hears of
    /// new ones: see [`LogTail::is_listening`](crate::tail::LogTail::is_listening).
    pub fn set_other_replicas(&self, there_are: bool) {
        self.inner.has_other_replicas.store(there_are, Ordering::Relaxed);
    }

    /// How often events asked for were in memory.
    pub fn event_cache_hits(&self) -> HitCounts {
        self.inner.events.hits.counts()
    }

    /// Figures of the pool.
    pub fn pool_figures(&self) -> PoolFigures {
        PoolFigures { size: self.inner.pool.size(), idle: self.inner.pool.num_idle() }
    }

    /// Closes all connections; waits for those in use.
    pub async fn close(&self) {
        self.inner.pool.close().await;
    }

    pub(crate) fn event_cache(&self) -> &EventCache {
        &self.inner.events
    }

    pub(crate) fn pool(&self) -> &PgPool {
        &self.inner.pool
    }
}
