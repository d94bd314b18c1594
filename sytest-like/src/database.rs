//! Throw-away databases, made with `psql` in the cluster that `KITH_TEST_DATABASE_URL` names.

use std::process::Command;
use std::sync::LazyLock;
use std::sync::atomic::{AtomicU32, Ordering};

use crate::process::is_alive;

const NAME_PREFIX: &str = "kith_conformance_";

/// A database that is dropped with this value.
#[derive(Debug)]
pub(crate) struct Database {
    name: String,
}

impl Database {
    /// Makes an empty database. Collation C, since Synapse insists on it and Kith must not care.
    pub(crate) fn create() -> Self {
        static NEXT: AtomicU32 = AtomicU32::new(0);
        static SWEPT: LazyLock<()> = LazyLock::new(sweep_dead_runs);
        LazyLock::force(&SWEPT);
        let name = format!("{NAME_PREFIX}{}_{}", std::process::id(), NEXT.fetch_add(1, Ordering::Relaxed));
        run(&format!(
            "CREATE DATABASE {name} TEMPLATE template0 ENCODING 'UTF8' LC_COLLATE 'C' LC_CTYPE 'C'"
        ));
        Self { name }
    }

    /// The URL a server connects to it with.
    pub(crate) fn url(&self) -> String {
        with_database(&cluster_url(), &self.name)
    }
}

impl Drop for Database {
    fn drop(&mut self) {
        run(&format!("DROP DATABASE IF EXISTS {} WITH (FORCE)", self.name));
    }
}

/// `postgres://user@host/postgres?host=…` with another database in it.
fn with_database(url: &str, name: &str) -> String {
    let (base, query) =
        url.split_once('?').map_or((url, String::new()), |(base, query)| (base, format!("?{query}")));
    let authority = base.find("://").map_or(0, |at| at + 3);
    let end = base[authority..].find('/').map_or(base.len(), |at| authority + at);
    format!("{}/{name}{query}", &base[..end])
}

fn cluster_url() -> String {
    std::env::var("KITH_TEST_DATABASE_URL").expect(
        "KITH_TEST_DATABASE_URL names a Postgres to make throw-away databases in; `./x test` starts one",
    )
}

fn run(statement: &str) -> String {
    let output = Command::new("psql")
        .arg(cluster_url())
        .args(["--no-psqlrc", "--quiet", "--tuples-only", "--no-align", "--command", statement])
        .output()
        .expect("psql (postgresql-client) can be started");
    let complaint = String::from_utf8_lossy(&output.stderr);
    // Dropping a database twice, or while another run sweeps, is no failure of a case.
    assert!(output.status.success() || statement.starts_with("DROP"), "{statement}: {complaint}");
    String::from_utf8_lossy(&output.stdout).into_owned()
}

fn sweep_dead_runs() {
    let names = run(&format!("SELECT datname FROM pg_database WHERE starts_with(datname, '{NAME_PREFIX}')"));
    for name in names.lines() {
        let owner =
            name.strip_prefix(NAME_PREFIX).and_then(|rest| rest.split('_').next()?.parse::<u32>().ok());
        if owner.is_some_and(|pid| !is_alive(pid)) {
            run(&format!("DROP DATABASE IF EXISTS {name} WITH (FORCE)"));
        }
    }
}
