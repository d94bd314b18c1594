//! The embedded Postgres against a real one: what it survives and what it refuses.

#![expect(clippy::unwrap_used, reason = "the helpers of a test fail as the test does")]

use std::{
    fs,
    path::{Path, PathBuf},
    process::Command,
    sync::atomic::{AtomicU32, Ordering},
};

use homeserver::postgres::{EmbeddedPostgres, PostgresError, PostgresOptions, PostgresState};
use rustix::process::{Pid, Signal, kill_process};
use tokio::runtime::Runtime;

/// A data directory that is removed at the end of the test.
struct DataDir(PathBuf);

impl DataDir {
    fn new() -> Self {
        static COUNTER: AtomicU32 = AtomicU32::new(0);
        let number = COUNTER.fetch_add(1, Ordering::Relaxed);
        // Postgres may run as another user, which has to get here: so not below a home directory.
        let path = std::env::temp_dir().join(format!("kith-pg-{}-{number}", std::process::id()));
        fs::create_dir_all(&path).unwrap();
        Self(path)
    }

    fn options(&self) -> PostgresOptions {
        PostgresOptions { data_dir: self.0.clone(), bin_dir: None, user: None, max_connections: 5 }
    }

    fn cluster(&self) -> PathBuf {
        self.0.join("postgres/cluster")
    }
}

impl Drop for DataDir {
    fn drop(&mut self) {
        let _ = fs::remove_dir_all(&self.0);
    }
}

fn query(url: &str, sql: &str) -> String {
    let output = Command::new("psql").args(["-X", "-q", "-At", "-c", sql, url]).output().unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    String::from_utf8(output.stdout).unwrap().trim().to_owned()
}

fn kill_hard(pid: u32) {
    kill_process(Pid::from_raw(pid.cast_signed()).unwrap(), Signal::KILL).unwrap();
}

/// Loses a running Postgres as a killed Kith does: nobody stops it, nobody watches it, the lock is gone.
fn abandon(runtime: Runtime, postgres: EmbeddedPostgres) {
    runtime.shutdown_background();
    drop(postgres);
}

#[test]
fn data_outlives_a_stop_and_a_start() {
    let data_dir = DataDir::new();
    let runtime = Runtime::new().unwrap();

    let first = runtime.block_on(EmbeddedPostgres::start(&data_dir.options())).unwrap();
    query(first.url(), "CREATE TABLE t AS SELECT 42 AS n");
    runtime.block_on(first.stop());
    assert!(!data_dir.cluster().join("postmaster.pid").exists());
    let second = runtime.block_on(EmbeddedPostgres::start(&data_dir.options())).unwrap();

    assert_eq!(query(second.url(), "SELECT n FROM t"), "42");
    assert_eq!(query(second.url(), "SHOW listen_addresses"), "");
    assert_eq!(query(second.url(), "SHOW synchronous_commit"), "on");
    runtime.block_on(second.stop());
}

#[test]
fn killed_postgres_is_started_again() {
    let data_dir = DataDir::new();
    let runtime = Runtime::new().unwrap();
    let postgres = runtime.block_on(EmbeddedPostgres::start(&data_dir.options())).unwrap();
    query(postgres.url(), "CREATE TABLE t AS SELECT 42 AS n");
    let mut state = postgres.state().unwrap();

    kill_hard(postgres.pid().unwrap());
    runtime.block_on(async {
        state.wait_for(|state| *state == PostgresState::Restarting).await.unwrap();
        state.wait_for(|state| *state == PostgresState::Running).await.unwrap();
    });

    assert_eq!(query(postgres.url(), "SELECT n FROM t"), "42");
    runtime.block_on(postgres.stop());
}

#[test]
fn postgres_of_a_killed_kith_is_taken_over() {
    let data_dir = DataDir::new();
    let first_runtime = Runtime::new().unwrap();
    let first = first_runtime.block_on(EmbeddedPostgres::start(&data_dir.options())).unwrap();
    query(first.url(), "CREATE TABLE t AS SELECT 42 AS n");
    let first_pid = first.pid().unwrap();
    abandon(first_runtime, first);
    assert!(Path::new(&format!("/proc/{first_pid}")).exists());

    let runtime = Runtime::new().unwrap();
    let second = runtime.block_on(EmbeddedPostgres::start(&data_dir.options())).unwrap();

    assert_eq!(query(second.url(), "SELECT n FROM t"), "42");
    assert_ne!(second.pid(), Some(first_pid));
    runtime.block_on(second.stop());
}

#[test]
fn pid_file_left_by_a_power_loss_does_not_hinder() {
    let data_dir = DataDir::new();
    let first_runtime = Runtime::new().unwrap();
    let first = first_runtime.block_on(EmbeddedPostgres::start(&data_dir.options())).unwrap();
    query(first.url(), "CREATE TABLE t AS SELECT 42 AS n");
    let pid_file = data_dir.cluster().join("postmaster.pid");
    let left_behind = fs::read_to_string(&pid_file).unwrap();
    let pid = first.pid().unwrap();
    abandon(first_runtime, first);
    kill_hard(pid);
    // The number now belongs to a process that has nothing to do with it: this one.
    let recycled = left_behind.replacen(&pid.to_string(), &std::process::id().to_string(), 1);
    fs::write(&pid_file, recycled).unwrap();

    let runtime = Runtime::new().unwrap();
    let second = runtime.block_on(EmbeddedPostgres::start(&data_dir.options())).unwrap();

    assert_eq!(query(second.url(), "SELECT n FROM t"), "42");
    runtime.block_on(second.stop());
}

#[test]
fn second_kith_is_refused_but_may_join() {
    let data_dir = DataDir::new();
    let runtime = Runtime::new().unwrap();
    let first = runtime.block_on(EmbeddedPostgres::start(&data_dir.options())).unwrap();

    let refused = runtime.block_on(EmbeddedPostgres::start(&data_dir.options())).unwrap_err();
    let joined = runtime.block_on(EmbeddedPostgres::start_or_join(&data_dir.options())).unwrap();

    assert!(matches!(refused, PostgresError::InUse { .. }));
    assert!(refused.to_string().contains(&data_dir.0.display().to_string()), "{refused}");
    assert_eq!(query(joined.url(), "SELECT 1"), "1");
    runtime.block_on(joined.stop());
    assert_eq!(query(first.url(), "SELECT 1"), "1");
    runtime.block_on(first.stop());
}

#[test]
fn cluster_of_another_major_version_is_refused() {
    let data_dir = DataDir::new();
    fs::create_dir_all(data_dir.cluster()).unwrap();
    fs::write(data_dir.cluster().join("PG_VERSION"), "9\n").unwrap();
    let runtime = Runtime::new().unwrap();

    let refused = runtime.block_on(EmbeddedPostgres::start(&data_dir.options())).unwrap_err();

    assert!(refused.to_string().contains("made by Postgres 9"), "{refused}");
}

#[test]
fn half_made_cluster_is_made_anew() {
    let data_dir = DataDir::new();
    let half = data_dir.0.join("postgres/cluster.new");
    fs::create_dir_all(&half).unwrap();
    fs::write(half.join("PG_VERSION"), "15\n").unwrap();
    let runtime = Runtime::new().unwrap();

    let postgres = runtime.block_on(EmbeddedPostgres::start(&data_dir.options())).unwrap();

    assert_eq!(query(postgres.url(), "SELECT current_database()"), "kith");
    assert!(!half.exists());
    runtime.block_on(postgres.stop());
}

#[test]
fn socket_of_a_deep_data_directory_goes_elsewhere() {
    let parent = DataDir::new();
    let data_dir = DataDir(parent.0.join("a".repeat(60)).join("b".repeat(60)));
    let runtime = Runtime::new().unwrap();

    let postgres = runtime.block_on(EmbeddedPostgres::start(&data_dir.options())).unwrap();

    assert_eq!(query(postgres.url(), "SELECT 1"), "1");
    runtime.block_on(postgres.stop());
}
