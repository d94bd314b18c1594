//! The server's own Postgres: a cluster in the data directory, for installations that do not bring a database.
//!
//! [`EmbeddedPostgres::start`] makes the cluster when there is none, starts it, and keeps it running until
//! [`EmbeddedPostgres::stop`]. What another process may have left behind is dealt with there:
//!
//! - A lock beside the cluster, held as long as this process lives, keeps a second Kith away.
//! - A Postgres that outlived a killed Kith is stopped in an orderly way and started again. That also ends whatever
//!   transactions it was still working on for the dead process, and makes the new one our child, so that we see it end
//!   and get its log.
//! - A Postgres that dies is started again; it recovers by itself from its write-ahead log, as after a power loss.
//! - A cluster being made is renamed into place at the end, so that there is never half of one.
//!
//! Invariants: the cluster listens on a unix socket only, in a directory that only its user may enter, and admits only
//! the users of the operating system that Kith and the cluster run as. Durability settings are left at their defaults.

mod binaries;
mod cluster;
mod identity;
mod lock;
mod settings;
mod supervisor;

use std::{
    io,
    path::{Path, PathBuf},
};

use tokio::sync::watch;

pub use self::settings::MachineMemory;
use self::{
    binaries::Binaries, cluster::Cluster, identity::Identity, lock::ClusterLock, supervisor::Supervisor,
};

/// The oldest major version of Postgres that Kith works with.
pub const MIN_MAJOR: u32 = 15;

/// What the embedded Postgres needs to know.
#[derive(Clone, Debug)]
pub struct PostgresOptions {
    /// The server's data directory. The cluster stands in `postgres` below it.
    pub data_dir: PathBuf,
    /// The directory of Postgres' programs, if they are not to be searched for.
    pub bin_dir: Option<PathBuf>,
    /// The user to run as when we are root, if not one of the usual.
    pub user: Option<String>,
    /// How many connections this process will hold.
    pub max_connections: u32,
}

/// Why there is no embedded Postgres. The texts are for operators: they name the place and the remedy.
#[derive(Debug, thiserror::Error)]
pub enum PostgresError {
    /// No Postgres is installed.
    #[error(
        "no Postgres {MIN_MAJOR} or newer is installed (looked in {searched}); install it (Debian: `apt install \
         postgresql`), name its programs in database.postgres_bin_dir, or use another database with database.url"
    )]
    NotInstalled {
        /// Where we looked.
        searched: String,
    },
    /// The cluster was made by another major version.
    #[error(
        "the database in {} was made by Postgres {found}, but installed is {installed}; install Postgres {found}, or \
         move the data over with pg_upgrade", .cluster.display()
    )]
    VersionMismatch {
        /// The cluster.
        cluster: PathBuf,
        /// The version that made it.
        found: String,
        /// The versions that are there.
        installed: String,
    },
    /// Another Kith works on the data directory.
    #[error(
        "another Kith{} is running on the data directory {}; stop it first, or give this one another server.data_dir",
        .pid.as_ref().map(|pid| format!(" (process {pid})")).unwrap_or_default(), .data_dir.display()
    )]
    InUse {
        /// The data directory.
        data_dir: PathBuf,
        /// The process, if it could be read.
        pid: Option<String>,
    },
    /// We are root, and there is no user to run Postgres as.
    #[error(
        "Postgres does not run as root, and there is no user `{user}` to run it as; make one (`useradd --system kith`) \
         or name one in database.postgres_user"
    )]
    NoUser {
        /// The user or users we looked for.
        user: String,
    },
    /// The cluster belongs to another user.
    #[error(
        "the database in {} belongs to user id {owner}, but Kith runs as {ours}; run Kith as that user or as root",
        .cluster.display()
    )]
    NotOwner {
        /// The cluster.
        cluster: PathBuf,
        /// Who owns it.
        owner: u32,
        /// Who we are.
        ours: u32,
    },
    /// A directory or file cannot be used.
    #[error("{}: {error}", .path.display())]
    Io {
        /// The directory or file.
        path: PathBuf,
        /// Why not.
        error: io::Error,
    },
    /// A program of Postgres failed.
    #[error("{program} failed: {output}")]
    Program {
        /// The program.
        program: &'static str,
        /// What it said.
        output: String,
    },
    /// Postgres ended or did not become ready.
    #[error("Postgres did not start: {0}")]
    NotStarted(String),
}

impl PostgresError {
    fn io(path: &Path) -> impl FnOnce(io::Error) -> Self {
        move |error| Self::Io { path: path.to_owned(), error }
    }
}

/// Whether the embedded Postgres is there for us.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum PostgresState {
    /// It accepts connections.
    Running,
    /// It died and is being started again.
    Restarting,
    /// It has been stopped.
    Stopped,
}

/// What there is to start.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Inspection {
    /// No cluster yet; it would be made by this major version.
    Missing {
        /// The major version.
        version: u32,
    },
    /// A cluster, and a Postgres that can run it.
    Exists {
        /// Where it is.
        directory: PathBuf,
    },
}

/// A running Postgres of our own.
#[derive(Debug)]
pub struct EmbeddedPostgres {
    url: String,
    socket_dir: PathBuf,
    supervisor: Option<Supervisor>,
    _lock: Option<ClusterLock>,
}

impl EmbeddedPostgres {
    /// Makes the cluster if there is none, and starts it.
    pub async fn start(options: &PostgresOptions) -> Result<Self, PostgresError> {
        let lock = ClusterLock::take(&options.data_dir)?;
        Self::start_locked(options, lock).await
    }

    /// Looks whether it could be started, without changing anything.
    pub fn inspect(options: &PostgresOptions) -> Result<Inspection, PostgresError> {
        let cluster = Cluster::locate(&options.data_dir)?;
        Identity::choose(&cluster, options.user.as_deref())?;
        let version = cluster.version()?;
        let binaries = Binaries::find(options.bin_dir.as_deref(), version.as_deref(), cluster.directory())?;
        Ok(match version {
            Some(_) => Inspection::Exists { directory: cluster.directory().to_owned() },
            None => Inspection::Missing { version: binaries.major() },
        })
    }

    /// As [`EmbeddedPostgres::start`], but where another Kith runs the cluster already, uses that one. For commands that
    /// work beside a running server.
    pub async fn start_or_join(options: &PostgresOptions) -> Result<Self, PostgresError> {
        match ClusterLock::take(&options.data_dir) {
            Ok(lock) => Self::start_locked(options, lock).await,
            Err(in_use @ PostgresError::InUse { .. }) => {
                let cluster = Cluster::locate(&options.data_dir)?;
                match cluster.running_postmaster()? {
                    Some(postmaster) if postmaster.is_ready => {
                        let url = cluster::url(&postmaster.socket_dir);
                        Ok(Self { url, socket_dir: postmaster.socket_dir, supervisor: None, _lock: None })
                    }
                    _ => Err(in_use),
                }
            }
            Err(error) => Err(error),
        }
    }

    async fn start_locked(options: &PostgresOptions, lock: ClusterLock) -> Result<Self, PostgresError> {
        let mut cluster = Cluster::locate(&options.data_dir)?;
        let identity = Identity::choose(&cluster, options.user.as_deref())?;
        let version = cluster.version()?;
        let binaries = Binaries::find(options.bin_dir.as_deref(), version.as_deref(), cluster.directory())?;
        cluster.prepare_parents(&identity)?;
        if version.is_none() {
            tracing::info!(directory = %cluster.directory().display(), "making the database");
            cluster.create(&binaries, &identity).await?;
        }
        cluster.settle().await?;
        let socket_dir = cluster.prepare_socket_dir(&identity)?;
        settings::write(&cluster, &identity, &socket_dir, options.max_connections)?;
        let supervisor = Supervisor::start(binaries, cluster, identity).await?;
        let url = cluster::url(&socket_dir);
        Ok(Self { url, socket_dir, supervisor: Some(supervisor), _lock: Some(lock) })
    }

    /// The URL of the database.
    pub fn url(&self) -> &str {
        &self.url
    }

    /// Follows whether it runs. `None` if another Kith runs it.
    pub fn state(&self) -> Option<watch::Receiver<PostgresState>> {
        self.supervisor.as_ref().map(Supervisor::state)
    }

    /// The process id of the Postgres we started.
    pub fn pid(&self) -> Option<u32> {
        self.supervisor.as_ref().and_then(Supervisor::pid)
    }

    /// Stops it: connections are ended, everything committed is on disk. Nothing happens to one that another Kith runs.
    pub async fn stop(mut self) {
        if let Some(supervisor) = self.supervisor.take() {
            supervisor.stop().await;
            // Left alone if it is not empty, that is, if something of it is still in use.
            let _ = std::fs::remove_dir(&self.socket_dir);
        }
    }
}

#[cfg(test)]
mod tests;
