//! An encrypted conversation between matrix-js-sdk and matrix-nio: every device has to read everything.

use sytest_like::{Server, Value, json, unique};

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

pub(super) async fn hold(libraries: &Libraries) -> Result<Faults, String> {
    let server = Server::start().await;
    let [alice, bob, nio_name] = ["alice", "bob", "nio"].map(unique);
    let mut js = libraries.node("js_crypto.mjs");
    js.args([server.base_url(), &alice, &bob, &nio_name]);
    let mut nio = libraries.python("nio_crypto.py");
    nio.args([server.base_url(), &nio_name]);
    let [js, nio] = speak_together(&server, [js, nio])?;
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
