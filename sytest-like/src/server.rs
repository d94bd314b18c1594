//! A server for a case: one shared by all cases of the run, or one of its own.

use std::collections::HashSet;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::sync::{Arc, LazyLock, Mutex, OnceLock, PoisonError};

use http::Method;
use serde_json::{Value, json};

use crate::authority::Authority;
use crate::database::Database;
use crate::kith::{self, Place};
use crate::log::LogWatch;
use crate::network::{Network, Switch};
use crate::process::{self, Process, free_address, fresh_directory};
use crate::user::unique;
use crate::{Client, Request, User, synapse};

/// Whether the cases run against Synapse (`KITH_TEST_AGAINST=synapse`) instead of Kith.
pub fn against_synapse() -> bool {
    match std::env::var("KITH_TEST_AGAINST").as_deref() {
        Err(_) | Ok("" | "kith") => false,
        Ok("synapse") => true,
        Ok(other) => panic!("KITH_TEST_AGAINST={other}: it is kith or synapse"),
    }
}

/// Who may register.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Registration {
    /// Everybody, through `m.login.dummy`.
    #[default]
    Open,
    /// Who has a registration token.
    Token,
    /// Nobody.
    Closed,
}

/// How a server of its own is configured. The default is what the shared server has: open registration, no rate
/// limits, a throw-away database.
#[derive(Clone, Debug, Default)]
pub struct ServerOptions {
    pub(crate) registration: Registration,
    pub(crate) rate_limits: bool,
    pub(crate) shared_secret: Option<String>,
    pub(crate) embedded_database: bool,
    pub(crate) federated: bool,
    pub(crate) network: Option<Network>,
    pub(crate) always_synapse: bool,
    pub(crate) clock_offset_minutes: i32,
    pub(crate) kith: Vec<(String, String)>,
    pub(crate) synapse: Vec<(String, Value)>,
}

impl ServerOptions {
    /// Who may register.
    #[must_use]
    pub fn registration(mut self, registration: Registration) -> Self {
        self.registration = registration;
        self
    }

    /// Leaves the rate limits at their defaults instead of switching them off.
    #[must_use]
    pub fn with_rate_limits(mut self) -> Self {
        self.rate_limits = true;
        self
    }

    /// The secret for `/_synapse/admin/v1/register`.
    #[must_use]
    pub fn shared_secret(mut self, secret: &str) -> Self {
        self.shared_secret = Some(secret.to_owned());
        self
    }

    /// It talks to other servers: over TLS, at the address and port that are its server name.
    #[must_use]
    pub fn federated(mut self) -> Self {
        self.federated = true;
        self
    }

    /// It talks to other servers through this network, which a case can cut.
    #[must_use]
    pub fn in_network(mut self, network: &Network) -> Self {
        self.network = Some(network.clone());
        self.federated()
    }

    /// A Synapse, whatever the cases run against: for those in which both take part.
    #[must_use]
    pub fn on_synapse(mut self) -> Self {
        self.always_synapse = true;
        self
    }

    /// Its clock is that many minutes ahead, or behind. Needs libfaketime, which Debian has as `libfaketime`.
    #[must_use]
    pub fn clock_offset_minutes(mut self, minutes: i32) -> Self {
        self.clock_offset_minutes = minutes;
        self
    }

    fn is_synapse(&self) -> bool {
        self.always_synapse || against_synapse()
    }

    /// Kith creates and supervises its own Postgres (Synapse: SQLite).
    #[must_use]
    pub fn with_embedded_database(mut self) -> Self {
        self.embedded_database = true;
        self
    }

    /// One more key for Kith, as a TOML literal: `.kith("passwords.min_length", "12")`.
    #[must_use]
    pub fn kith(mut self, key: &str, value: &str) -> Self {
        self.kith.push((key.to_owned(), value.to_owned()));
        self
    }

    /// One more top-level key for Synapse.
    #[must_use]
    pub fn synapse(mut self, key: &str, value: Value) -> Self {
        self.synapse.push((key.to_owned(), value));
        self
    }

    /// Starts a server of its own for this case; it ends with the last handle to it.
    pub async fn start(self) -> Server {
        let mut servers = self.start_replicas(1).await;
        servers.remove(0)
    }

    /// Starts `count` equal replicas on one database. They have one server name and one data directory.
    pub async fn start_replicas(self, count: usize) -> Vec<Server> {
        let network = self.network.clone();
        let cluster = blocking(move || start_cluster(&self, count)).await;
        if let Some(network) = network {
            for running in &cluster {
                let address = lock(&running.process).recipe.address;
                let outside = SocketAddr::new(address.ip(), process::FEDERATION_PORT);
                let switch = network.listen(outside, address).await;
                running.switch.set(switch).expect("each server has one switch");
            }
        }
        cluster.into_iter().map(Server::new).collect()
    }
}

/// A handle to a running server. Handles are cheap to clone; each checks the log when it is dropped, so that a panic
/// or an undeclared warning of the server fails a case that was there.
#[derive(Debug)]
pub struct Server {
    running: Arc<Running>,
    client: Client,
}

#[derive(Debug)]
struct Running {
    name: String,
    base_url: String,
    directory: PathBuf,
    data_directory: PathBuf,
    shared_secret: Option<String>,
    embedded_database: bool,
    is_synapse: bool,
    // Field order is drop order: the process ends before its database goes.
    process: Mutex<Process>,
    log: LogWatch,
    switch: OnceLock<Switch>,
    _database: Option<Arc<Database>>,
}

/// The secret of the shared server.
const SHARED_SECRET: &str = "only for the tests";

impl Server {
    fn new(running: Arc<Running>) -> Self {
        let client = Client::new(&running.base_url);
        Self { running, client }
    }

    /// The server that all cases of this run share: open registration, shared secret set, no rate limits. It starts
    /// with the first case that asks.
    pub async fn shared() -> Self {
        static SHARED: OnceLock<Arc<Running>> = OnceLock::new();
        let start = || {
            let options = ServerOptions::default().shared_secret(SHARED_SECRET);
            start_cluster(&options, 1).remove(0)
        };
        let running = blocking(move || SHARED.get_or_init(start).clone()).await;
        Self::new(running)
    }

    /// A server of its own with the default options. [`ServerOptions::start`] takes others.
    pub async fn start() -> Self {
        ServerOptions::default().start().await
    }

    /// The same server with connections of its own, for another case.
    pub(crate) fn anew(&self) -> Self {
        Self::new(self.running.clone())
    }

    /// The options of a server that talks to others: `Server::federated().start()`.
    pub fn federated() -> ServerOptions {
        ServerOptions::default().federated()
    }

    /// The server name, the part after the colon in user ids.
    pub fn name(&self) -> &str {
        &self.running.name
    }

    /// `http://address:port` of this replica.
    pub fn base_url(&self) -> &str {
        &self.running.base_url
    }

    /// `address:port` of this replica, for cases that write to a socket themselves.
    pub fn address(&self) -> &str {
        self.running.base_url.trim_start_matches("http://")
    }

    /// The secret for `/_synapse/admin/v1/register`.
    pub fn shared_secret(&self) -> &str {
        self.running.shared_secret.as_deref().expect("this server has a shared secret")
    }

    /// The directory that the server keeps its files in.
    pub fn data_directory(&self) -> &Path {
        &self.running.data_directory
    }

    /// A request without an access token.
    pub fn request(&self, method: Method, path: &str) -> Request {
        self.client.request(method, path)
    }

    /// GET without an access token.
    pub fn get(&self, path: &str) -> Request {
        self.request(Method::GET, path)
    }

    /// POST without an access token.
    pub fn post(&self, path: &str, body: Value) -> Request {
        self.request(Method::POST, path).json(&body)
    }

    /// PUT without an access token.
    pub fn put(&self, path: &str, body: Value) -> Request {
        self.request(Method::PUT, path).json(&body)
    }

    /// Registers a user with a name that begins with `name` and is free, through the dummy stage.
    pub async fn register(&self, name: &str) -> User {
        let password = format!("correct horse {name}");
        let body = json!({
            "username": unique(name),
            "password": password,
            "auth": {"type": "m.login.dummy"},
        });
        let answer = self.post("/v3/register", body).await.expect_ok();
        User::from_login(self, &answer, &password)
    }

    /// The same user on this server or replica, for clusters.
    pub fn as_seen_here(&self, user: &User) -> User {
        User { server: self.clone(), ..user.clone() }
    }

    /// `kill -9`.
    pub fn kill9(&self) {
        self.lock().kill();
    }

    /// SIGTERM, and waits for the end; fails the case when the server does not end with success.
    pub async fn stop(&self) {
        let running = self.running.clone();
        let success = blocking(move || lock(&running.process).stop()).await;
        assert!(
            success,
            "the server did not stop cleanly\n{}",
            process::tail(&self.running.directory.join("server.log"))
        );
    }

    /// Starts the server again after [`Server::kill9`] or [`Server::stop`] and waits until it serves. Handles and users stay good.
    pub async fn start_again(&self) {
        let running = self.running.clone();
        blocking(move || lock(&running.process).start_again()).await;
    }

    /// Stops cleanly and starts again.
    pub async fn restart(&self) {
        self.stop().await;
        self.start_again().await;
    }

    /// The program of the server, and its configuration file.
    pub(crate) fn program_and_configuration(&self) -> (PathBuf, PathBuf) {
        (self.lock().recipe.program.clone(), self.running.directory.join("kith.toml"))
    }

    /// Sends a signal by name (`HUP`) to the server.
    pub fn signal(&self, name: &str) {
        let id = self.process_id();
        process::signal(id, name);
    }

    /// The process id of the running server.
    pub fn process_id(&self) -> u32 {
        self.lock().id().expect("the server runs")
    }

    /// The process id of the Postgres that Kith supervises (only with an embedded database).
    pub fn postgres_process_id(&self) -> Option<u32> {
        find_postmaster(&self.running.data_directory)
    }

    /// `kill -9` of the supervised Postgres.
    pub fn kill9_postgres(&self) {
        let id = self.postgres_process_id().expect("Kith runs its own Postgres");
        process::signal(id, "KILL");
    }

    /// Warnings and errors that contain this text are expected from here on.
    pub fn expect_log(&self, text: &str) {
        self.running.log.declare(text);
    }

    /// Everything the server has logged.
    pub fn log(&self) -> String {
        self.running.log.text()
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, Process> {
        lock(&self.running.process)
    }
}

impl Clone for Server {
    fn clone(&self) -> Self {
        Self { running: self.running.clone(), client: self.client.clone() }
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        if std::thread::panicking() {
            show_log_once(&self.running);
        } else if !self.running.is_synapse {
            let complaints = self.running.log.complaints();
            assert!(complaints.is_empty(), "the server complained:\n{}", complaints.join("\n"));
        }
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        if self.embedded_database {
            // A killed server would leave its Postgres to the next start, and there is none.
            self.process.get_mut().unwrap_or_else(PoisonError::into_inner).stop();
            if let Some(id) = find_postmaster(&self.data_directory) {
                process::signal(id, "QUIT");
            }
        }
        self.process.get_mut().unwrap_or_else(PoisonError::into_inner).kill();
        std::fs::remove_dir_all(&self.directory).ok();
    }
}

fn start_cluster(options: &ServerOptions, count: usize) -> Vec<Arc<Running>> {
    assert!(count == 1 || !options.is_synapse(), "Synapse has no equal replicas");
    let database =
        (!options.embedded_database && !sqlite_wanted(options)).then(|| Arc::new(Database::create()));
    let data_directory = fresh_directory("data");
    let addresses: Vec<SocketAddr> = (0..count).map(|_| free_address()).collect();
    let name = if options.federated {
        SocketAddr::new(addresses[0].ip(), process::FEDERATION_PORT).to_string()
    } else {
        addresses[0].to_string()
    };
    // All at once, as an orchestrator starts them: they must agree on who makes the tables and the key.
    std::thread::scope(|scope| {
        let starts: Vec<_> = addresses
            .iter()
            .map(|address| {
                let (name, data_directory, database) = (&name, &data_directory, &database);
                scope.spawn(move || start_one(options, name, *address, data_directory, database.clone()))
            })
            .collect();
        starts
            .into_iter()
            .map(|start| start.join().unwrap_or_else(|panic| std::panic::resume_unwind(panic)))
            .collect()
    })
}

fn start_one(
    options: &ServerOptions,
    name: &str,
    address: SocketAddr,
    data_directory: &Path,
    database: Option<Arc<Database>>,
) -> Arc<Running> {
    let directory = fresh_directory("server");
    let database_url = database.as_ref().map_or_else(String::new, |database| database.url());
    let certificate = options.federated.then(|| Authority::get().write_certificate(address.ip(), &directory));
    let place = Place {
        name,
        address,
        directory: &directory,
        data_directory,
        database_url: &database_url,
        certificate,
        // In a network that can be cut, the network listens in its place.
        serves_tls: options.network.is_none(),
    };
    let recipe =
        if options.is_synapse() { synapse::recipe(&place, options) } else { kith::recipe(&place, options) };
    Arc::new(Running {
        name: name.to_owned(),
        base_url: format!("http://{address}"),
        log: LogWatch::new(recipe.log.clone()),
        process: Mutex::new(Process::start(recipe)),
        directory,
        data_directory: data_directory.to_owned(),
        shared_secret: options.shared_secret.clone(),
        embedded_database: options.embedded_database,
        is_synapse: options.is_synapse(),
        switch: OnceLock::new(),
        _database: database,
    })
}

/// Synapse can do without a Postgres.
fn sqlite_wanted(options: &ServerOptions) -> bool {
    options.is_synapse() && std::env::var_os("KITH_TEST_DATABASE_URL").is_none()
}

fn lock(process: &Mutex<Process>) -> std::sync::MutexGuard<'_, Process> {
    process.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Finds the process id of the Postgres cluster somewhere below the data directory.
fn find_postmaster(directory: &Path) -> Option<u32> {
    for entry in std::fs::read_dir(directory).ok()?.flatten() {
        let path = entry.path();
        if path.ends_with("postmaster.pid") {
            return std::fs::read_to_string(&path).ok()?.lines().next()?.trim().parse().ok();
        }
        if path.is_dir()
            && !path.ends_with("base")
            && let Some(found) = find_postmaster(&path)
        {
            return Some(found);
        }
    }
    None
}

/// Prints the log of a server once for a case that failed, so that the cause stands beside the assertion.
#[expect(clippy::print_stderr, reason = "the test harness shows it with the failure")]
fn show_log_once(running: &Running) {
    static SHOWN: LazyLock<Mutex<HashSet<(String, String)>>> = LazyLock::new(Mutex::default);
    let case = std::thread::current().name().unwrap_or_default().to_owned();
    if !SHOWN.lock().unwrap_or_else(PoisonError::into_inner).insert((case.clone(), running.base_url.clone()))
    {
        return;
    }
    let log = running.log.text();
    // On the shared server, what other cases did in between is noise.
    let own = case.rsplit("::").next().unwrap_or_default();
    let mut lines: Vec<&str> = log.lines().filter(|line| line.contains(own)).collect();
    if lines.len() < 5 {
        lines = log.lines().collect();
    }
    let last = &lines[lines.len().saturating_sub(40)..];
    eprintln!("--- log of {} ---\n{}\n---", running.base_url, last.join("\n"));
}

/// Runs blocking work off the case's runtime, so that its other tasks go on meanwhile.
async fn blocking<T: Send + 'static>(work: impl FnOnce() -> T + Send + 'static) -> T {
    match tokio::task::spawn_blocking(work).await {
        Ok(value) => value,
        Err(error) => std::panic::resume_unwind(error.into_panic()),
    }
}
