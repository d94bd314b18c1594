//! Chores of the project, in the language of the project: `cargo xtask <chore>`.
//!
//! `./x` is the front door; it installs what is missing and starts a database, then calls these.

#![expect(clippy::print_stdout, clippy::print_stderr, reason = "a tool talks through its output")]

mod command;
mod config_example;
mod dependencies;
mod prepare;
mod test;
mod tidy;
mod workspace;

use std::process::ExitCode;

const USAGE: &str = "\
usage: cargo xtask <chore>

  test [SUITE] [--against synapse] [FILTER...]   run the tests; SUITE is one of lint, unit, db, conformance, crash,
                                                 synapse, chaos, clients, doc; without one, all of them
  prepare [--check]           write (or compare) crates/storage/.sqlx; needs KITH_TEST_DATABASE_URL
  config-example [--check]    write (or compare) config.example.toml
  tidy                        floors between the crates, length of files and functions
  dependencies                licences, banned and duplicate crates, as deny.toml says";

fn main() -> ExitCode {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let words: Vec<&str> = arguments.iter().map(String::as_str).collect();
    let done = match words.as_slice() {
        ["test", rest @ ..] => test::run(rest),
        ["prepare"] => prepare::write(),
        ["prepare", "--check"] => prepare::check(),
        ["config-example"] => config_example::write(),
        ["config-example", "--check"] => config_example::check(),
        ["tidy"] => tidy::check(),
        ["dependencies"] => dependencies::check(),
        _ => {
            eprintln!("{USAGE}");
            return ExitCode::from(2);
        }
    };
    match done {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("xtask: {error:#}");
            ExitCode::FAILURE
        }
    }
}
