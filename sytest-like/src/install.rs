//! Installs what the cases need from other people: Synapse, and the client libraries. Each once, and again when its
//! list of requirements changes.

use std::path::{Path, PathBuf};
use std::process::Command;

/// Installs Synapse from PyPI, unless `KITH_TEST_SYNAPSE_PYTHON` names a Python that has it.
pub fn synapse() {
    if std::env::var_os("KITH_TEST_SYNAPSE_PYTHON").is_some() {
        return;
    }
    let home = std::env::var_os("HOME").expect("HOME is set");
    let venv = Path::new(&home).join(".cache/kith/synapse");
    if venv.join("installed").exists() {
        return;
    }
    run(Command::new("python3").args(["-m", "venv"]).arg(&venv));
    run(Command::new(venv.join("bin/pip")).args(["install", "--quiet", "matrix-synapse", "psycopg2-binary"]));
    std::fs::write(venv.join("installed"), "").expect("the cache can be written to");
}

/// Installs an S3-compatible server from PyPI; its program.
pub fn object_store() -> PathBuf {
    let home = std::env::var_os("HOME").expect("HOME is set");
    let venv = Path::new(&home).join(".cache/kith/moto");
    if !venv.join("installed").exists() {
        run(Command::new("python3").args(["-m", "venv"]).arg(&venv));
        run(Command::new(venv.join("bin/pip")).args(["install", "--quiet", "moto[server,s3]"]));
        std::fs::write(venv.join("installed"), "").expect("the cache can be written to");
    }
    venv.join("bin/moto_server")
}

/// Calls `install` unless it was called for this very list of requirements before; the list is kept in `target`.
pub fn once(requirements: &Path, target: &Path, install: impl FnOnce()) {
    let wanted = std::fs::read(requirements).expect("the list of requirements can be read");
    let stamp = target.join(".installed");
    if std::fs::read(&stamp).is_ok_and(|installed| installed == wanted) {
        return;
    }
    install();
    std::fs::write(stamp, wanted).expect("the cache can be written to");
}

/// Runs a command that must succeed.
pub fn run(command: &mut Command) {
    let status = command.status().unwrap_or_else(|error| panic!("{command:?}: {error}"));
    assert!(status.success(), "{command:?}: {status}");
}
