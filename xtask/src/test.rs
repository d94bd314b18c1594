//! `cargo xtask test`: everything that has to hold before a change goes in.
//!
//! The workspace is compiled twice, once by clippy and once for the tests, always as a whole: choosing packages would
//! choose other features of their dependencies, and compile those again. The test programs are then run from here.

mod binaries;
mod report;

use std::{path::Path, process::Command};

use anyhow::{Result, bail};

use self::{
    binaries::{Binaries, TestBinary},
    report::Report,
};
use crate::{
    command::{cargo, run as run_command},
    config_example, dependencies, prepare, tidy,
    workspace::Workspace,
};

/// Packages whose tests need no database.
const WITHOUT_DATABASE: [&str; 5] = ["hs-model", "hs-room-rules", "hs-http", "bench", "xtask"];

/// The package with the black-box cases.
const BLACK_BOX: &str = "sytest-like";

/// Black-box cases that take long or need other people's servers: each family runs by itself.
const APART: [(Suite, &str); 3] =
    [(Suite::Crash, "crash::"), (Suite::Synapse, "federation_synapse::"), (Suite::Chaos, "chaos::")];

/// How many rounds the chaos goes on when it is asked for by name; a few minutes.
const CHAOS_ROUNDS: &str = "120";

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Suite {
    Lint,
    Unit,
    Db,
    Conformance,
    Crash,
    Synapse,
    Chaos,
    Clients,
    Doc,
}

impl Suite {
    /// In the order in which they run: what fails fast comes first.
    const ALL: [(&'static str, Self); 9] = [
        ("lint", Self::Lint),
        ("unit", Self::Unit),
        ("db", Self::Db),
        ("conformance", Self::Conformance),
        ("crash", Self::Crash),
        ("synapse", Self::Synapse),
        ("chaos", Self::Chaos),
        ("clients", Self::Clients),
        ("doc", Self::Doc),
    ];
}

pub(crate) fn run(arguments: &[&str]) -> Result<()> {
    let (suite, rest) = match arguments {
        [name, rest @ ..] if !name.starts_with('-') => {
            let Some((_, suite)) = Suite::ALL.iter().find(|(known, _)| known == name) else {
                let known: Vec<_> = Suite::ALL.iter().map(|(name, _)| *name).collect();
                bail!("there is no suite `{name}`, only {}", known.join(", "));
            };
            (Some(*suite), rest)
        }
        rest => (None, rest),
    };
    if rest.contains(&"--against") {
        return against(rest);
    }
    let workspace = Workspace::load()?;
    let mut report = Report::default();
    let wants = |one: Suite| suite.is_none_or(|suite| suite == one);
    if wants(Suite::Lint) {
        lint(&mut report);
    }
    if suite.is_none_or(|suite| !matches!(suite, Suite::Lint | Suite::Doc)) {
        run_suites(&mut report, &workspace, wants, rest)?;
    }
    if wants(Suite::Doc) {
        report.step("documentation", || {
            run_command(cargo().args(["doc", "--workspace", "--no-deps"]).env("RUSTDOCFLAGS", "-D warnings"))
        });
    }
    report.finish()
}

/// The black-box cases against another server; the suite knows how.
fn against(arguments: &[&str]) -> Result<()> {
    run_command(cargo().args(["run", "--quiet", "--bin", "conformance", "--"]).args(arguments))
}

fn lint(report: &mut Report) {
    report.step("formatting", || run_command(cargo().args(["fmt", "--all", "--check"])));
    report.step("tidiness", tidy::check);
    report.step("dependencies", dependencies::check);
    report.step("clippy, and the query data", || {
        let mut clippy = cargo();
        clippy.args(["clippy", "--workspace", "--all-targets", "--locked", "--", "-D", "warnings"]);
        prepare::check_with(&mut clippy)
    });
}

fn run_suites(
    report: &mut Report,
    workspace: &Workspace,
    wants: impl Fn(Suite) -> bool,
    filters: &[&str],
) -> Result<()> {
    let mut built = None;
    report.step("build", || {
        built = Some(Binaries::build(workspace)?);
        Ok(())
    });
    // Without programs there is nothing to run, and the report says why.
    let Some(binaries) = built else { return report.finish() };
    let kith = binaries.kith.clone();
    if wants(Suite::Lint) {
        report.step("config.example.toml", || config_example::check_with(&kith));
    }
    for binary in &binaries.tests {
        let suite = match binary.package.as_str() {
            BLACK_BOX if binary.is_integration => continue,
            package if WITHOUT_DATABASE.contains(&package) => Suite::Unit,
            "homeserver" | BLACK_BOX if !binary.is_integration => Suite::Unit,
            _ => Suite::Db,
        };
        if wants(suite) {
            report.tests(&binary.name(), &mut binary.command(&kith, filters));
        }
    }
    for binary in binaries.tests.iter().filter(|binary| binary.package == BLACK_BOX && binary.is_integration)
    {
        if wants(Suite::Conformance) {
            let mut command = binary.command(&kith, filters);
            for (_, family) in APART {
                command.args(["--skip", family]);
            }
            report.tests("conformance", &mut command);
        }
        for (suite, family) in APART.into_iter().filter(|(suite, _)| wants(*suite)) {
            let only = if filters.is_empty() { vec![family] } else { filters.to_vec() };
            let mut command = binary.command(&kith, &only);
            if suite == Suite::Chaos && !wants(Suite::Conformance) {
                command.env("KITH_TEST_CHAOS_ROUNDS", CHAOS_ROUNDS);
            }
            report.tests(family.trim_end_matches(':'), &mut command);
        }
    }
    if wants(Suite::Clients) {
        report.step("clients", || run_command(Command::new(&binaries.clients).env("KITH_BIN", &kith)));
    }
    Ok(())
}

impl TestBinary {
    fn command(&self, kith: &Path, filters: &[&str]) -> Command {
        let mut command = Command::new(&self.executable);
        command.current_dir(&self.directory).args(filters);
        // What cargo sets for the tests it runs.
        command.env("CARGO_MANIFEST_DIR", &self.directory).env("KITH_BIN", kith);
        command
    }
}
