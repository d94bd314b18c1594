//! Filters in `/sync`, inline and stored.

use super::view::{bodies, ephemeral, events, has_room, ids, room_data, types};
use sytest_like::{Response, Server, User, Value, json, path, timeline};

/// A room with two senders and several kinds of events; returns the position before those.
async fn stage() -> (User, User, String, String) {
    let server = Server::shared().await;
    let (alice, bob) = (server.register("alice").await, server.register("bob").await);
    let room = alice.create_public_room().await;
    bob.join(&room).await;
    let since = alice.sync().await.str("next_batch").to_owned();
    alice.send_text(&room, "from alice").await;
    bob.send_text(&room, "from bob").await;
    alice.send(&room, "org.example.ping", json!({"body": "ping"})).await;
    bob.send(&room, "org.example.pong", json!({"body": "pong"})).await;
    alice.set_state(&room, "m.room.topic", "", json!({"topic": "x", "body": "topic"})).await;
    (alice, bob, room, since)
}

/// The bodies of what a timeline filter lets through.
async fn through(user: &User, room: &str, since: &str, timeline_filter: Value) -> Vec<String> {
    let filter = json!({"room": {"timeline": timeline_filter}});
    let answer = user.sync().since(since).filter(&filter).await;
    bodies(&timeline(&answer, room))
}

/// Only events of the listed types pass.
/// spec: client-server-api/#filtering
/// covers: GET /_matrix/client/v3/sync
#[tokio::test]
async fn types_are_let_through() {
    let (alice, _, room, since) = stage().await;
    let shown = through(&alice, &room, &since, json!({"types": ["m.room.message", "m.room.topic"]})).await;
    assert_eq!(shown, ["from alice", "from bob", "topic"]);
}

/// Events of excluded types do not pass, even when they are listed as well.
/// spec: client-server-api/#filtering
/// covers: GET /_matrix/client/v3/sync
#[tokio::test]
async fn excluded_types_win() {
    let (alice, _, room, since) = stage().await;
    let shown = through(&alice, &room, &since, json!({"not_types": ["m.room.message"]})).await;
    assert_eq!(shown, ["ping", "pong", "topic"]);
    let both = json!({"types": ["m.room.message", "org.example.ping"], "not_types": ["m.room.message"]});
    assert_eq!(through(&alice, &room, &since, both).await, ["ping"]);
}

/// `*` at the end of a type, and alone, stands for any sequence of characters.
/// spec: client-server-api/#filtering
/// covers: GET /_matrix/client/v3/sync
#[tokio::test]
async fn wildcards_match_the_rest() {
    let (alice, _, room, since) = stage().await;
    let shown = through(&alice, &room, &since, json!({"types": ["m.room.*"]})).await;
    assert_eq!(shown, ["from alice", "from bob", "topic"]);
    let shown =
        through(&alice, &room, &since, json!({"types": ["*"], "not_types": ["org.example.p*"]})).await;
    assert_eq!(shown, ["from alice", "from bob", "topic"]);
    assert!(through(&alice, &room, &since, json!({"not_types": ["*"]})).await.is_empty());
}

/// `*` matches in the beginning and in the middle of a type as well, and several times.
/// spec: client-server-api/#filtering
/// covers: GET /_matrix/client/v3/sync
#[tokio::test]
async fn wildcards_match_anywhere() {
    let (alice, _, room, since) = stage().await;
    let shown = through(&alice, &room, &since, json!({"types": ["org.*.p*ng"]})).await;
    assert_eq!(shown, ["ping", "pong"]);
    assert_eq!(
        through(&alice, &room, &since, json!({"types": ["*topic", "*.pi*"]})).await,
        ["ping", "topic"]
    );
    assert_eq!(
        through(&alice, &room, &since, json!({"not_types": ["*.*.*e"]})).await,
        ["ping", "pong", "topic"]
    );
    alice.send(&room, "org.example.100%_\\x", json!({"body": "odd"})).await;
    assert_eq!(through(&alice, &room, &since, json!({"types": ["org.*%_\\*"]})).await, ["odd"]);
}

/// Nothing but `*` is special in a type: the signs of other pattern languages are just signs.
/// spec: client-server-api/#filtering
/// covers: GET /_matrix/client/v3/sync
#[tokio::test]
async fn other_patterns_are_plain_text() {
    let (alice, _, room, since) = stage().await;
    let patterns = [
        "m.room.messag_",
        "m.room.messag%",
        "m.room.messag?",
        "m_room_message",
        "m.room.[a-z]*",
        "M.ROOM.MESSAGE",
    ];
    for pattern in
        patterns.into_iter().chain(["m.room.message|x", "m.room", "^m.room", "m.room.message ", ""])
    {
        let shown = through(&alice, &room, &since, json!({"types": [pattern]})).await;
        assert!(shown.is_empty(), "{pattern} let {shown:?} through");
    }
    alice.send(&room, "org.example.100%_\\x", json!({"body": "odd"})).await;
    assert_eq!(through(&alice, &room, &since, json!({"types": ["org.example.100%_\\x"]})).await, ["odd"]);
}

/// Only events of the listed senders pass.
/// spec: client-server-api/#filtering
/// covers: GET /_matrix/client/v3/sync
#[tokio::test]
async fn senders_are_let_through() {
    let (alice, bob, room, since) = stage().await;
    let shown = through(&alice, &room, &since, json!({"senders": [bob.id]})).await;
    assert_eq!(shown, ["from bob", "pong"]);
    let shown = through(&alice, &room, &since, json!({"senders": ["@nobody:example.org"]})).await;
    assert!(shown.is_empty(), "{shown:?}");
}

/// Events of excluded senders do not pass, even when they are listed as well.
/// spec: client-server-api/#filtering
/// covers: GET /_matrix/client/v3/sync
#[tokio::test]
async fn excluded_senders_win() {
    let (alice, bob, room, since) = stage().await;
    let shown = through(&alice, &room, &since, json!({"not_senders": [bob.id]})).await;
    assert_eq!(shown, ["from alice", "ping", "topic"]);
    let both = json!({"senders": [alice.id, bob.id], "not_senders": [alice.id]});
    assert_eq!(through(&alice, &room, &since, both).await, ["from bob", "pong"]);
}

/// Conditions of different kinds must all hold.
/// spec: client-server-api/#filtering
/// covers: GET /_matrix/client/v3/sync
#[tokio::test]
async fn conditions_are_joined_by_and() {
    let (alice, bob, room, since) = stage().await;
    let filter = json!({"types": ["m.room.*"], "senders": [bob.id], "limit": 10});
    assert_eq!(through(&alice, &room, &since, filter).await, ["from bob"]);
}

/// An empty list lets nothing through: it is not the same as no list.
/// spec: client-server-api/#filtering
/// covers: GET /_matrix/client/v3/sync
#[tokio::test]
async fn empty_lists_let_nothing_through() {
    let (alice, _, room, since) = stage().await;
    assert!(through(&alice, &room, &since, json!({"types": []})).await.is_empty());
    assert!(through(&alice, &room, &since, json!({"senders": []})).await.is_empty());
    assert!(through(&alice, &room, &since, json!({"rooms": []})).await.is_empty());
    assert_eq!(through(&alice, &room, &since, json!({"not_types": []})).await.len(), 5);
}

/// `rooms` of the timeline is about the timeline; the room's other parts stay.
/// spec: client-server-api/#filtering
/// covers: GET /_matrix/client/v3/sync
#[tokio::test]
async fn timeline_rooms_concern_the_timeline() {
    let server = Server::shared().await;
    let alice = server.register("alice").await;
    let (one, two) = (alice.create_public_room().await, alice.create_public_room().await);
    for user_data in [&one, &two] {
        let path = path!("/v3/user/{}/rooms/{}/account_data/org.example.x", alice.id, user_data);
        alice.put(&path, json!({"here": user_data})).await.expect_ok();
    }
    let answer = alice.sync().filter(&json!({"room": {"timeline": {"rooms": [one]}}})).await;
    assert!(!timeline(&answer, &one).is_empty(), "{answer}");
    assert!(timeline(&answer, &two).is_empty(), "{answer}");
    assert!(room_data(&answer, &two, "org.example.x").is_some(), "{answer}");
    let answer = alice.sync().filter(&json!({"room": {"timeline": {"not_rooms": [one]}}})).await;
    assert!(timeline(&answer, &one).is_empty() && !timeline(&answer, &two).is_empty(), "{answer}");
}

/// `rooms` and `not_rooms` of the room filter decide which rooms are there at all; exclusion wins.
/// spec: client-server-api/#filtering
/// covers: GET /_matrix/client/v3/sync
#[tokio::test]
async fn rooms_are_chosen_as_a_whole() {
    let server = Server::shared().await;
    let alice = server.register("alice").await;
    let (one, two) = (alice.create_public_room().await, alice.create_public_room().await);
    let shown = |answer: &Response| (has_room(answer, "join", &one), has_room(answer, "join", &two));
    let ask = async |filter: Value| alice.sync().filter(&json!({"room": filter})).await;
    assert_eq!(shown(&ask(json!({"rooms": [one]})).await), (true, false));
    assert_eq!(shown(&ask(json!({"not_rooms": [one]})).await), (false, true));
    assert_eq!(shown(&ask(json!({"rooms": [one, two], "not_rooms": [one]})).await), (false, true));
    assert_eq!(shown(&ask(json!({"rooms": ["!other:example.org"]})).await), (false, false));
    assert_eq!(shown(&ask(json!({"rooms": []})).await), (false, false));
}

/// Room filters count in incremental syncs too.
/// spec: client-server-api/#filtering
/// covers: GET /_matrix/client/v3/sync
#[tokio::test]
async fn rooms_are_chosen_incrementally() {
    let server = Server::shared().await;
    let alice = server.register("alice").await;
    let (one, two) = (alice.create_public_room().await, alice.create_public_room().await);
    let filter = json!({"presence": {"not_types": ["*"]}, "room": {"not_rooms": [one]}});
    let mut syncer = alice.syncer_with_filter(filter).await;
    alice.send_text(&one, "hidden").await;
    alice.send_text(&two, "shown").await;
    let answer = syncer.next(5_000).await;
    assert!(!has_room(&answer, "join", &one), "{answer}");
    assert_eq!(bodies(&timeline(&answer, &two)), ["shown"]);
}

/// A state filter is about `state` alone.
/// spec: client-server-api/#filtering
/// covers: GET /_matrix/client/v3/sync
#[tokio::test]
async fn state_filter_concerns_state() {
    let server = Server::shared().await;
    let alice = server.register("alice").await;
    let room = alice.create_room(json!({"preset": "public_chat", "name": "N", "topic": "T"})).await;
    alice.set_state(&room, "m.room.avatar", "", json!({"url": "mxc://example.org/a"})).await;
    let ask = async |state: Value| {
        let filter = json!({"room": {"timeline": {"limit": 1}, "state": state}});
        let answer = alice.sync().filter(&filter).await;
        let entry = &answer.json["rooms"]["join"][&room];
        assert_eq!(types(&events(entry, "timeline")), ["m.room.avatar"], "{answer}");
        let mut types = types(&events(entry, "state"));
        types.sort();
        types
    };
    assert_eq!(ask(json!({"types": ["m.room.name", "m.room.topic"]})).await, ["m.room.name", "m.room.topic"]);
    assert_eq!(
        ask(json!({"types": ["m.room.*"], "not_types": ["m.room.[!n]*", "m.room.name"]}))
            .await
            .iter()
            .filter(|kind| *kind == "m.room.name")
            .count(),
        0
    );
    assert!(ask(json!({"not_types": ["*"]})).await.is_empty());
    assert!(ask(json!({"senders": ["@nobody:example.org"]})).await.is_empty());
    assert!(ask(json!({"not_rooms": [room]})).await.is_empty());
}

/// A state filter counts in a gap too.
/// spec: client-server-api/#filtering
/// covers: GET /_matrix/client/v3/sync
#[tokio::test]
async fn state_filter_counts_in_gaps() {
    let (alice, _, room, _) = stage().await;
    let since = alice.sync().await.str("next_batch").to_owned();
    alice.set_state(&room, "m.room.topic", "", json!({"topic": "unwanted"})).await;
    let name = alice.set_state(&room, "m.room.name", "", json!({"name": "wanted"})).await;
    super::view::chatter(&alice, &room, "message", 5).await;
    let filter = json!({"room": {"timeline": {"limit": 2}, "state": {"types": ["m.room.name"]}}});
    let answer = alice.sync().since(&since).filter(&filter).await;
    let entry = &answer.json["rooms"]["join"][&room];
    assert_eq!(ids(&events(entry, "state")), [name], "{answer}");
}

/// `contains_url` asks for a `url` in the content, or for its absence.
/// spec: client-server-api/#filtering
/// covers: GET /_matrix/client/v3/sync
#[tokio::test]
async fn contains_url_looks_into_the_content() {
    let (alice, _, room, since) = stage().await;
    let image = json!({"msgtype": "m.image", "body": "picture", "url": "mxc://example.org/picture"});
    alice.send(&room, "m.room.message", image).await;
    let odd = json!({"msgtype": "m.text", "body": "elsewhere", "info": {"url": "mxc://example.org/no"}});
    alice.send(&room, "m.room.message", odd).await;
    assert_eq!(through(&alice, &room, &since, json!({"contains_url": true})).await, ["picture"]);
    let without =
        through(&alice, &room, &since, json!({"contains_url": false, "types": ["m.room.message"]})).await;
    assert_eq!(without, ["from alice", "from bob", "elsewhere"]);
}

/// Ephemeral events are filtered by type and room.
/// spec: client-server-api/#filtering
/// covers: GET /_matrix/client/v3/sync
#[tokio::test]
async fn ephemeral_events_are_filtered() {
    let (alice, bob, room, _) = stage().await;
    let event = alice.send_text(&room, "read me").await;
    bob.post(&path!("/v3/rooms/{}/receipt/m.read/{}", room, event), json!({})).await.expect_ok();
    let typing = path!("/v3/rooms/{}/typing/{}", room, bob.id);
    bob.put(&typing, json!({"typing": true, "timeout": 60_000})).await.expect_ok();
    let ask = async |ephemeral_filter: Value| {
        let answer = alice.sync().filter(&json!({"room": {"ephemeral": ephemeral_filter}})).await;
        let mut types = types(&events(&answer.json["rooms"]["join"][&room], "ephemeral"));
        types.sort();
        types
    };
    assert_eq!(ask(json!({})).await, ["m.receipt", "m.typing"]);
    assert_eq!(ask(json!({"types": ["m.receipt"]})).await, ["m.receipt"]);
    assert_eq!(ask(json!({"not_types": ["m.receipt"]})).await, ["m.typing"]);
    assert_eq!(ask(json!({"types": ["m.t*"]})).await, ["m.typing"]);
    assert!(ask(json!({"not_rooms": [room]})).await.is_empty());
    assert!(ask(json!({"types": []})).await.is_empty());
}

/// Account data, global and of rooms, is filtered by type.
/// spec: client-server-api/#filtering
/// covers: GET /_matrix/client/v3/sync
#[tokio::test]
async fn account_data_is_filtered() {
    let server = Server::shared().await;
    let alice = server.register("alice").await;
    let room = alice.create_public_room().await;
    for kind in ["org.example.a", "org.example.b"] {
        alice.put(&path!("/v3/user/{}/account_data/{}", alice.id, kind), json!({})).await.expect_ok();
        let path = path!("/v3/user/{}/rooms/{}/account_data/{}", alice.id, room, kind);
        alice.put(&path, json!({})).await.expect_ok();
    }
    let filter = json!({
        "account_data": {"types": ["org.example.a"]},
        "room": {"account_data": {"not_types": ["org.example.a"]}},
    });
    let answer = alice.sync().filter(&filter).await;
    assert_eq!(types(&events(&answer.json, "account_data")), ["org.example.a"], "{answer}");
    let of_room = types(&events(&answer.json["rooms"]["join"][&room], "account_data"));
    assert_eq!(of_room, ["org.example.b"], "{answer}");
}

/// Presence is filtered by sender and type.
/// spec: client-server-api/#filtering
/// covers: GET /_matrix/client/v3/sync
#[tokio::test]
async fn presence_is_filtered() {
    let (alice, bob, _, _) = stage().await;
    for user in [&alice, &bob] {
        let path = path!("/v3/presence/{}/status", user.id);
        user.put(&path, json!({"presence": "online", "status_msg": "here"})).await.expect_ok();
    }
    let senders = |answer: &Response| {
        let mut senders: Vec<_> = events(&answer.json, "presence")
            .iter()
            .filter_map(|event| event["sender"].as_str().map(str::to_owned))
            .collect();
        senders.sort();
        senders
    };
    let ask = async |filter: Value| senders(&alice.sync().filter(&json!({"presence": filter})).await);
    assert!(ask(json!({})).await.contains(&bob.id));
    assert_eq!(ask(json!({"senders": [bob.id]})).await, [bob.id.clone()]);
    assert!(!ask(json!({"not_senders": [bob.id]})).await.contains(&bob.id));
    assert!(ask(json!({"types": []})).await.is_empty());
    assert!(ask(json!({"not_types": ["m.presence"]})).await.is_empty());
}

/// `event_fields` keeps the listed fields of an event, and may be by dotted path. More may come, the listed must.
/// spec: client-server-api/#filtering
/// covers: GET /_matrix/client/v3/sync
#[tokio::test]
async fn event_fields_are_kept() {
    let (alice, _, room, since) = stage().await;
    let content = json!({"msgtype": "m.text", "body": "hello", "deep": {"a": 1, "b": 2}, "dotted.key": 3});
    alice.send(&room, "m.room.message", content).await;
    let filter = json!({
        "event_fields": ["type", "content.body", "content.deep.a", "content.dotted\\.key"],
        "room": {"timeline": {"types": ["m.room.message"], "limit": 1}},
    });
    let answer = alice.sync().since(&since).filter(&filter).await;
    let events = timeline(&answer, &room);
    assert_eq!(events.len(), 1, "{answer}");
    let event = &events[0];
    assert_eq!(event["type"], "m.room.message");
    assert_eq!(event["content"]["body"], "hello");
    assert_eq!(event["content"]["deep"]["a"], 1);
    assert_eq!(event["content"]["dotted.key"], 3, "{event}");
    assert!(event["content"].get("msgtype").is_none(), "{event}");
    assert!(event["content"]["deep"].get("b").is_none(), "{event}");
}

/// `event_format` says whether events come as clients or as servers know them.
/// spec: client-server-api/#filtering
/// covers: GET /_matrix/client/v3/sync
#[tokio::test]
async fn event_format_is_as_asked() {
    let (alice, _, room, since) = stage().await;
    alice.send_text(&room, "hello").await;
    for (format, is_federation) in [("client", false), ("federation", true)] {
        let answer = alice.sync().since(&since).filter(&json!({"event_format": format})).await;
        let event = timeline(&answer, &room).pop().expect("the message");
        assert_eq!(event["content"]["body"], "hello", "{event}");
        for key in ["hashes", "signatures", "auth_events", "prev_events", "depth"] {
            assert_eq!(event.get(key).is_some(), is_federation, "{key} in {event}");
        }
        assert!(event["event_id"].is_string() && event["unsigned"]["transaction_id"].is_string(), "{event}");
    }
}

/// A stored filter does the same as an inline one.
/// spec: client-server-api/#filtering
/// covers: POST /_matrix/client/v3/user/{userId}/filter
/// covers: GET /_matrix/client/v3/sync
#[tokio::test]
async fn stored_filter_is_like_an_inline_one() {
    let (alice, bob, room, since) = stage().await;
    let filter =
        json!({"room": {"timeline": {"senders": [bob.id], "not_types": ["org.example.*"], "limit": 4}}});
    let stored = alice.post(&path!("/v3/user/{}/filter", alice.id), filter.clone()).await.expect_ok();
    let by_id = alice.sync().since(&since).query("filter", stored.str("filter_id")).await;
    let inline = alice.sync().since(&since).filter(&filter).await;
    assert_eq!(bodies(&timeline(&by_id, &room)), ["from bob"]);
    assert_eq!(ids(&timeline(&by_id, &room)), ids(&timeline(&inline, &room)));
    // Another device of the user may use it, another user may not.
    let laptop = alice.login().await;
    let answer = laptop.sync().since(&since).query("filter", stored.str("filter_id")).await;
    assert_eq!(bodies(&timeline(&answer, &room)), ["from bob"]);
}

/// A filter that nobody stored is refused.
/// spec: client-server-api/#filtering
/// covers: GET /_matrix/client/v3/sync
#[tokio::test]
async fn unknown_filter_is_refused() {
    let server = Server::shared().await;
    let alice = server.register("alice").await;
    for id in ["999999", "-1", "x", "99999999999999999999999"] {
        alice.sync().query("filter", id).request().await.expect_refused();
    }
}

/// Changing the filter between two syncs is no problem: the token fits any filter.
/// spec: client-server-api/#filtering
/// covers: GET /_matrix/client/v3/sync
#[tokio::test]
async fn filter_may_change_between_syncs() {
    let (alice, bob, room, _) = stage().await;
    let narrow = json!({"room": {"timeline": {"senders": [alice.id]}}});
    let since = alice.sync().filter(&narrow).await.str("next_batch").to_owned();
    let one = bob.send_text(&room, "one").await;
    let two = alice.send_text(&room, "two").await;
    let answer = alice.sync().since(&since).filter(&narrow).await;
    assert_eq!(ids(&timeline(&answer, &room)), [two.clone()]);
    let answer = alice.sync().since(&since).await;
    assert_eq!(ids(&timeline(&answer, &room)), [one, two]);
}

/// Filters whose parts have the wrong type are refused; unknown keys are not in the way.
/// spec: client-server-api/#filtering
/// covers: GET /_matrix/client/v3/sync
#[tokio::test]
async fn filters_are_checked() {
    let server = Server::shared().await;
    let alice = server.register("alice").await;
    for filter in [
        json!({"room": {"timeline": {"types": "m.room.message"}}}),
        json!({"room": {"timeline": {"senders": [1]}}}),
        json!({"room": {"rooms": "!x:example.org"}}),
        json!({"room": {"timeline": []}}),
        json!({"event_fields": "type"}),
        json!({"event_format": "xml"}),
    ] {
        alice.sync().filter(&filter).request().await.expect_refused();
    }
    alice.sync().filter(&json!({"org.example.new": true, "room": {"org.example.too": [1]}})).await;
}

/// The filter leaves typing users of a filtered room out as well.
/// spec: client-server-api/#filtering
/// covers: GET /_matrix/client/v3/sync
#[tokio::test]
async fn excluded_room_is_silent() {
    let (alice, bob, room, _) = stage().await;
    let other = alice.create_public_room().await;
    let filter = json!({"presence": {"not_types": ["*"]}, "room": {"not_rooms": [room]}});
    let mut syncer = alice.syncer_with_filter(filter).await;
    let typing = path!("/v3/rooms/{}/typing/{}", room, bob.id);
    bob.put(&typing, json!({"typing": true, "timeout": 60_000})).await.expect_ok();
    alice.send_text(&other, "elsewhere").await;
    let answer = syncer.next(5_000).await;
    assert_eq!(ephemeral(&answer, &room, "m.typing"), None);
    assert_eq!(bodies(&timeline(&answer, &other)), ["elsewhere"]);
}
