//! Compiling the tests, and finding what was compiled.

use std::{
    path::{Path, PathBuf},
    process::Stdio,
};

use anyhow::{Context, Result, ensure};
use serde_json::Value;

use crate::{command::cargo, workspace::Workspace};

/// Everything that was compiled for the tests.
#[derive(Debug)]
pub(super) struct Binaries {
    /// The server.
    pub(super) kith: PathBuf,
    /// What lets real clients talk on it.
    pub(super) clients: PathBuf,
    pub(super) tests: Vec<TestBinary>,
}

/// One program made of tests.
#[derive(Clone, Debug)]
pub(super) struct TestBinary {
    pub(super) package: String,
    pub(super) target: String,
    pub(super) is_integration: bool,
    pub(super) executable: PathBuf,
    pub(super) directory: PathBuf,
}

impl TestBinary {
    pub(super) fn name(&self) -> String {
        if self.is_integration { format!("{} {}", self.package, self.target) } else { self.package.clone() }
    }
}

impl Binaries {
    pub(super) fn build(workspace: &Workspace) -> Result<Self> {
        let output = cargo()
            .args([
                "test",
                "--workspace",
                "--no-run",
                "--locked",
                "--message-format",
                "json-render-diagnostics",
            ])
            .stderr(Stdio::inherit())
            .output()
            .context("cannot start cargo")?;
        ensure!(output.status.success(), "the tests do not compile");
        let messages: Vec<Value> = output
            .stdout
            .split(|byte| *byte == b'\n')
            .filter_map(|line| serde_json::from_slice(line).ok())
            .collect();
        let tests = messages.iter().filter_map(|message| test_binary(message, workspace)).collect();
        let program = |name| {
            let found = messages.iter().find_map(|message| program(message, name));
            found.with_context(|| format!("`{name}` was not built with the tests"))
        };
        Ok(Self { kith: program("kith")?, clients: program("clients")?, tests })
    }
}

fn program(message: &Value, name: &str) -> Option<PathBuf> {
    let is_program = message["target"]["name"] == name && message["profile"]["test"] == false;
    is_program.then(|| message["executable"].as_str().map(PathBuf::from))?
}

fn test_binary(message: &Value, workspace: &Workspace) -> Option<TestBinary> {
    let executable = message["executable"].as_str().filter(|_| message["profile"]["test"] == true)?;
    let directory = Path::new(message["manifest_path"].as_str()?).parent()?;
    let package = workspace.ours().find(|package| package.directory == directory)?;
    Some(TestBinary {
        package: package.name.clone(),
        target: message["target"]["name"].as_str()?.to_owned(),
        is_integration: message["target"]["kind"][0] == "test",
        executable: executable.into(),
        directory: directory.to_owned(),
    })
}
