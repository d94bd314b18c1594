//! The cluster on disk, and the process that may be running on it.

use std::{
    fs, io,
    os::unix::fs::{DirBuilderExt, MetadataExt, PermissionsExt, chown},
    path::{Path, PathBuf},
    process::Stdio,
    time::Duration,
};

use rustix::process::{Pid, Signal, kill_process};
use sha2::{Digest, Sha256};
use tokio::{
    io::AsyncWriteExt,
    process::Command,
    time::{sleep, timeout},
};

use super::{PostgresError, binaries::Binaries, identity::Identity};

/// The database user and the database.
pub(super) const NAME: &str = "kith";

/// Postgres names its socket after the port, even where there is none.
const SOCKET_NAME: &str = ".s.PGSQL.5432";

/// The longest path of a unix socket that the kernel takes, less its closing zero.
const MAX_SOCKET_PATH: usize = 107;

/// Where clusters go whose data directory cannot be entered by the user that Postgres runs as.
const SYSTEM_ROOT: &str = "/var/lib/kith";

/// How long an orderly stop may take: a checkpoint writes out the cache, which a slow disk needs time for.
const STOP_TIMEOUT: Duration = Duration::from_mins(2);

/// How long Postgres needs to end when it is told to drop everything.
const ABORT_TIMEOUT: Duration = Duration::from_secs(15);

/// How long processes without their postmaster are left to finish by themselves.
const ORPHAN_PATIENCE: Duration = Duration::from_secs(5);

const POLL: Duration = Duration::from_millis(20);

/// The cluster's place on disk.
#[derive(Clone, Debug)]
pub(super) struct Cluster {
    /// What holds the cluster and its socket.
    root: PathBuf,
    directory: PathBuf,
}

impl Cluster {
    /// Finds the cluster of a data directory, which must exist.
    pub(super) fn locate(data_dir: &Path) -> Result<Self, PostgresError> {
        let data_dir = data_dir.canonicalize().map_err(PostgresError::io(data_dir))?;
        let root = data_dir.join("postgres");
        Ok(Self::at(root.canonicalize().unwrap_or(root)))
    }

    fn at(root: PathBuf) -> Self {
        Self { directory: root.join("cluster"), root }
    }

    /// What Postgres calls its data directory.
    pub(super) fn directory(&self) -> &Path {
        &self.directory
    }

    /// The major version that made the cluster; `None` if there is none yet.
    pub(super) fn version(&self) -> Result<Option<String>, PostgresError> {
        let file = self.directory.join("PG_VERSION");
        match fs::read_to_string(&file) {
            Ok(version) => Ok(Some(version.trim().to_owned())),
            Err(error) if error.kind() == io::ErrorKind::NotFound && !self.directory.exists() => Ok(None),
            Err(error) => Err(PostgresError::Io { path: file, error }),
        }
    }

    /// Makes the directory around the cluster, where its user can reach it.
    pub(super) fn prepare_parents(&mut self, identity: &Identity) -> Result<(), PostgresError> {
        let is_new = !self.root.exists();
        if is_new && identity.is_switched() && !can_enter(identity, self.root.parent()) {
            let link = std::mem::replace(self, Self::at(system_root(&self.root))).root;
            let parent = self.root.parent().unwrap_or(Path::new(SYSTEM_ROOT));
            make_dir(parent, 0o755)?;
            tracing::warn!(
                directory = %self.root.display(),
                user = identity.user.name,
                "the user that Postgres runs as cannot enter the data directory, so the database goes elsewhere"
            );
            make_dir(&self.root, 0o700)?;
            std::os::unix::fs::symlink(&self.root, &link).map_err(PostgresError::io(&link))?;
        }
        make_dir(&self.root, 0o700)?;
        if identity.is_switched() {
            own(&self.root, identity)?;
        }
        Ok(())
    }

    /// Makes the cluster. It is built under another name and renamed when it is whole.
    pub(super) async fn create(&self, binaries: &Binaries, identity: &Identity) -> Result<(), PostgresError> {
        let building = self.root.join("cluster.new");
        if building.exists() {
            fs::remove_dir_all(&building).map_err(PostgresError::io(&building))?;
        }
        make_dir(&building, 0o700)?;
        if identity.is_switched() {
            own(&building, identity)?;
        }
        let mut initdb = identity.command(binaries.program("initdb"));
        initdb
            .arg("--pgdata")
            .arg(&building)
            .args(["--username", NAME, "--encoding", "UTF8", "--locale", "C", "--auth", "peer"])
            .args(["--data-checksums", "--no-instructions"]);
        run("initdb", initdb, "").await?;
        let mut single = identity.command(binaries.program("postgres"));
        single.args(["--single", "-D"]).arg(&building).arg("postgres");
        run("postgres --single", single, "CREATE DATABASE kith;\n").await?;
        fs::rename(&building, &self.directory).map_err(PostgresError::io(&self.directory))?;
        sync_dir(&self.root)
    }

    /// The process that runs on this cluster, ours or not.
    pub(super) fn running_postmaster(&self) -> Result<Option<Postmaster>, PostgresError> {
        // After a crash of the machine the file is still there, and the number may be that of any process by now.
        Ok(self.recorded_postmaster()?.filter(|postmaster| works_in(postmaster.pid, &self.directory)))
    }

    /// The process that the pid file names, dead or alive.
    fn recorded_postmaster(&self) -> Result<Option<Postmaster>, PostgresError> {
        let file = self.pid_file();
        match fs::read_to_string(&file) {
            Ok(text) => Ok(Postmaster::parse(&text)),
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
            Err(error) => Err(PostgresError::Io { path: file, error }),
        }
    }

    /// Ends what still runs on the cluster, and removes what a crash left behind. To be called only while holding the
    /// lock, so that all of this is ours.
    pub(super) async fn settle(&self) -> Result<(), PostgresError> {
        if let Some(postmaster) = self.running_postmaster()? {
            tracing::info!(pid = postmaster.pid, "stopping the Postgres that a former Kith left running");
            signal(postmaster.pid, Signal::INT);
            self.wait_until_empty(STOP_TIMEOUT).await;
        }
        // Without their postmaster, the others end by themselves, but not before they have finished a query.
        self.wait_until_empty(ORPHAN_PATIENCE).await;
        for pid in self.processes() {
            signal(pid, Signal::QUIT);
        }
        self.wait_until_empty(ABORT_TIMEOUT).await;
        if let Some(pid) = self.processes().first() {
            let problem =
                format!("process {pid} still works on {} and cannot be stopped", self.directory.display());
            return Err(PostgresError::NotStarted(problem));
        }
        // Postgres would not start if the number in a file were that of some other process of the same user, or of one
        // that is dead but not buried. It is right to insist, as long as nobody has looked whether there are processes
        // left; we just have.
        let last_socket_dir = self.recorded_postmaster()?.map(|postmaster| postmaster.socket_dir);
        let sockets = [Some(self.root.join("socket")), last_socket_dir].into_iter().flatten();
        let locks = sockets.map(|directory| directory.join(format!("{SOCKET_NAME}.lock")));
        // The pid file last: it says where the other one is.
        for file in locks.chain([self.pid_file()]) {
            match fs::remove_file(&file) {
                Err(error) if error.kind() != io::ErrorKind::NotFound => {
                    return Err(PostgresError::Io { path: file, error });
                }
                _ => {}
            }
        }
        Ok(())
    }

    fn pid_file(&self) -> PathBuf {
        self.directory.join("postmaster.pid")
    }

    /// Every process that works on the cluster: Postgres' processes all work inside its directory.
    fn processes(&self) -> Vec<u32> {
        let entries = fs::read_dir("/proc").into_iter().flatten().flatten();
        let pids = entries.filter_map(|entry| entry.file_name().to_str()?.parse().ok());
        pids.filter(|pid| works_in(*pid, &self.directory)).collect()
    }

    async fn wait_until_empty(&self, patience: Duration) {
        let empty = async {
            while !self.processes().is_empty() {
                sleep(POLL).await;
            }
        };
        let _ = timeout(patience, empty).await;
    }

    /// Makes the directory for the socket: beside the cluster, or, where that path is too long for a socket, in a
    /// directory for such things.
    pub(super) fn prepare_socket_dir(&self, identity: &Identity) -> Result<PathBuf, PostgresError> {
        let beside = self.root.join("socket");
        let directory = if fits_socket(&beside) { beside } else { runtime_dir(&self.root, identity) };
        make_dir(&directory, 0o700)?;
        let metadata = fs::symlink_metadata(&directory).map_err(PostgresError::io(&directory))?;
        let owner = metadata.uid();
        // In a directory that all may write to, somebody else may have made it first.
        if !metadata.is_dir() || (owner != identity.ours && owner != identity.user.uid) {
            let error = io::Error::other("exists, but is no directory of ours; remove it");
            return Err(PostgresError::Io { path: directory, error });
        }
        fs::set_permissions(&directory, fs::Permissions::from_mode(0o700))
            .map_err(PostgresError::io(&directory))?;
        if identity.is_switched() {
            own(&directory, identity)?;
        }
        Ok(directory)
    }
}

/// The URL of the database behind the socket in `socket_dir`.
pub(super) fn url(socket_dir: &Path) -> String {
    let host: String = form_urlencoded::byte_serialize(socket_dir.as_os_str().as_encoded_bytes()).collect();
    // Forms write a space as a plus, which not every client of Postgres reads so.
    let host = host.replace('+', "%20");
    format!("postgres://{NAME}@localhost/{NAME}?host={host}")
}

/// A running Postgres, as its pid file describes it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Postmaster {
    pub(super) pid: u32,
    pub(super) socket_dir: PathBuf,
    pub(super) is_ready: bool,
}

impl Postmaster {
    /// The lines are: pid, directory, start time, port, socket directory, address, shared memory, status.
    fn parse(text: &str) -> Option<Self> {
        let lines: Vec<&str> = text.lines().collect();
        let pid = lines.first()?.trim().parse().ok()?;
        let socket_dir = PathBuf::from(lines.get(4).copied().unwrap_or_default());
        let is_ready = lines.get(7).is_some_and(|status| status.trim() == "ready");
        Some(Self { pid, socket_dir, is_ready })
    }
}

/// Whether a process works inside `directory`, which tells Postgres from another process with the same number.
fn works_in(pid: u32, directory: &Path) -> bool {
    fs::read_link(format!("/proc/{pid}/cwd")).is_ok_and(|cwd| cwd == directory)
}

/// Sends a signal. That the process has gone already is what signals here are meant to bring about.
pub(super) fn signal(pid: u32, signal: Signal) {
    if let Some(pid) = i32::try_from(pid).ok().and_then(Pid::from_raw) {
        let _ = kill_process(pid, signal);
    }
}

async fn run(program: &'static str, mut command: Command, input: &str) -> Result<(), PostgresError> {
    let failed = |output: String| PostgresError::Program { program, output };
    let mut child = command.stdin(Stdio::piped()).spawn().map_err(|error| failed(error.to_string()))?;
    if let Some(mut stdin) = child.stdin.take() {
        // A program that ends before it has read everything says why on its output.
        let _ = stdin.write_all(input.as_bytes()).await;
    }
    let output = child.wait_with_output().await.map_err(|error| failed(error.to_string()))?;
    let said = String::from_utf8_lossy(&output.stderr).trim().to_owned();
    // A failed statement does not fail single-user mode.
    if output.status.success() && !said.contains("ERROR:") {
        return Ok(());
    }
    Err(failed(said))
}

fn make_dir(path: &Path, mode: u32) -> Result<(), PostgresError> {
    fs::DirBuilder::new().recursive(true).mode(mode).create(path).map_err(PostgresError::io(path))
}

fn own(path: &Path, identity: &Identity) -> Result<(), PostgresError> {
    chown(path, Some(identity.user.uid), Some(identity.user.gid)).map_err(PostgresError::io(path))
}

fn sync_dir(path: &Path) -> Result<(), PostgresError> {
    fs::File::open(path).and_then(|directory| directory.sync_all()).map_err(PostgresError::io(path))
}

/// Whether Postgres' user can walk through every directory down to `path`.
fn can_enter(identity: &Identity, path: Option<&Path>) -> bool {
    path.into_iter().flat_map(Path::ancestors).all(|directory| {
        let Ok(metadata) = fs::metadata(directory) else { return false };
        let bit = if metadata.uid() == identity.user.uid {
            0o100
        } else if metadata.gid() == identity.user.gid {
            0o010
        } else {
            0o001
        };
        metadata.mode() & bit != 0
    })
}

fn fits_socket(directory: &Path) -> bool {
    directory.join(SOCKET_NAME).as_os_str().len() <= MAX_SOCKET_PATH
}

/// A name for what belongs to `path` but has to be elsewhere.
fn short_name(path: &Path) -> String {
    let digest = Sha256::digest(path.as_os_str().as_encoded_bytes());
    digest[..6].iter().map(|byte| format!("{byte:02x}")).collect::<Vec<_>>().concat()
}

fn system_root(root: &Path) -> PathBuf {
    Path::new(SYSTEM_ROOT).join(short_name(root)).join("postgres")
}

fn runtime_dir(root: &Path, identity: &Identity) -> PathBuf {
    let base = if identity.ours == 0 { "/run" } else { "/tmp" };
    Path::new(base).join(format!("kith-{}", short_name(root)))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pid_file_is_understood_at_each_stage() {
        let starting = "17\n/data/cluster\n1700000000\n5432\n/data/socket\n\n";
        let ready = format!("{starting}  5432001   3\nready   \n");

        let expected = Postmaster { pid: 17, socket_dir: "/data/socket".into(), is_ready: false };
        assert_eq!(Postmaster::parse(starting), Some(expected.clone()));
        assert_eq!(Postmaster::parse(&ready), Some(Postmaster { is_ready: true, ..expected }));
        assert_eq!(Postmaster::parse(""), None);
    }

    #[test]
    fn process_elsewhere_is_not_our_postgres() {
        let here = std::env::current_dir().unwrap();

        assert!(works_in(std::process::id(), &here));
        assert!(!works_in(std::process::id(), Path::new("/nonexistent")));
    }

    #[test]
    fn long_paths_do_not_fit_a_socket() {
        assert!(fits_socket(Path::new("/var/lib/kith/postgres/socket")));
        assert!(!fits_socket(Path::new(&format!("/{}", "a".repeat(100)))));
    }

    #[test]
    fn url_names_the_socket_directory() {
        assert_eq!(url(Path::new("/a b/c")), "postgres://kith@localhost/kith?host=%2Fa%20b%2Fc");
    }
}
