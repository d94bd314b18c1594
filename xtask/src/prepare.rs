//! The query data of sqlx, `crates/storage/.sqlx`: what lets anyone build without a database.
//!
//! The macros of sqlx write it themselves when they see a database, so no other tool is needed: a fresh database is
//! migrated, and the crate is compiled against it.

use std::{
    collections::BTreeMap,
    fs,
    path::{Path, PathBuf},
    process::Command,
};

use anyhow::{Context, Result, ensure};

use crate::{
    command::{cargo, run},
    workspace::Workspace,
};

const QUERY_DATA: &str = "crates/storage/.sqlx";
const MIGRATIONS: &str = "crates/storage/migrations";

pub(crate) fn write() -> Result<()> {
    let root = Workspace::load()?.root;
    let directory = root.join(QUERY_DATA);
    compile(&root, &directory, cargo().args(["check", "-p", "hs-storage", "--all-targets"]))
}

pub(crate) fn check() -> Result<()> {
    check_with(cargo().args(["check", "-p", "hs-storage", "--all-targets"]))
}

/// As [`check`], by a compilation that is done anyway.
pub(crate) fn check_with(compilation: &mut Command) -> Result<()> {
    let root = Workspace::load()?.root;
    let fresh = std::env::temp_dir().join(format!("kith-sqlx-{}", std::process::id()));
    let compiled = compile(&root, &fresh, compilation);
    let same = read_all(&root.join(QUERY_DATA)) == read_all(&fresh);
    let _ = fs::remove_dir_all(&fresh);
    compiled?;
    ensure!(same, "{QUERY_DATA} is not current: run `./x db prepare`");
    Ok(())
}

fn compile(root: &Path, directory: &Path, compilation: &mut Command) -> Result<()> {
    let database = ThrowAwayDatabase::create()?;
    let mut migrations: Vec<PathBuf> =
        fs::read_dir(root.join(MIGRATIONS))?.filter_map(|entry| Some(entry.ok()?.path())).collect();
    migrations.retain(|path| path.extension().is_some_and(|extension| extension == "sql"));
    migrations.sort();
    for migration in migrations {
        psql(&database.url, &["-f", &migration.display().to_string()])?;
    }
    if directory.exists() {
        fs::remove_dir_all(directory)?;
    }
    fs::create_dir_all(directory)?;
    // The macros only write while they run, and they only run when the crate is compiled.
    let library = root.join("crates/storage/src/lib.rs");
    let text = fs::read(&library)?;
    fs::write(&library, text)?;
    let compilation =
        compilation.current_dir(root).envs([("SQLX_OFFLINE", "false"), ("DATABASE_URL", &database.url)]);
    run(compilation.env("SQLX_OFFLINE_DIR", directory))
}

struct ThrowAwayDatabase {
    server: String,
    name: String,
    url: String,
}

impl ThrowAwayDatabase {
    fn create() -> Result<Self> {
        let server = std::env::var("KITH_TEST_DATABASE_URL")
            .context("KITH_TEST_DATABASE_URL is not set: use `./x`, or `./x db start`")?;
        let name = format!("kith_prepare_{}", std::process::id());
        psql(&server, &["-c", &format!("CREATE DATABASE {name}")])?;
        let url = replace_database(&server, &name).context("KITH_TEST_DATABASE_URL names no database")?;
        Ok(Self { server, name, url })
    }
}

impl Drop for ThrowAwayDatabase {
    fn drop(&mut self) {
        let _ = psql(&self.server, &["-c", &format!("DROP DATABASE {} WITH (FORCE)", self.name)]);
    }
}

/// The same server, another database.
fn replace_database(url: &str, name: &str) -> Option<String> {
    let (address, query) = url.split_once('?').map_or((url, None), |(address, query)| (address, Some(query)));
    let (server, _) = address.rsplit_once('/').filter(|(server, _)| !server.ends_with('/'))?;
    Some(match query {
        Some(query) => format!("{server}/{name}?{query}"),
        None => format!("{server}/{name}"),
    })
}

fn psql(url: &str, arguments: &[&str]) -> Result<()> {
    run(Command::new("psql").args(["-X", "-q", "-v", "ON_ERROR_STOP=1", "-d", url]).args(arguments))
}

fn read_all(directory: &Path) -> BTreeMap<String, Vec<u8>> {
    let entries = fs::read_dir(directory).into_iter().flatten().flatten();
    entries
        .filter_map(|entry| Some((entry.file_name().into_string().ok()?, fs::read(entry.path()).ok()?)))
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn database_of_a_url_is_replaced() {
        let replaced = |url| replace_database(url, "new");

        assert_eq!(replaced("postgres://u@h/old").as_deref(), Some("postgres://u@h/new"));
        assert_eq!(
            replaced("postgres://u@h/old?host=/run/x").as_deref(),
            Some("postgres://u@h/new?host=/run/x")
        );
        assert_eq!(replaced("postgres://h"), None);
    }
}
