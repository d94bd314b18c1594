//! The Postgres beside a server: one that the server runs itself, or one made here for it.

use std::{
    fs,
    os::unix::fs::MetadataExt as _,
    path::{Path, PathBuf},
    process::Command,
    time::{Duration, Instant},
};

use anyhow::{Context as _, Result, bail};

use super::{run, signal, write_file};

/// Postgres refuses to run as root, so that it runs as the user of Debian's package then.
const SYSTEM_USER: &str = "postgres";
const STOP_TIMEOUT: Duration = Duration::from_secs(15);

/// What a server with its data on this machine would set; `synchronous_commit` and `fsync` stay on.
const SETTINGS: &str = "
listen_addresses = ''
unix_socket_permissions = 0777
max_connections = 60
shared_buffers = 512MB
effective_cache_size = 4GB
work_mem = 16MB
random_page_cost = 1.1
max_wal_size = 4GB
min_wal_size = 512MB
checkpoint_completion_target = 0.9
wal_compression = on
";

/// A Postgres cluster somewhere below a directory.
#[derive(Debug)]
pub(super) struct Cluster {
    below: PathBuf,
}

/// What `postmaster.pid` says.
#[derive(Debug)]
pub(super) struct Postmaster {
    pub(super) pid: u32,
    pub(super) socket_dir: String,
    port: String,
    owner: u32,
}

impl Cluster {
    /// The cluster that the server keeps below its own data directory.
    pub(super) fn embedded(below: &Path) -> Self {
        Self { below: below.to_owned() }
    }

    /// Makes and starts a cluster that only this machine's local users can reach.
    pub(super) fn start(dir: &Path) -> Result<Self> {
        let bin = bin_dir()?;
        let home = dir.join("postgres");
        fs::create_dir(&home)?;
        let as_root = fs::metadata(&home)?.uid() == 0;
        if as_root {
            run(Command::new("chown").arg(SYSTEM_USER).arg(&home))?;
        }
        let as_owner = |program: &str| {
            let program = bin.join(program);
            let mut command = if as_root {
                let mut command = Command::new("setpriv");
                let user = format!("--reuid={SYSTEM_USER}");
                command.arg(user).arg(format!("--regid={SYSTEM_USER}")).arg("--init-groups").arg(program);
                command
            } else {
                Command::new(program)
            };
            command.current_dir(&home);
            command
        };
        let data = home.join("data");
        run(as_owner("initdb").arg("-D").arg(&data).args([
            "-U",
            "bench",
            "--auth=trust",
            "-E",
            "UTF8",
            "--locale=C",
        ]))?;
        write_file(
            &data.join("postgresql.auto.conf"),
            &format!("{SETTINGS}unix_socket_directories = '{}'\n", home.display()),
        )?;
        run(as_owner("pg_ctl")
            .arg("-D")
            .arg(&data)
            .args(["-w", "-s", "-l"])
            .arg(home.join("log"))
            .arg("start"))?;
        let cluster = Self { below: dir.to_owned() };
        let postmaster = cluster.postmaster()?;
        run(Command::new(bin.join("createdb"))
            .args(["-U", "bench", "-h", &postmaster.socket_dir, "-p", &postmaster.port])
            .args(["-T", "template0", "bench"]))?;
        Ok(cluster)
    }

    pub(super) fn postmaster(&self) -> Result<Postmaster> {
        let path = find_file(&self.below, "postmaster.pid", 5)
            .with_context(|| format!("no running Postgres below {}", self.below.display()))?;
        let text = fs::read_to_string(&path)?;
        let line = |number: usize| {
            text.lines().nth(number).map(str::trim).with_context(|| format!("{} is short", path.display()))
        };
        Ok(Postmaster {
            pid: line(0)?.parse()?,
            port: line(3)?.to_owned(),
            socket_dir: line(4)?.to_owned(),
            owner: fs::metadata(&path)?.uid(),
        })
    }

    pub(super) fn query(&self, sql: &str) -> Result<Vec<Vec<String>>> {
        let postmaster = self.postmaster()?;
        // The owner's name is the one that peer authentication and a private cluster's superuser agree on.
        let owner = run(Command::new("id").arg("-nu").arg(postmaster.owner.to_string()))?;
        let owner = owner.trim();
        let mut failure = None;
        for (user, database) in [(owner, "kith"), ("kith", "kith"), (owner, owner), ("bench", "bench")] {
            let mut command = Command::new("setpriv");
            command.arg(format!("--reuid={}", postmaster.owner)).arg("--clear-groups").arg("psql");
            if fs::metadata("/proc/self")?.uid() != 0 {
                command = Command::new("psql");
            }
            let outcome = run(command
                .current_dir("/")
                .args(["-h", &postmaster.socket_dir, "-p", &postmaster.port, "-U", user, "-d", database])
                .args(["-X", "-A", "-t", "-F", "\t", "-c", sql]));
            match outcome {
                Ok(rows) => {
                    return Ok(rows
                        .lines()
                        .map(|row| row.split('\t').map(str::to_owned).collect())
                        .collect());
                }
                Err(error) => failure = failure.or(Some(error)),
            }
        }
        Err(failure.unwrap_or_else(|| anyhow::anyhow!("no database to ask")))
    }
}

impl Drop for Cluster {
    /// Stops what still runs; a server with an embedded Postgres has stopped it already.
    fn drop(&mut self) {
        let Ok(postmaster) = self.postmaster() else { return };
        signal("INT", postmaster.pid);
        let deadline = Instant::now() + STOP_TIMEOUT;
        while Instant::now() < deadline && Path::new(&format!("/proc/{}", postmaster.pid)).exists() {
            std::thread::sleep(Duration::from_millis(20));
        }
    }
}

/// The newest Postgres that Debian's packages have installed.
fn bin_dir() -> Result<PathBuf> {
    let newest = fs::read_dir("/usr/lib/postgresql")
        .context("Postgres is not installed")?
        .flatten()
        .filter_map(|entry| entry.file_name().to_str()?.parse::<u32>().ok())
        .max();
    match newest {
        Some(version) => Ok(PathBuf::from(format!("/usr/lib/postgresql/{version}/bin"))),
        None => bail!("no Postgres below /usr/lib/postgresql"),
    }
}

fn find_file(dir: &Path, name: &str, depth: usize) -> Option<PathBuf> {
    let here = dir.join(name);
    if here.is_file() {
        return Some(here);
    }
    if depth == 0 {
        return None;
    }
    let entries = fs::read_dir(dir).ok()?;
    entries
        .flatten()
        .filter(|entry| entry.path().is_dir())
        .find_map(|entry| find_file(&entry.path(), name, depth - 1))
}
