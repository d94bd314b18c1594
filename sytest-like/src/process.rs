//! Server processes: started so that they cannot outlive the tests, stopped by their own process id.

use std::fs::File;
use std::io::{Read, Write};
use std::net::{Ipv4Addr, SocketAddr, SocketAddrV4, TcpListener, TcpStream};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::LazyLock;
use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::mpsc::{Sender, channel};
use std::time::{Duration, Instant};

/// Starting includes making the database's tables, which is slow on a machine that is busy compiling.
const READY_WITHIN: Duration = Duration::from_mins(2);
/// A server that was asked to stop drains its requests first.
const STOPPED_WITHIN: Duration = Duration::from_secs(40);
/// Another process tells neither that it is ready nor that it has ended in any other way than by being asked.
const POLL_EVERY: Duration = Duration::from_millis(15);
/// Every server listens on this port, each on an address of its own.
pub(crate) const PORT: u16 = 8008;
/// Other servers reach those that federate here, over TLS.
pub(crate) const FEDERATION_PORT: u16 = 8448;

/// The kernel sends the parent-death signal when the *thread* that started the child ends, and a case's thread ends
/// with the case. So one thread that lives as long as the process starts them all.
type SpawnRequest = (Command, Sender<std::io::Result<Child>>);
static SPAWNER: LazyLock<Sender<SpawnRequest>> = LazyLock::new(|| {
    let (sender, receiver) = channel::<SpawnRequest>();
    std::thread::spawn(move || {
        for (mut command, reply) in receiver {
            // Nobody listens only when the case failed while it waited; the child then dies with this process.
            reply.send(command.spawn()).ok();
        }
    });
    sender
});

/// A running server process and how it was started, so that it can be started again.
#[derive(Debug)]
pub(crate) struct Process {
    pub(crate) recipe: Recipe,
    child: Option<Child>,
}

/// What to run.
#[derive(Clone, Debug)]
pub(crate) struct Recipe {
    pub(crate) program: PathBuf,
    pub(crate) arguments: Vec<String>,
    pub(crate) environment: Vec<(String, String)>,
    pub(crate) directory: PathBuf,
    pub(crate) log: PathBuf,
    pub(crate) address: SocketAddr,
    /// Answers 200 when the server serves.
    pub(crate) ready_path: &'static str,
}

impl Process {
    /// Starts the server and waits until it serves.
    pub(crate) fn start(recipe: Recipe) -> Self {
        let mut process = Self { recipe, child: None };
        process.start_again();
        process
    }

    /// Starts the server once more, after [`Process::kill`] or [`Process::stop`].
    pub(crate) fn start_again(&mut self) {
        assert!(self.child.is_none(), "the server is still running");
        self.child = Some(spawn(&self.recipe));
        let deadline = Instant::now() + READY_WITHIN;
        while !answers_ready(&self.recipe) {
            let ended = self.child.as_mut().and_then(|child| child.try_wait().ok()).flatten();
            assert!(ended.is_none(), "the server ended with {ended:?} at start\n{}", tail(&self.recipe.log));
            assert!(
                Instant::now() < deadline,
                "the server is not ready after {READY_WITHIN:?}\n{}",
                tail(&self.recipe.log)
            );
            std::thread::sleep(POLL_EVERY);
        }
    }

    /// The operating system's id of the running server.
    pub(crate) fn id(&self) -> Option<u32> {
        self.child.as_ref().map(Child::id)
    }

    /// `kill -9`, at once.
    pub(crate) fn kill(&mut self) {
        if let Some(mut child) = self.child.take() {
            child.kill().expect("our own child can be killed");
            child.wait().expect("our own child can be waited for");
        }
    }

    /// Asks the server to stop (SIGTERM), waits for it, and returns whether it ended with success.
    pub(crate) fn stop(&mut self) -> bool {
        let Some(mut child) = self.child.take() else { return true };
        signal(child.id(), "TERM");
        let deadline = Instant::now() + STOPPED_WITHIN;
        loop {
            if let Some(status) = child.try_wait().expect("our own child can be waited for") {
                return status.success();
            }
            if Instant::now() > deadline {
                child.kill().ok();
                child.wait().ok();
                return false;
            }
            std::thread::sleep(POLL_EVERY);
        }
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        if let Some(child) = &mut self.child {
            child.kill().ok();
            child.wait().ok();
        }
    }
}

/// Sends a signal by name to one process. There is no safe binding for it in the standard library.
pub(crate) fn signal(id: u32, name: &str) {
    Command::new("sh")
        .args(["-c", &format!("kill -{name} {id}")])
        .stderr(Stdio::null())
        .status()
        .expect("sh is there");
}

fn spawn(recipe: &Recipe) -> Child {
    let log =
        File::options().create(true).append(true).open(&recipe.log).expect("the log file can be opened");
    let errors = log.try_clone().expect("a file handle can be cloned");
    let mut command = Command::new("setpriv");
    command
        .args(["--pdeathsig", "KILL", "--"])
        .arg(&recipe.program)
        .args(&recipe.arguments)
        .envs(recipe.environment.iter().cloned())
        .current_dir(&recipe.directory)
        .stdin(Stdio::null())
        .stdout(log)
        .stderr(errors);
    let (reply, answer) = channel();
    SPAWNER.send((command, reply)).expect("the spawner never ends");
    answer.recv().expect("the spawner answers").expect("setpriv (util-linux) can be started")
}

fn answers_ready(recipe: &Recipe) -> bool {
    let Ok(mut stream) = TcpStream::connect_timeout(&recipe.address, Duration::from_secs(1)) else {
        return false;
    };
    stream.set_read_timeout(Some(Duration::from_secs(5))).ok();
    let request = format!(
        "GET {} HTTP/1.1\r\nHost: {}\r\nConnection: close\r\n\r\n",
        recipe.ready_path, recipe.address
    );
    let mut head = [0_u8; 12];
    stream.write_all(request.as_bytes()).is_ok()
        && stream.read_exact(&mut head).is_ok()
        && &head[9..] == b"200"
}

/// The end of a log, for messages.
pub(crate) fn tail(log: &Path) -> String {
    const LINES: usize = 60;
    let text =
        std::fs::read(log).map(|bytes| String::from_utf8_lossy(&bytes).into_owned()).unwrap_or_default();
    let lines: Vec<&str> = text.lines().collect();
    lines[lines.len().saturating_sub(LINES)..].join("\n")
}

/// Like [`free_address`], for somebody who only federates.
pub(crate) fn free_federation_address() -> SocketAddr {
    SocketAddr::new(free_address().ip(), FEDERATION_PORT)
}

/// A loopback address that no other server of this or a parallel run listens on.
pub(crate) fn free_address() -> SocketAddr {
    static NEXT: AtomicU32 = AtomicU32::new(0);
    loop {
        let counter = NEXT.fetch_add(1, Ordering::Relaxed);
        let number = (std::process::id() << 8).wrapping_add(counter) & 0x00ff_ffff;
        // 127.0.0.x is where everybody else listens.
        if number < 0x0001_0000 || matches!(number & 0xff, 0 | 0xff) {
            continue;
        }
        let address = SocketAddr::V4(SocketAddrV4::new(Ipv4Addr::from(0x7f00_0000 | number), PORT));
        if TcpListener::bind(address).is_ok() {
            return address;
        }
    }
}

/// A directory of this run: `<temp>/kith-conformance-<pid>/<name>-<n>`.
pub(crate) fn fresh_directory(name: &str) -> PathBuf {
    static NEXT: AtomicU32 = AtomicU32::new(0);
    static SWEPT: LazyLock<()> = LazyLock::new(sweep_dead_runs);
    LazyLock::force(&SWEPT);
    let number = NEXT.fetch_add(1, Ordering::Relaxed);
    let directory = std::env::temp_dir()
        .join(format!("{DIRECTORY_PREFIX}{}", std::process::id()))
        .join(format!("{name}-{number}"));
    std::fs::create_dir_all(&directory).expect("the temporary directory can be written to");
    directory
}

const DIRECTORY_PREFIX: &str = "kith-conformance-";

/// The shared server of a run has nobody who could clean up after it, so the next run does.
fn sweep_dead_runs() {
    let Ok(entries) = std::fs::read_dir(std::env::temp_dir()) else { return };
    for entry in entries.flatten() {
        let name = entry.file_name();
        let owner =
            name.to_string_lossy().strip_prefix(DIRECTORY_PREFIX).and_then(|pid| pid.parse::<u32>().ok());
        if owner.is_some_and(|pid| !is_alive(pid)) {
            std::fs::remove_dir_all(entry.path()).ok();
        }
    }
}

/// Whether a process with this id runs now.
pub(crate) fn is_alive(pid: u32) -> bool {
    Path::new(&format!("/proc/{pid}")).exists()
}
