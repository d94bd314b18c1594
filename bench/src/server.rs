//! Starts and stops the server under measurement, each with a Postgres of its own on real disk.

use std::{
    fs::{self, File},
    io::Write as _,
    net::{Ipv4Addr, SocketAddr},
    path::{Path, PathBuf},
    process::{Child, Command, Stdio},
    sync::atomic::{AtomicU32, Ordering},
    time::{Duration, Instant},
};

use anyhow::{Context as _, Result, bail, ensure};

use crate::{client::Conn, measure::Pids};

pub(crate) mod authority;
mod kith;
pub(crate) mod nginx;
mod postgres;
mod synapse;

use authority::{Authority, Certificate};
use postgres::Cluster;

const START_TIMEOUT: Duration = Duration::from_mins(2);
const STOP_TIMEOUT: Duration = Duration::from_secs(30);

/// Which server to measure.
#[derive(Debug, Clone, Copy, PartialEq, Eq, clap::ValueEnum)]
pub(crate) enum Kind {
    Kith,
    Synapse,
}

impl Kind {
    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::Kith => "kith",
            Self::Synapse => "synapse",
        }
    }
}

/// How dear a password hash is: what the server ships with, or as cheap as it allows, to make many users quickly.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum HashCost {
    Shipped,
    Cheap,
}

/// Where the programs are and where the data goes.
#[derive(Debug, Clone)]
pub(crate) struct Setup {
    pub(crate) kith: PathBuf,
    pub(crate) synapse_venv: PathBuf,
    pub(crate) work_dir: PathBuf,
    pub(crate) keep: bool,
}

/// A running server. Dropping it stops everything it started and removes its data.
#[derive(Debug)]
pub(crate) struct Server {
    pub(crate) kind: Kind,
    pub(crate) addr: SocketAddr,
    /// How long the first start took, making the database included.
    pub(crate) first_start: Duration,
    /// The name that other servers know it by.
    pub(crate) name: String,
    command: Command,
    ready_path: &'static str,
    log: PathBuf,
    process: Child,
    // Dropped in this order, after the server itself has been stopped.
    cluster: Cluster,
    _dir: Directory,
}

impl Server {
    /// Starts a fresh server with an empty database.
    pub(crate) async fn start(kind: Kind, setup: &Setup, cost: HashCost) -> Result<Self> {
        Self::start_with(kind, setup, cost, None).await
    }

    /// Starts a fresh server that talks to others whose certificates `authority` has signed.
    pub(crate) async fn start_federated(kind: Kind, setup: &Setup, authority: &Authority) -> Result<Self> {
        Self::start_with(kind, setup, HashCost::Cheap, Some(authority)).await
    }

    async fn start_with(
        kind: Kind,
        setup: &Setup,
        cost: HashCost,
        authority: Option<&Authority>,
    ) -> Result<Self> {
        let addr = free_loopback();
        let dir = Directory::make(setup, kind.name())?;
        let certificate = authority.map(|authority| authority.certify(addr.ip(), &dir.path)).transpose()?;
        let name = match &certificate {
            Some(certificate) => certificate.address.to_string(),
            None => addr.to_string(),
        };
        let begun = Instant::now();
        let (mut command, ready_path, cluster) = match kind {
            Kind::Kith => (
                kith::prepare(setup, &dir.path, addr, cost, certificate.as_ref())?,
                "/health/ready",
                Cluster::embedded(&dir.path),
            ),
            Kind::Synapse => {
                let cluster = Cluster::start(&dir.path)?;
                let command = synapse::prepare(setup, &dir.path, addr, cost, &cluster, certificate.as_ref())?;
                (command, "/_matrix/client/versions", cluster)
            }
        };
        let log = dir.path.join("server.log");
        let process = spawn(&mut command, &log)?;
        let first_start = Duration::ZERO;
        let mut server =
            Self { kind, addr, first_start, name, command, ready_path, log, process, cluster, _dir: dir };
        server.wait_until_ready().await?;
        server.first_start = begun.elapsed();
        Ok(server)
    }

    /// Stops the server in good order and starts it again on the same data. Returns how long the start took.
    pub(crate) async fn restart(&mut self) -> Result<Duration> {
        self.stop();
        self.resume().await
    }

    /// Stops the server in good order.
    pub(crate) fn stop(&mut self) {
        stop(&mut self.process);
    }

    /// Starts a server that was stopped. Returns how long that took.
    pub(crate) async fn resume(&mut self) -> Result<Duration> {
        let begun = Instant::now();
        self.process = spawn(&mut self.command, &self.log)?;
        self.wait_until_ready().await?;
        Ok(begun.elapsed())
    }

    /// The processes to measure, looked up anew because a restart changes them.
    pub(crate) fn pids(&self) -> Result<Pids> {
        Ok(Pids { server: self.process.id(), postmaster: self.cluster.postmaster()?.pid })
    }

    /// Runs a query as the database's superuser and returns rows of tab-separated columns.
    pub(crate) fn query(&self, sql: &str) -> Result<Vec<Vec<String>>> {
        self.cluster.query(sql)
    }

    async fn wait_until_ready(&mut self) -> Result<()> {
        let deadline = Instant::now() + START_TIMEOUT;
        let mut conn = Conn::new(self.addr);
        while Instant::now() < deadline {
            if let Some(status) = self.process.try_wait()? {
                bail!("{} ended with {status}:\n{}", self.kind.name(), tail(&self.log));
            }
            if conn
                .call("GET", format_args!("{}", self.ready_path), "", b"")
                .await
                .is_ok_and(|r| r.status == 200)
            {
                return Ok(());
            }
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
        bail!("{} is not ready after {START_TIMEOUT:?}:\n{}", self.kind.name(), tail(&self.log))
    }

    /// The end of the server's log, for error reports.
    pub(crate) fn log_tail(&self) -> String {
        tail(&self.log)
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        stop(&mut self.process);
    }
}

/// A directory on real disk that other users may enter, since Postgres does not run as root.
#[derive(Debug)]
struct Directory {
    path: PathBuf,
    keep: bool,
}

impl Directory {
    fn make(setup: &Setup, name: &str) -> Result<Self> {
        static COUNTER: AtomicU32 = AtomicU32::new(0);
        let number = COUNTER.fetch_add(1, Ordering::Relaxed);
        let path = setup.work_dir.join(format!("kith-bench-{}-{number}-{name}", std::process::id()));
        fs::create_dir_all(&path).with_context(|| format!("cannot create {}", path.display()))?;
        Ok(Self { path, keep: setup.keep })
    }
}

impl Drop for Directory {
    fn drop(&mut self) {
        if !self.keep {
            let _ = fs::remove_dir_all(&self.path);
        }
    }
}

/// An address of this process's own, so that runs side by side never meet.
fn free_loopback() -> SocketAddr {
    static COUNTER: AtomicU32 = AtomicU32::new(1);
    let pid = std::process::id();
    let last = COUNTER.fetch_add(1, Ordering::Relaxed) % 250 + 1;
    let ip = Ipv4Addr::new(127, (pid >> 8) as u8 | 128, pid as u8, last as u8);
    SocketAddr::from((ip, 8008))
}

fn spawn(command: &mut Command, log: &Path) -> Result<Child> {
    let log = File::options().create(true).append(true).open(log)?;
    command
        .stdin(Stdio::null())
        .stdout(log.try_clone()?)
        .stderr(log)
        .spawn()
        .with_context(|| format!("cannot start {}", command.get_program().display()))
}

fn stop(process: &mut Child) {
    signal("TERM", process.id());
    let deadline = Instant::now() + STOP_TIMEOUT;
    while Instant::now() < deadline {
        if !matches!(process.try_wait(), Ok(None)) {
            return;
        }
        std::thread::sleep(Duration::from_millis(20));
    }
    let _ = process.kill();
    let _ = process.wait();
}

fn signal(name: &str, pid: u32) {
    let _ = Command::new("kill").arg(format!("-{name}")).arg(pid.to_string()).stderr(Stdio::null()).status();
}

fn write_file(path: &Path, text: &str) -> Result<()> {
    File::create(path)
        .and_then(|mut file| file.write_all(text.as_bytes()))
        .with_context(|| format!("cannot write {}", path.display()))
}

fn run(command: &mut Command) -> Result<String> {
    let output =
        command.output().with_context(|| format!("cannot run {}", command.get_program().display()))?;
    ensure!(
        output.status.success(),
        "{} failed: {}",
        command.get_program().display(),
        String::from_utf8_lossy(&output.stderr)
    );
    Ok(String::from_utf8_lossy(&output.stdout).into_owned())
}

fn tail(log: &Path) -> String {
    let text = fs::read(log).unwrap_or_default();
    String::from_utf8_lossy(&text[text.len().saturating_sub(3000)..]).into_owned()
}
