//! Runs the cases: `conformance [--against synapse] [FILTER…]`.
//!
//! Against Synapse it installs Synapse from PyPI on first use, and leaves out the cases that say they do not apply
//! there (`not on synapse:`) and those that `synapse-deviations.txt` lists.

use std::process::{Command, ExitCode};

use sytest_like::{cases, install};

fn main() -> ExitCode {
    let mut arguments: Vec<String> = std::env::args().skip(1).collect();
    let synapse = match arguments.iter().position(|argument| argument == "--against") {
        None => false,
        Some(at) => {
            arguments.remove(at);
            let other = if at < arguments.len() { arguments.remove(at) } else { String::new() };
            assert!(other == "synapse", "--against takes `synapse`");
            true
        }
    };
    let mut cargo = Command::new(std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into()));
    cargo.args(["test", "-p", "sytest-like", "--test", "main", "--"]);
    if synapse {
        install::synapse();
        cargo.env("KITH_TEST_AGAINST", "synapse");
        for name in skipped_on_synapse() {
            cargo.args(["--skip", &name]);
        }
    }
    cargo.args(arguments);
    let status = cargo.status().expect("cargo can be started");
    if status.success() { ExitCode::SUCCESS } else { ExitCode::FAILURE }
}

fn skipped_on_synapse() -> Vec<String> {
    let mut names: Vec<String> =
        cases::all().into_iter().filter(|case| case.not_on_synapse.is_some()).map(|case| case.name).collect();
    let list = include_str!("../../synapse-deviations.txt");
    let known = cases::all();
    for line in list.lines().filter(|line| !line.is_empty() && !line.starts_with('#')) {
        let (name, reason) = line.split_once(": ").expect("a deviation is `case: reason`");
        assert!(!reason.is_empty() && known.iter().any(|case| case.name == name), "no case {name}");
        names.push(name.to_owned());
    }
    names
}
