//! `config.example.toml` is what `kith generate-config` prints.

use std::{fs, path::Path, process::Command};

use anyhow::{Context, Result, ensure};

use crate::{
    command::{cargo, output},
    workspace::Workspace,
};

const FILE: &str = "config.example.toml";

pub(crate) fn write() -> Result<()> {
    let root = Workspace::load()?.root;
    let path = root.join(FILE);
    fs::write(&path, generate(&mut cargo_run(&root))?)
        .with_context(|| format!("cannot write {}", path.display()))
}

pub(crate) fn check() -> Result<()> {
    compare(&mut cargo_run(&Workspace::load()?.root))
}

/// As [`check`], with a program that is built already.
pub(crate) fn check_with(kith: &Path) -> Result<()> {
    compare(&mut Command::new(kith))
}

fn compare(kith: &mut Command) -> Result<()> {
    let path = Workspace::load()?.root.join(FILE);
    let committed = fs::read_to_string(&path).unwrap_or_default();
    ensure!(committed == generate(kith)?, "{FILE} is not current: run `cargo xtask config-example`");
    Ok(())
}

/// From the root and without naming a package: dependencies then have the features of the whole workspace, as they were
/// built by everything else, and need not be built anew.
fn cargo_run(root: &Path) -> Command {
    let mut command = cargo();
    command.args(["run", "--quiet", "--bin", "kith", "--"]).current_dir(root);
    command
}

fn generate(kith: &mut Command) -> Result<String> {
    String::from_utf8(output(kith.arg("generate-config"))?.stdout).context("the configuration is not text")
}
