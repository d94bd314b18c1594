//! Measures what a homeserver costs: CPU per operation of server and Postgres together, latency, memory.
//!
//! Start reading at [`scenarios`]; [`world`] prepares and measures, [`server`] starts what is measured. One thread
//! does all of it, because the generator shares the machine with the server. See `README.md` beside this crate.

use std::{
    fmt::Write as _,
    fs,
    path::{Path, PathBuf},
    process::Command,
    time::Duration,
};

use anyhow::{Context as _, Result, ensure};
use clap::{Parser, ValueEnum as _};
use tokio::signal::unix::{SignalKind, signal};

mod client;
mod load;
mod measure;
mod report;
mod scenarios;
mod server;
mod session;
mod sizes;
mod transfer;
mod world;

use report::Row;
use scenarios::{GROUPS, Scenario};
use server::{Kind, Server, Setup};
use sizes::Sizes;
use world::World;

/// Sockets for some thousand long polls, on either side.
const OPEN_FILES: &str = "65536";

/// A server that hangs must not hang the run.
const SCENARIO_TIMEOUT: Duration = Duration::from_mins(30);

/// Measure a homeserver: CPU per operation, latency, memory.
#[derive(Debug, Parser)]
struct Arguments {
    /// Scenarios to run, separated by commas; all by default.
    #[arg(long, value_enum, value_delimiter = ',')]
    scenario: Vec<Scenario>,
    /// Servers to measure, one after the other; with two, the figures are also put side by side.
    #[arg(long, value_enum, value_delimiter = ',', default_value = "kith")]
    against: Vec<Kind>,
    /// Small counts, to see that everything works.
    #[arg(long)]
    quick: bool,
    /// Seconds that each measured window may take.
    #[arg(long)]
    seconds: Option<u64>,
    /// Clients that send at once.
    #[arg(long)]
    senders: Option<usize>,
    /// Room sizes for the scenarios that compare them.
    #[arg(long, value_delimiter = ',')]
    members: Option<Vec<usize>>,
    /// Users that join one room.
    #[arg(long)]
    joins: Option<usize>,
    /// Idle long polls.
    #[arg(long)]
    polls: Option<usize>,
    /// Also write the figures as JSON to this file.
    #[arg(long)]
    json: Option<PathBuf>,
    /// Also write the table as Markdown to this file.
    #[arg(long)]
    markdown: Option<PathBuf>,
    /// The Kith binary; by default the one built beside this program.
    #[arg(long, env = "KITH_BIN")]
    kith: Option<PathBuf>,
    /// Synapse's virtual environment, made when missing [default: ~/.cache/kith/synapse].
    #[arg(long, env = "KITH_BENCH_SYNAPSE_VENV")]
    synapse_venv: Option<PathBuf>,
    /// Where databases are put; must be on a real disk.
    #[arg(long, default_value = "/var/tmp")]
    work_dir: PathBuf,
    /// Leave logs and databases where they are.
    #[arg(long)]
    keep: bool,
}

#[tokio::main(flavor = "current_thread")]
async fn main() -> Result<()> {
    let arguments = Arguments::parse();
    let mut terminated = signal(SignalKind::terminate())?;
    // Returning from here, not exiting, is what stops the servers.
    tokio::select! {
        outcome = measure_all(&arguments) => outcome,
        _ = tokio::signal::ctrl_c() => anyhow::bail!("interrupted"),
        _ = terminated.recv() => anyhow::bail!("terminated"),
    }
}

async fn measure_all(arguments: &Arguments) -> Result<()> {
    raise_file_limit();
    let setup = arguments.setup()?;
    let mut runs = Vec::new();
    for &kind in &arguments.against {
        let mut rows = Vec::new();
        for group in &GROUPS {
            let wanted: Vec<_> =
                group.scenarios.iter().filter(|scenario| arguments.wants(**scenario)).collect();
            if wanted.is_empty() {
                continue;
            }
            let server = Server::start(kind, &setup, group.cost).await?;
            let mut world = World::new(server, setup.clone(), arguments.sizes(kind));
            for scenario in wanted {
                let run = tokio::time::timeout(SCENARIO_TIMEOUT, scenario.run(&mut world));
                if let Err(error) = run.await.context("took too long").flatten() {
                    world.push(failure(kind, *scenario, &error));
                    note(&format!("the server's log ends:\n{}", world.server.log_tail()));
                }
            }
            rows.append(&mut world.rows);
        }
        runs.push(rows);
    }
    write_results(arguments, &runs)?;
    let failed = runs.iter().flatten().filter(|row| row.operations == 0 && row.errors > 0).count();
    ensure!(failed == 0, "{failed} scenarios could not be measured");
    Ok(())
}

impl Arguments {
    fn wants(&self, scenario: Scenario) -> bool {
        self.scenario.is_empty() || self.scenario.contains(&scenario)
    }

    fn sizes(&self, kind: Kind) -> Sizes {
        let mut sizes = if self.quick { Sizes::quick() } else { Sizes::full(kind) };
        if let Some(seconds) = self.seconds {
            sizes.window = Duration::from_secs(seconds);
        }
        if let Some(members) = &self.members {
            sizes.members.clone_from(members);
        }
        sizes.senders = self.senders.unwrap_or(sizes.senders).max(1);
        sizes.joins = self.joins.unwrap_or(sizes.joins).max(2);
        sizes.polls = self.polls.unwrap_or(sizes.polls).max(1);
        sizes
    }

    fn setup(&self) -> Result<Setup> {
        let beside = std::env::current_exe()?.with_file_name("kith");
        let synapse_venv = match &self.synapse_venv {
            Some(venv) => venv.clone(),
            None => std::env::home_dir().context("no home directory")?.join(".cache/kith/synapse"),
        };
        let kith = self.kith.clone().unwrap_or(beside);
        let kith = fs::canonicalize(&kith).unwrap_or(kith);
        Ok(Setup { kith, synapse_venv, work_dir: self.work_dir.clone(), keep: self.keep })
    }
}

/// A scenario that could not run is part of the result, and the others still run.
fn failure(kind: Kind, scenario: Scenario, error: &anyhow::Error) -> Row {
    let name = scenario.to_possible_value().map(|value| value.get_name().to_owned()).unwrap_or_default();
    let mut row = Row::new(kind, "failed", name);
    row.errors = 1;
    row.add_note(&format!("{error:#}"));
    row
}

fn write_results(arguments: &Arguments, runs: &[Vec<Row>]) -> Result<()> {
    let mut text = format!("{}\n\n", machine());
    for rows in runs {
        if let Some(row) = rows.first() {
            let _ = writeln!(text, "## {}\n\n{}", row.server, report::table(rows));
        }
    }
    if let [left, right] = runs {
        let _ = write!(text, "## Side by side\n\n{}", report::comparison(left, right));
    }
    show(&text);
    if let Some(path) = &arguments.markdown {
        write(path, &text)?;
    }
    if let Some(path) = &arguments.json {
        let rows: Vec<_> = runs.iter().flatten().collect();
        write(path, &serde_json::to_string_pretty(&rows)?)?;
    }
    Ok(())
}

fn write(path: &Path, text: &str) -> Result<()> {
    fs::write(path, text).with_context(|| format!("cannot write {}", path.display()))
}

/// What was measured on, for the head of the table.
fn machine() -> String {
    let read = |program: &str, arguments: &[&str]| {
        let output = Command::new(program).args(arguments).output();
        output.map(|o| String::from_utf8_lossy(&o.stdout).trim().to_owned()).unwrap_or_default()
    };
    let cpuinfo = fs::read_to_string("/proc/cpuinfo").unwrap_or_default();
    let model =
        cpuinfo.lines().find_map(|line| line.strip_prefix("model name")?.split_once(": ")).map(|(_, m)| m);
    let cores = std::thread::available_parallelism().map_or(1, std::num::NonZero::get);
    format!(
        "{}, commit {}, {} with {cores} cores, Linux {}",
        read("date", &["-u", "+%F %R UTC"]),
        read("git", &["describe", "--always", "--dirty"]),
        model.unwrap_or("unknown processor"),
        read("uname", &["-r"]),
    )
}

/// The limit is inherited by the servers. Without the right to raise it, fewer long polls will fit.
fn raise_file_limit() {
    let limit = format!("--nofile={OPEN_FILES}:{OPEN_FILES}");
    let pid = std::process::id().to_string();
    let raised = Command::new("prlimit").args(["--pid", &pid, &limit]).output();
    if !raised.is_ok_and(|output| output.status.success()) {
        // An ordinary user may go up to the hard limit.
        let _ = Command::new("sh")
            .args(["-c", &format!("prlimit --pid {pid} --nofile=$(ulimit -Hn):$(ulimit -Hn)")])
            .output();
    }
}

#[expect(clippy::print_stdout, reason = "the table is what this program is for")]
fn show(text: &str) {
    println!("{text}");
}

/// Progress, apart from the result.
#[expect(clippy::print_stderr, reason = "a command-line program tells how far it is")]
fn note(text: &str) {
    eprintln!("{text}");
}
