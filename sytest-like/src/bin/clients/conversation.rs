//! An open conversation between matrix-js-sdk and matrix-nio, and whether both saw the same.

use sytest_like::{Server, Value, unique};

use crate::{Faults, Libraries, speak_together};

/// Who says what in the end, and under which key the other calls them.
const CLIENTS: [&str; 2] = ["js", "nio"];

pub(super) async fn hold(libraries: &Libraries) -> Result<Faults, String> {
    let server = Server::start().await;
    let names = CLIENTS.map(unique);
    let mut js = libraries.node("js_sdk.mjs");
    js.args([server.base_url(), &names[0], &names[1]]);
    let mut nio = libraries.python("nio_client.py");
    nio.args([server.base_url(), &names[1], &names[0]]);
    let [js, nio] = speak_together(&server, [js, nio])?;
    let ids = names.map(|name| format!("@{name}:{}", server.name()));
    let faults = judge(&js, &nio, &ids);
    Ok(Faults {
        what: format!("{} events in the room", js["history"].as_array().map_or(0, Vec::len)),
        faults,
    })
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
