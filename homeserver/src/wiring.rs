//! How the parts of a running server are put together, started, and stopped.

pub(crate) mod accounts;
mod federation;
pub(crate) mod media;
mod profiles;
mod routes;
mod services;

use std::{fmt, path::PathBuf, sync::Arc, time::Duration};

use anyhow::Context;
use hs_room_rules::sign::SigningKey;
use hs_storage::Store;
use metrics::gauge;
use parking_lot::Mutex;
use tokio_util::sync::CancellationToken;

pub use self::routes::Apis;
use self::services::Services;
use crate::{
    config::{Config, Metrics as MetricsConfig, Resource, Source},
    database::{Access, Database},
    health::Health,
    listener::{Bound, HttpServer, ListenError},
    shutdown::{Request, Signals},
    signing_key,
    tasks::Tasks,
    telemetry::{LogHandle, Metrics},
};

/// How long background work may take to end when the server stops.
const TASKS_PATIENCE: Duration = Duration::from_secs(10);

type ReloadHook = Box<dyn Fn(&Config) + Send + Sync>;

/// What the APIs and services are built from. Handed to their constructors, which take from it what they need.
#[derive(Clone)]
pub struct Foundation {
    /// The configuration that the server started with.
    pub config: Arc<Config>,
    /// The database.
    pub store: Store,
    /// Signs events and requests.
    pub signing_key: Arc<SigningKey>,
    /// Where background work is started.
    pub tasks: Tasks,
    /// Is cancelled when the server drains: long polls answer at once with what they have.
    pub draining: CancellationToken,
    /// Figures that are looked up at each scrape register here.
    pub metrics: Metrics,
    reload_hooks: Arc<Mutex<Vec<ReloadHook>>>,
}

impl fmt::Debug for Foundation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Foundation").field("server_name", &self.config.server.name).finish_non_exhaustive()
    }
}

impl Foundation {
    /// Runs `hook` with the new configuration on SIGHUP: for limits and the like.
    pub fn on_reload(&self, hook: impl Fn(&Config) + Send + Sync + 'static) {
        self.reload_hooks.lock().push(Box::new(hook));
    }
}

/// Where to read the configuration again.
#[derive(Debug)]
pub struct Reload {
    /// The file.
    pub source: Source,
    /// Changes the log filter.
    pub log: LogHandle,
    /// Reads the configuration again.
    pub load: fn(&Source) -> Result<Config, crate::config::ConfigError>,
}

/// Runs the server until it is told to stop.
pub async fn run(config: Config, reload: Reload) -> anyhow::Result<()> {
    let mut signals = Signals::listen().context("cannot listen for signals")?;
    let config = Arc::new(config);
    // Addresses first: that one is taken is the most likely trouble, and this way nothing has been started yet.
    let listeners = bind_listeners(&config).await?;
    let signing_key = signing_key::load_or_create(&signing_key::path(&config), &mut rand::rng())?;
    // Recovery after a crash, and migrations, can take their time; nobody has to wait for them to stop the server.
    let database = tokio::select! {
        opened = Database::open(&config, Access::Exclusive) => opened?,
        () = signals.stopped() => return Ok(()),
    };
    let outcome = serve(&config, &reload, signing_key, &database, listeners, &mut signals).await;
    database.close().await;
    tracing::info!("stopped");
    outcome
}

async fn serve(
    config: &Arc<Config>,
    reload: &Reload,
    signing_key: SigningKey,
    database: &Database,
    listeners: Vec<(Bound, Vec<Resource>, usize)>,
    signals: &mut Signals,
) -> anyhow::Result<()> {
    tokio::select! {
        prepared = database.prepare(config) => prepared?,
        () = signals.stopped() => return Ok(()),
    }
    let mut server = HttpServer::new(&config.http);
    let foundation = Foundation {
        config: Arc::clone(config),
        store: database.store.clone(),
        signing_key: Arc::new(signing_key),
        tasks: Tasks::new(),
        draining: server.draining(),
        metrics: install_metrics(config)?,
        reload_hooks: Arc::default(),
    };
    let services = Services::start(&foundation).await?;
    let apis = Apis::build(&foundation, &services, health(&foundation));
    for (bound, resources, index) in listeners {
        let trusted = config.listeners.get(index).map(|listener| listener.trusted_proxies.clone());
        server.serve(bound, apis.router(&resources, trusted.unwrap_or_default()));
    }
    announce(config);

    while signals.next().await == Request::Reload {
        apply_reload(reload, &foundation, &server);
    }
    tracing::info!("stopping: finishing requests");
    tokio::select! {
        () = stop(&server, &foundation, &services, config) => {}
        () = signals.stopped() => tracing::warn!("told to stop again: not waiting any longer"),
    }
    Ok(())
}

async fn stop(server: &HttpServer, foundation: &Foundation, services: &Services, config: &Config) {
    server.drain(Duration::from_secs(config.http.shutdown_timeout_seconds)).await;
    services.rooms.shut_down().await;
    foundation.tasks.stop(TASKS_PATIENCE).await;
}

/// All listeners with what they serve, and which one of the configuration each is. That of the metrics is none of those.
async fn bind_listeners(config: &Config) -> anyhow::Result<Vec<(Bound, Vec<Resource>, usize)>> {
    let mut bound = Vec::new();
    for (index, listener) in config.listeners.iter().enumerate() {
        bound.push((Bound::from_config(listener).await?, listener.resources.clone(), index));
    }
    let MetricsConfig { enabled: true, bind } = &config.metrics else { return Ok(bound) };
    match Bound::new(bind, None).await {
        Ok(listener) => bound.push((listener, vec![Resource::Metrics, Resource::Health], usize::MAX)),
        // A second server on the machine is no reason not to start: it lacks figures, not function.
        Err(ListenError::Bind { bind, error }) => {
            tracing::warn!(%bind, %error, "no figures for Prometheus: set metrics.bind to another address");
        }
        Err(error) => return Err(error.into()),
    }
    Ok(bound)
}

fn install_metrics(config: &Config) -> anyhow::Result<Metrics> {
    let metrics = Metrics::default().with_process_figures();
    if config.metrics.enabled {
        metrics.install().context("figures are already being collected")?;
    }
    Ok(metrics)
}

/// Follows the log of positions, and reports how far.
fn follow_log(foundation: &Foundation) {
    let store = foundation.store.clone();
    foundation.tasks.supervise("log tail", {
        let store = store.clone();
        move || {
            let store = store.clone();
            async move {
                store.tail().run(&store).await;
                Ok::<(), std::convert::Infallible>(())
            }
        }
    });
    metrics::describe_gauge!("kith_log_position", "Position up to which this process has applied the log.");
    metrics::describe_gauge!(
        "kith_log_lag",
        "Positions of the log that are committed and that a follower has not come to yet."
    );
    metrics::describe_gauge!("kith_database_connections", "Open connections to the database.");
    metrics::describe_gauge!(
        "kith_database_connections_idle",
        "Connections to the database that nobody uses."
    );
    foundation.metrics.on_scrape(move || {
        let pool = store.pool_figures();
        gauge!("kith_database_connections").set(f64::from(pool.size));
        gauge!("kith_database_connections_idle").set(pool.idle as f64);
        gauge!("kith_log_position").set(store.applied().0 as f64);
        gauge!("kith_log_lag", "follower" => "memory").set(store.tail().lag() as f64);
    });
}

fn health(foundation: &Foundation) -> Health {
    let store = foundation.store.clone();
    Health::new(foundation.draining.clone()).with_check("database", move || {
        let store = store.clone();
        async move {
            let reader = store.reader().await;
            let answered = match reader {
                Ok(mut reader) => reader.find_log_head().await.map(|_| ()),
                Err(error) => Err(error),
            };
            answered.map_err(|error| error.to_string())
        }
    })
}

fn apply_reload(reload: &Reload, foundation: &Foundation, server: &HttpServer) {
    let config = match (reload.load)(&reload.source) {
        Ok(config) => config,
        Err(error) => {
            tracing::error!(%error, "cannot read the configuration again; the old one stays");
            return;
        }
    };
    if let Err(error) = reload.log.set_filter(&config.logging.filter) {
        tracing::error!(%error, "cannot change the log filter");
    }
    server.reload_certificates();
    for hook in foundation.reload_hooks.lock().iter() {
        hook(&config);
    }
    tracing::info!("read log filter, certificates and limits again; other settings change with a restart");
}

fn announce(config: &Config) {
    let data_dir: PathBuf = config.server.data_dir.canonicalize().unwrap_or(config.server.data_dir.clone());
    tracing::info!(
        server_name = %config.server.name,
        url = config.server.public_base_url,
        data_dir = %data_dir.display(),
        version = env!("CARGO_PKG_VERSION"),
        "ready",
    );
}
