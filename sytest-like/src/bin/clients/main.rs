//! Lets unmodified clients use a fresh server, and compares what they saw: `clients [--against synapse] [PART...]`.
//! `clients/README.md` says what they do.
//!
//! The libraries are installed on first use: those of npm beside their scripts, those of PyPI in
//! `~/.cache/kith/clients`.

#![expect(clippy::print_stdout, reason = "this is a command-line program")]

mod bot;
mod conversation;
mod encrypted;

use std::fs::File;
use std::path::{Path, PathBuf};
use std::process::{Command, ExitCode, Output, Stdio};

use sytest_like::{Server, Value, install};

/// What can be run by itself.
const PARTS: [&str; 4] = ["conversation", "encrypted", "between", "bot"];

/// What a part was, and what went wrong in it.
struct Faults {
    what: String,
    faults: Vec<String>,
}

fn main() -> ExitCode {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let parts = match arguments.split_first_chunk() {
        Some(([flag, other], parts)) if flag == "--against" => {
            assert!(other == "synapse", "usage: clients [--against synapse] [PART...]");
            return run_against_synapse(parts);
        }
        _ => arguments.as_slice(),
    };
    if let Some(unknown) = parts.iter().find(|part| !PARTS.contains(&part.as_str())) {
        panic!("{unknown}: the parts are {}", PARTS.join(", "));
    }
    let libraries = Libraries::install();
    let runtime = tokio::runtime::Runtime::new().expect("a runtime can be made");
    let mut is_good = true;
    for part in PARTS {
        if !parts.is_empty() && !parts.iter().any(|wanted| wanted == part) {
            continue;
        }
        let outcome = runtime.block_on(async {
            match part {
                "conversation" => conversation::hold(&libraries).await,
                "encrypted" => encrypted::hold(&libraries).await,
                "between" => encrypted::hold_between(&libraries).await,
                _ => bot::run(&libraries).await,
            }
        });
        match outcome {
            Ok(Faults { what, faults }) => {
                for fault in &faults {
                    println!("{fault}");
                }
                println!("{part}: {what}, {} faults", faults.len());
                is_good &= faults.is_empty();
            }
            Err(log) => {
                println!("{part} failed; the end of the server's log:\n{log}");
                is_good = false;
            }
        }
    }
    if is_good { ExitCode::SUCCESS } else { ExitCode::FAILURE }
}

/// The kit learns from the environment what to start, and that cannot be changed from inside.
fn run_against_synapse(parts: &[String]) -> ExitCode {
    install::synapse();
    let this = std::env::current_exe().expect("this program has a path");
    let status = Command::new(this).args(parts).env("KITH_TEST_AGAINST", "synapse").status();
    if status.expect("it can be started").success() { ExitCode::SUCCESS } else { ExitCode::FAILURE }
}

/// Where the libraries are, and the scripts that use them.
struct Libraries {
    scripts: PathBuf,
    venv: PathBuf,
}

impl Libraries {
    /// Installs what is not there yet.
    fn install() -> Self {
        let home = std::env::var_os("HOME").expect("HOME is set");
        let cache = Path::new(&home).join(".cache/kith");
        std::fs::create_dir_all(&cache).expect("the cache can be written to");
        // Two runs at once must not install into each other.
        let lock = File::create(cache.join("clients.lock")).expect("the cache can be written to");
        lock.lock().expect("a file can be locked");
        let scripts = Path::new(env!("CARGO_MANIFEST_DIR")).join("clients");
        install::once(&scripts.join("package-lock.json"), &scripts.join("node_modules"), || {
            install::run(
                Command::new("npm").args(["ci", "--no-audit", "--no-fund", "--silent"]).current_dir(&scripts),
            );
        });
        let venv = cache.join("clients");
        let requirements = scripts.join("requirements.txt");
        install::once(&requirements, &venv, || {
            install::run(Command::new("python3").args(["-m", "venv", "--clear"]).arg(&venv));
            install::run(
                Command::new(venv.join("bin/pip")).args(["install", "--quiet", "-r"]).arg(&requirements),
            );
        });
        Self { scripts, venv }
    }

    fn node(&self, script: &str) -> Command {
        let mut command = Command::new("node");
        command.arg(self.scripts.join(script));
        command
    }

    fn python(&self, script: &str) -> Command {
        let mut command = Command::new(self.venv.join("bin/python"));
        command.arg(self.scripts.join(script));
        command
    }

    /// A program that came with a library.
    fn program(&self, name: &str) -> Command {
        Command::new(self.venv.join("bin").join(name))
    }
}

/// Runs clients at the same time, and gives their reports; the server's log when one of them failed.
fn speak_together<const N: usize>(server: &Server, clients: [Command; N]) -> Result<[Value; N], String> {
    let reports = std::thread::scope(|scope| {
        clients
            .map(|mut client| scope.spawn(move || speak(&mut client)))
            .map(|client| client.join().unwrap_or_else(|panic| std::panic::resume_unwind(panic)))
    });
    let reports: Option<Vec<Value>> = reports.into_iter().collect();
    let reports = reports.ok_or_else(|| end_of_log(server))?;
    Ok(reports.try_into().unwrap_or_else(|_| unreachable!("there is one report for each client")))
}

fn end_of_log(server: &Server) -> String {
    const LINES: usize = 40;
    let log = server.log();
    let lines: Vec<_> = log.lines().collect();
    lines[lines.len().saturating_sub(LINES)..].join("\n")
}

/// Runs one client to its end. Its last line is its report.
fn speak(client: &mut Command) -> Option<Value> {
    let running = client.stdin(Stdio::null()).stdout(Stdio::piped()).spawn();
    let running = running.unwrap_or_else(|error| panic!("{client:?}: {error}"));
    let Output { status, stdout, .. } = running.wait_with_output().expect("our own child can be waited for");
    let text = String::from_utf8_lossy(&stdout);
    let report = text.lines().last().and_then(|line| serde_json::from_str(line).ok());
    if !status.success() || report.is_none() {
        println!("{client:?} ended with {status}\n{text}");
    }
    report.filter(|_| status.success())
}
