//! An encrypted conversation between matrix-js-sdk and matrix-nio: every device has to read everything.

use sytest_like::{Pair, Server, Value, json, unique};

use crate::{Faults, Libraries, speak_together};

/// What is said, in this order.
const TEXTS: [&str; 8] = [
    "one from alice",
    "two from alice's second",
    "three from bob",
    "four from nio",
    "five to all devices",
    "six by sliding sync",
    "seven while bob is away",
    "nio has read all",
];
/// Who has to have read it in the end.
const DEVICES: [&str; 5] = ["alice", "alice's second", "alice's third", "bob's second", "nio"];

/// On one server.
pub(super) async fn hold(libraries: &Libraries) -> Result<Faults, String> {
    let server = Server::start().await;
    converse(libraries, &server, &server)
}

/// Alice and Bob are on Kith, and nio's user is on Synapse.
pub(super) async fn hold_between(libraries: &Libraries) -> Result<Faults, String> {
    let pair = Pair::kith_and_synapse().await;
    converse(libraries, &pair.near, &pair.far)
}

/// The scripts of matrix-js-sdk use the near server, and that of matrix-nio the far one.
fn converse(libraries: &Libraries, near: &Server, far: &Server) -> Result<Faults, String> {
    let [alice, bob, nio_name] = ["alice", "bob", "nio"].map(unique);
    let nio_id = format!("@{nio_name}:{}", far.name());
    let mut js = libraries.node("js_crypto.mjs");
    js.args([near.base_url(), &alice, &bob, &nio_id]);
    let mut nio = libraries.python("nio_crypto.py");
    nio.args([far.base_url(), &nio_name]);
    let [js, nio] = speak_together(near, [js, nio])?;
    let mut faults = Vec::new();
    if js["room"] != nio["room"] {
        faults.push(format!("they were in different rooms: {}, {}", js["room"], nio["room"]));
    }
    for device in DEVICES {
        let texts = [&js, &nio].into_iter().find_map(|report| report["texts"].get(device));
        let texts = texts.unwrap_or(&Value::Null);
        if *texts != json!(TEXTS) {
            faults.push(format!("{device} has read {texts}"));
        }
    }
    Ok(Faults { what: format!("{} texts at {} devices", TEXTS.len(), DEVICES.len()), faults })
}
