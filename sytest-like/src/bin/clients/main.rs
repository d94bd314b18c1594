//! Lets two unmodified client libraries hold a conversation on a fresh server, and compares what they saw:
//! `clients [--against synapse]`. `clients/README.md` says what they do.
//!
//! The libraries are installed on first use: matrix-js-sdk beside its script, matrix-nio in `~/.cache/kith/clients`.

#![expect(clippy::print_stdout, reason = "this is a command-line program")]

use std::fs::File;
use std::path::{Path, PathBuf};
use std::process::{Command, ExitCode, Output, Stdio};

use sytest_like::{Server, Value, install, unique};

/// Who says what in the end, and under which key the other calls them.
const CLIENTS: [&str; 2] = ["js", "nio"];

fn main() -> ExitCode {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    match arguments.iter().map(String::as_str).collect::<Vec<_>>().as_slice() {
        [] => {}
        ["--against", "synapse"] => return against_synapse(),
        _ => panic!("usage: clients [--against synapse]"),
    }
    let python = install_libraries();
    let runtime = tokio::runtime::Runtime::new().expect("a runtime can be made");
    let server = runtime.block_on(Server::start());
    let names = CLIENTS.map(unique);
    let directory = directory();
    let mut js = Command::new("node");
    js.arg(directory.join("js_sdk.mjs")).args([server.base_url(), &names[0], &names[1]]);
    let mut nio = Command::new(python);
    nio.arg(directory.join("nio_client.py")).args([server.base_url(), &names[1], &names[0]]);
    let reports = std::thread::scope(|scope| {
        [js, nio]
            .map(|mut client| scope.spawn(move || speak(&mut client)))
            .map(|client| client.join().unwrap_or_else(|panic| std::panic::resume_unwind(panic)))
    });
    let ids = names.map(|name| format!("@{name}:{}", server.name()));
    let [Some(js), Some(nio)] = reports else {
        const LINES: usize = 40;
        let log = server.log();
        let lines: Vec<_> = log.lines().collect();
        println!("the end of the server's log:\n{}", lines[lines.len().saturating_sub(LINES)..].join("\n"));
        return ExitCode::FAILURE;
    };
    let faults = judge(&js, &nio, &ids);
    for fault in &faults {
        println!("{fault}");
    }
    println!("{} events in the room, {} faults", js["history"].as_array().map_or(0, Vec::len), faults.len());
    if faults.is_empty() { ExitCode::SUCCESS } else { ExitCode::FAILURE }
}

/// The kit learns from the environment what to start, and that cannot be changed from inside.
fn against_synapse() -> ExitCode {
    install::synapse();
    let this = std::env::current_exe().expect("this program has a path");
    let status = Command::new(this).env("KITH_TEST_AGAINST", "synapse").status().expect("it can be started");
    if status.success() { ExitCode::SUCCESS } else { ExitCode::FAILURE }
}

fn directory() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("clients")
}

/// Installs what is not there yet, and returns the Python that has matrix-nio.
fn install_libraries() -> PathBuf {
    let home = std::env::var_os("HOME").expect("HOME is set");
    let cache = Path::new(&home).join(".cache/kith");
    std::fs::create_dir_all(&cache).expect("the cache can be written to");
    // Two runs at once must not install into each other.
    let lock = File::create(cache.join("clients.lock")).expect("the cache can be written to");
    lock.lock().expect("a file can be locked");
    let directory = directory();
    install::once(&directory.join("package-lock.json"), &directory.join("node_modules"), || {
        install::run(
            Command::new("npm").args(["ci", "--no-audit", "--no-fund", "--silent"]).current_dir(&directory),
        );
    });
    let venv = cache.join("clients");
    let requirements = directory.join("requirements.txt");
    install::once(&requirements, &venv, || {
        install::run(Command::new("python3").args(["-m", "venv", "--clear"]).arg(&venv));
        install::run(
            Command::new(venv.join("bin/pip")).args(["install", "--quiet", "-r"]).arg(&requirements),
        );
    });
    venv.join("bin/python")
}

/// Runs one client to its end. Its last line is its report.
fn speak(client: &mut Command) -> Option<Value> {
    let running = client.stdin(Stdio::null()).stdout(Stdio::piped()).spawn();
    let running = running.unwrap_or_else(|error| panic!("{client:?}: {error}"));
    let Output { status, stdout, .. } = running.wait_with_output().expect("our own child can be waited for");
    let text = String::from_utf8_lossy(&stdout);
    let report = text.lines().last().and_then(|line| serde_json::from_str(line).ok());
    if !status.success() || report.is_none() {
        println!("{client:?} ended with {status}\n{text}");
    }
    report.filter(|_| status.success())
}

/// What is wrong with the two reports: where they differ, and where both miss what was done.
fn judge(js: &Value, nio: &Value, [js_id, nio_id]: &[String; 2]) -> Vec<String> {
    let keys = |report: &Value| report.as_object().map(|map| map.keys().cloned().collect::<Vec<_>>());
    let mut faults = Vec::new();
    if keys(js) != keys(nio) {
        faults.push(format!("they tell of different things: {:?}, {:?}", keys(js), keys(nio)));
    }
    for key in keys(js).unwrap_or_default() {
        if js[&key] != nio[&key] {
            faults.push(format!("{key} differs:\n  js  {}\n  nio {}", js[&key], nio[&key]));
        }
    }
    let mut expect = |pointer: &str, wanted: Value| {
        let found = js.pointer(pointer).unwrap_or(&Value::Null);
        if *found != wanted {
            faults.push(format!("{pointer} is {found} and not {wanted}"));
        }
    };
    let mut members = [js_id.as_str(), nio_id.as_str()];
    members.sort_unstable();
    expect("/name", "Meeting place".into());
    expect("/topic", "Everything has been said".into());
    expect("/members", members.as_slice().into());
    expect("/texts/js", "hello again from js".into());
    expect("/texts/nio", "hello again from nio".into());
    expect("/reactions/js", serde_json::json!([["👍", nio_id]]));
    expect("/reactions/nio", serde_json::json!([["🎉", js_id]]));
    expect("/replaced_by", js["replacement"].clone());
    expect("/predecessor", js["room"].clone());
    expect("/replacement_name", "Meeting place".into());
    expect("/replacement_members", members.as_slice().into());
    expect("/history/0/1", "m.room.create".into());
    expect("/replacement_history/0/1", "m.room.create".into());
    let events = js["history"].as_array().cloned().unwrap_or_default();
    let count = |kind: &str, redacted: bool| {
        events.iter().filter(|event| event[1] == kind && event[3] == redacted).count()
    };
    // A greeting and its edit each, what is read back, 25 lines; one message each was taken back.
    for (kind, redacted, wanted) in [
        ("m.room.message", false, 30),
        ("m.room.message", true, 2),
        ("m.room.redaction", false, 2),
        ("m.reaction", false, 2),
        ("m.room.tombstone", false, 1),
    ] {
        let found = count(kind, redacted);
        if found != wanted {
            faults.push(format!("{found} of {kind} (redacted: {redacted}) and not {wanted}"));
        }
    }
    faults
}
