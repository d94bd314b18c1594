//! Keeps Postgres running.

use std::{process::ExitStatus, time::Duration};

use rustix::process::Signal;
use tokio::{
    io::{AsyncBufReadExt, AsyncRead, BufReader},
    process::Child,
    sync::watch,
    task::JoinHandle,
    time::{sleep, timeout},
};
use tokio_util::sync::CancellationToken;

use super::{
    PostgresError, PostgresState,
    binaries::Binaries,
    cluster::{self, Cluster},
    identity::Identity,
};

/// How long Postgres may take until it is ready. Recovery after a crash reads through the write-ahead log.
const START_TIMEOUT: Duration = Duration::from_mins(10);

/// How long an orderly stop may take before it is told to drop everything; nothing that is committed is lost then.
const STOP_TIMEOUT: Duration = Duration::from_mins(2);

const POLL: Duration = Duration::from_millis(5);

const FIRST_RESTART_DELAY: Duration = Duration::from_millis(100);
const LAST_RESTART_DELAY: Duration = Duration::from_secs(10);

/// The task that watches over Postgres.
#[derive(Debug)]
pub(super) struct Supervisor {
    task: JoinHandle<()>,
    stop: CancellationToken,
    state: watch::Receiver<PostgresState>,
    pid: watch::Receiver<Option<u32>>,
}

struct Watch {
    binaries: Binaries,
    cluster: Cluster,
    identity: Identity,
    stop: CancellationToken,
    state: watch::Sender<PostgresState>,
    pid: watch::Sender<Option<u32>>,
}

impl Supervisor {
    /// Starts Postgres, waits until it is ready, and watches over it from then on.
    #[expect(clippy::disallowed_methods, reason = "the task is owned, and joined by `stop`")]
    pub(super) async fn start(
        binaries: Binaries,
        cluster: Cluster,
        identity: Identity,
    ) -> Result<Self, PostgresError> {
        let stop = CancellationToken::new();
        let (state, state_receiver) = watch::channel(PostgresState::Restarting);
        let (pid, pid_receiver) = watch::channel(None);
        let watch = Watch { binaries, cluster, identity, stop: stop.clone(), state, pid };
        let child = watch.start_child().await?;
        let task = tokio::spawn(watch.run(child));
        Ok(Self { task, stop, state: state_receiver, pid: pid_receiver })
    }

    pub(super) fn state(&self) -> watch::Receiver<PostgresState> {
        self.state.clone()
    }

    pub(super) fn pid(&self) -> Option<u32> {
        *self.pid.borrow()
    }

    pub(super) async fn stop(self) {
        self.stop.cancel();
        if self.task.await.is_err() {
            tracing::error!("the supervisor of Postgres panicked");
        }
    }
}

impl Watch {
    async fn run(self, first: Child) {
        let mut child = Some(first);
        let mut delay = FIRST_RESTART_DELAY;
        loop {
            if let Some(mut running) = child.take() {
                delay = FIRST_RESTART_DELAY;
                tokio::select! {
                    () = self.stop.cancelled() => {
                        stop_child(running).await;
                        break;
                    }
                    status = running.wait() => {
                        self.state.send_replace(PostgresState::Restarting);
                        self.pid.send_replace(None);
                        tracing::error!(status = %describe(status), "Postgres ended; starting it again");
                    }
                }
            }
            tokio::select! {
                () = self.stop.cancelled() => break,
                () = sleep(delay) => {}
            }
            let started = match self.cluster.settle().await {
                Ok(()) => self.start_child().await,
                Err(error) => Err(error),
            };
            match started {
                Ok(started) => child = Some(started),
                Err(error) => {
                    delay = (delay * 2).min(LAST_RESTART_DELAY);
                    tracing::error!(%error, "Postgres did not start; trying again");
                }
            }
        }
        self.state.send_replace(PostgresState::Stopped);
    }

    async fn start_child(&self) -> Result<Child, PostgresError> {
        let mut command = self.identity.command(self.binaries.program("postgres"));
        command.arg("-D").arg(self.cluster.directory());
        let mut child = command.spawn().map_err(|error| PostgresError::NotStarted(error.to_string()))?;
        if let Some(output) = child.stderr.take() {
            forward_log(output);
        }
        if let Some(output) = child.stdout.take() {
            forward_log(output);
        }
        let pid = child.id();
        let mut guard = InterruptOnDrop(pid);
        let ready = async {
            loop {
                if let Some(status) =
                    child.try_wait().map_err(|error| PostgresError::NotStarted(error.to_string()))?
                {
                    return Err(PostgresError::NotStarted(format!(
                        "it ended with {status}; its log lines say why"
                    )));
                }
                match self.cluster.running_postmaster()? {
                    Some(postmaster) if postmaster.is_ready && Some(postmaster.pid) == pid => return Ok(()),
                    _ => sleep(POLL).await,
                }
            }
        };
        match timeout(START_TIMEOUT, ready).await {
            Ok(Ok(())) => {
                guard.0 = None;
                self.pid.send_replace(pid);
                self.state.send_replace(PostgresState::Running);
                Ok(child)
            }
            Ok(Err(error)) => Err(error),
            Err(_) => {
                stop_child(child).await;
                Err(PostgresError::NotStarted(format!(
                    "it was not ready after {} s",
                    START_TIMEOUT.as_secs()
                )))
            }
        }
    }
}

/// Tells a Postgres to stop when nobody waits any longer for it to start.
struct InterruptOnDrop(Option<u32>);

impl Drop for InterruptOnDrop {
    fn drop(&mut self) {
        if let Some(pid) = self.0 {
            cluster::signal(pid, Signal::INT);
        }
    }
}

async fn stop_child(mut child: Child) {
    let Some(pid) = child.id() else { return };
    cluster::signal(pid, Signal::INT);
    if timeout(STOP_TIMEOUT, child.wait()).await.is_err() {
        tracing::warn!(pid, "Postgres takes too long to stop; it will recover at the next start");
        cluster::signal(pid, Signal::QUIT);
        let _ = child.wait().await;
    }
}

fn describe(status: std::io::Result<ExitStatus>) -> String {
    match status {
        Ok(status) => status.to_string(),
        Err(error) => error.to_string(),
    }
}

/// Writes what Postgres says into our log. The task ends with the pipe, that is, with Postgres.
#[expect(clippy::disallowed_methods, reason = "ends with the process whose output it reads")]
fn forward_log(output: impl AsyncRead + Unpin + Send + 'static) {
    tokio::spawn(async move {
        let mut lines = BufReader::new(output).lines();
        while let Ok(Some(line)) = lines.next_line().await {
            log_line(&line);
        }
    });
}

fn log_line(line: &str) {
    let (level, message) = line.split_once(": ").map_or(("", line), |(level, rest)| (level, rest.trim()));
    match level {
        "PANIC" | "FATAL" if !is_expected(message) => tracing::error!(target: "postgres", "{message}"),
        "WARNING" => tracing::warn!(target: "postgres", "{message}"),
        // Errors of statements come back to whoever sent them, which is where they are handled.
        _ => tracing::debug!(target: "postgres", "{line}"),
    }
}

/// Said to connections that are open, or being opened, while Postgres starts and stops.
fn is_expected(message: &str) -> bool {
    message.starts_with("terminating connection") || message.starts_with("the database system is")
}
