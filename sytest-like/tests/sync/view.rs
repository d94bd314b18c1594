//! Looks into the answers of `/sync`.

use std::collections::{BTreeMap, BTreeSet};

use sytest_like::{Response, User, Value, against_synapse, json, path};

/// Leaves out presence, which comes and goes by itself, so that "nothing new" can be asked about.
pub(super) fn without_presence() -> Value {
    json!({"presence": {"not_types": ["*"]}})
}

/// A timeline limit, and no presence.
pub(super) fn limit(events: usize) -> Value {
    json!({"presence": {"not_types": ["*"]}, "room": {"timeline": {"limit": events}}})
}

/// The entry of a room in the section `join`, `invite`, `knock` or `leave`; its absence fails the case.
#[track_caller]
pub(super) fn entry<'a>(answer: &'a Response, section: &str, room: &str) -> &'a Value {
    answer.json["rooms"][section]
        .get(room)
        .unwrap_or_else(|| panic!("{answer}: {room} is not in `{section}`"))
}

/// Whether a section has the room.
pub(super) fn has_room(answer: &Response, section: &str, room: &str) -> bool {
    answer.json["rooms"][section].get(room).is_some()
}

/// Whether any section has the room.
pub(super) fn mentions(answer: &Response, room: &str) -> bool {
    ["join", "invite", "knock", "leave"].iter().any(|section| has_room(answer, section, room))
}

/// The `events` of a part of an entry (`timeline`, `state`, `ephemeral`, …); empty when the part is not there.
pub(super) fn events(entry: &Value, part: &str) -> Vec<Value> {
    entry[part]["events"].as_array().cloned().unwrap_or_default()
}

/// `state_after` of an entry. Synapse has it under its unstable name.
#[track_caller]
pub(super) fn state_after(entry: &Value) -> Vec<Value> {
    let name = if against_synapse() { "org.matrix.msc4222.state_after" } else { "state_after" };
    entry[name]["events"].as_array().cloned().unwrap_or_else(|| panic!("no {name} in {entry}"))
}

/// The parameter that asks for [`state_after`].
pub(super) fn use_state_after() -> &'static str {
    if against_synapse() { "org.matrix.msc4222.use_state_after" } else { "use_state_after" }
}

/// Whether the entry's timeline has no events.
pub(super) fn timeline_is_empty(entry: &Value) -> bool {
    events(entry, "timeline").is_empty()
}

/// The ids of these events, in their order.
pub(super) fn ids(events: &[Value]) -> Vec<String> {
    events.iter().map(|event| event["event_id"].as_str().expect("an event has an id").to_owned()).collect()
}

/// The bodies of the messages among these events, in their order.
pub(super) fn bodies(events: &[Value]) -> Vec<String> {
    events.iter().filter_map(|event| event["content"]["body"].as_str().map(str::to_owned)).collect()
}

/// The types of these events, in their order.
pub(super) fn types(events: &[Value]) -> Vec<String> {
    events.iter().filter_map(|event| event["type"].as_str().map(str::to_owned)).collect()
}

/// The users whose membership is among these events.
pub(super) fn members(events: &[Value]) -> BTreeSet<String> {
    events
        .iter()
        .filter(|event| event["type"] == "m.room.member")
        .filter_map(|event| event["state_key"].as_str().map(str::to_owned))
        .collect()
}

/// The event of this type (and state key) among these.
pub(super) fn find<'a>(events: &'a [Value], kind: &str, state_key: Option<&str>) -> Option<&'a Value> {
    events.iter().find(|event| event["type"] == kind && event["state_key"].as_str() == state_key)
}

/// State as a client keeps it: the id of the latest event by type and state key.
pub(super) type State = BTreeMap<(String, String), String>;

/// Applies the state events among these, in their order.
pub(super) fn apply(state: &mut State, events: &[Value]) {
    for event in events {
        let Some(state_key) = event["state_key"].as_str() else { continue };
        let kind = event["type"].as_str().expect("an event has a type");
        let id = event["event_id"].as_str().expect("an event has an id");
        state.insert((kind.to_owned(), state_key.to_owned()), id.to_owned());
    }
}

/// What a client makes of an entry: `state`, then the timeline on top.
pub(super) fn state_of(entry: &Value) -> State {
    let mut state = State::new();
    apply(&mut state, &events(entry, "state"));
    apply(&mut state, &events(entry, "timeline"));
    state
}

/// The current state by `/state`.
pub(super) async fn current_state(user: &User, room: &str) -> State {
    let answer = user.get(&path!("/v3/rooms/{}/state", room)).await.expect_ok();
    let mut state = State::new();
    apply(&mut state, answer.json.as_array().expect("the state is a list"));
    state
}

/// The content of an ephemeral event of a joined room.
pub(super) fn ephemeral(answer: &Response, room: &str, kind: &str) -> Option<Value> {
    let entry = answer.json["rooms"]["join"].get(room)?;
    events(entry, "ephemeral")
        .into_iter()
        .find(|event| event["type"] == kind)
        .map(|event| event["content"].clone())
}

/// The content of a piece of account data of a joined room.
pub(super) fn room_data(answer: &Response, room: &str, kind: &str) -> Option<Value> {
    let entry = answer.json["rooms"]["join"].get(room)?;
    events(entry, "account_data")
        .into_iter()
        .find(|event| event["type"] == kind)
        .map(|event| event["content"].clone())
}

/// Sends numbered messages and returns their ids.
pub(super) async fn chatter(user: &User, room: &str, what: &str, count: usize) -> Vec<String> {
    let mut sent = Vec::with_capacity(count);
    for number in 0..count {
        sent.push(user.send_text(room, &format!("{what} {number}")).await);
    }
    sent
}

/// Walks `/messages` backwards, in pages of this size, until there is no more or `until` has been seen. Returns the
/// events, oldest first.
pub(super) async fn walk_back(
    user: &User,
    room: &str,
    from: &str,
    page: usize,
    to: Option<&str>,
) -> Vec<Value> {
    const PAGES: usize = 200;
    let mut walked = Vec::new();
    let mut from = from.to_owned();
    for _ in 0..PAGES {
        let mut request = user
            .get(&path!("/v3/rooms/{}/messages", room))
            .query("dir", "b")
            .query("from", &from)
            .query("limit", page.to_string());
        if let Some(to) = to {
            request = request.query("to", to);
        }
        let answer = request.await.expect_ok();
        walked.extend(answer.array("chunk").iter().cloned());
        match answer.get("end").and_then(Value::as_str) {
            // Some servers give an end token with the last events, and an empty page after it.
            Some(end) if !answer.array("chunk").is_empty() => end.clone_into(&mut from),
            _ => {
                walked.reverse();
                return walked;
            }
        }
    }
    panic!("{room} has no end: {} events", walked.len());
}
