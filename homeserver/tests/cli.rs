//! The `kith` program as operators and their scripts meet it.

#![expect(clippy::unwrap_used, reason = "the helpers of a test fail as the test does")]

use std::{
    fs,
    io::Write,
    net::TcpListener,
    path::{Path, PathBuf},
    process::{Command, Output, Stdio},
    sync::atomic::{AtomicU32, Ordering},
};

/// A working directory of its own, without a configuration.
struct Place(PathBuf);

impl Place {
    fn new() -> Self {
        static COUNTER: AtomicU32 = AtomicU32::new(0);
        let number = COUNTER.fetch_add(1, Ordering::Relaxed);
        let path = std::env::temp_dir().join(format!("kith-cli-{}-{number}", std::process::id()));
        fs::create_dir_all(&path).unwrap();
        Self(path)
    }

    #[expect(clippy::disallowed_methods, reason = "it is emptied here, not read")]
    fn kith(&self, arguments: &[&str]) -> Command {
        let mut command = Command::new(env!("CARGO_BIN_EXE_kith"));
        command.args(arguments).current_dir(&self.0).stdin(Stdio::null());
        // What this test was started with is not part of it.
        for (variable, _) in std::env::vars_os() {
            if variable.to_str().is_some_and(|variable| variable.starts_with("KITH_")) {
                command.env_remove(variable);
            }
        }
        command.env("KITH_METRICS__ENABLED", "false").env("KITH_PASSWORDS__HASH_MEMORY_KIB", "8");
        command
    }

    fn run(&self, arguments: &[&str]) -> Output {
        self.kith(arguments).output().unwrap()
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        let _ = fs::remove_dir_all(&self.0);
    }
}

fn code(output: &Output) -> i32 {
    output.status.code().unwrap()
}

fn stdout(output: &Output) -> String {
    String::from_utf8(output.stdout.clone()).unwrap()
}

fn stderr(output: &Output) -> String {
    String::from_utf8(output.stderr.clone()).unwrap()
}

#[test]
fn committed_example_is_what_the_program_prints() {
    let committed =
        fs::read_to_string(Path::new(env!("CARGO_MANIFEST_DIR")).join("../config.example.toml")).unwrap();

    assert_eq!(stdout(&Place::new().run(&["generate-config"])), committed);
}

#[test]
fn example_can_be_used_as_it_is() {
    let place = Place::new();
    fs::write(place.0.join("kith.toml"), place.run(&["generate-config"]).stdout).unwrap();

    let checked = place.run(&["check"]);

    assert!(stdout(&checked).starts_with("ok    configuration  kith.toml\n"), "{}", stdout(&checked));
}

#[test]
fn exit_codes_tell_failures_apart() {
    let place = Place::new();
    fs::write(place.0.join("bad.toml"), "[server]\nnmae = \"x\"\n").unwrap();
    let taken = TcpListener::bind("127.0.0.1:0").unwrap();
    let taken = format!("[{{ bind = \"{}\" }}]", taken.local_addr().unwrap());

    assert_eq!(code(&place.run(&["version"])), 0);
    assert_eq!(code(&place.run(&["frobnicate"])), 2);
    let misconfigured = place.run(&["--config", "bad.toml", "serve"]);
    assert_eq!(code(&misconfigured), 3);
    assert!(stderr(&misconfigured).contains("bad.toml"), "{}", stderr(&misconfigured));
    let unreachable = place
        .kith(&["migrate"])
        .env("KITH_DATABASE__URL", "postgres://kith:s3cret@127.0.0.1:1/kith")
        .env("KITH_DATABASE__ACQUIRE_TIMEOUT_SECONDS", "1")
        .output()
        .unwrap();
    assert_eq!(code(&unreachable), 4);
    assert!(!stderr(&unreachable).contains("s3cret"), "{}", stderr(&unreachable));
    let address_taken = place.kith(&["serve"]).env("KITH_LISTENERS", taken).output().unwrap();
    assert_eq!(code(&address_taken), 5);
}

#[test]
fn accounts_are_made_and_changed_without_a_running_server() {
    let place = Place::new();

    let made = place.run(&["user", "create", "--admin", "--generate", "alice"]);
    let again = place.run(&["user", "create", "--no-password", "alice"]);
    let mut piped =
        place.kith(&["user", "create", "bob"]).stdin(Stdio::piped()).stdout(Stdio::piped()).spawn().unwrap();
    piped.stdin.take().unwrap().write_all(b"correct horse\n").unwrap();
    let piped = piped.wait_with_output().unwrap();
    let closed = place.run(&["user", "deactivate", "bob"]);
    let listed = place.run(&["user", "list"]);

    assert_eq!(code(&made), 0, "{}", stderr(&made));
    assert_eq!(stdout(&made).split_whitespace().next(), Some("@alice:localhost"));
    assert_eq!(code(&again), 1);
    assert!(stderr(&again).contains("taken"), "{}", stderr(&again));
    assert_eq!(code(&piped), 0);
    assert_eq!(code(&closed), 0, "{}", stderr(&closed));
    let lines = stdout(&listed);
    assert!(lines.contains("@alice:localhost\tadmin\t"), "{lines}");
    assert!(lines.contains("@bob:localhost\tdeactivated\t"), "{lines}");
}
