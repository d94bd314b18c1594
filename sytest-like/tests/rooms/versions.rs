//! Room versions 1 to 12: what differs between them for a client.

use sytest_like::{Server, Value, json};

use super::ground::{bodies, redact, room_of_version, state_event, try_state, two, walk, whole_state};

const ALL: [&str; 12] = ["1", "2", "3", "4", "5", "6", "7", "8", "9", "10", "11", "12"];

/// Versions below 12.
const BELOW_12: [&str; 11] = ["1", "2", "3", "4", "5", "6", "7", "8", "9", "10", "11"];

fn is_url_safe_hash(text: &str) -> bool {
    text.len() == 43 && text.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"-_".contains(&byte))
}

fn is_standard_hash(text: &str) -> bool {
    text.len() == 43 && text.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"+/".contains(&byte))
}

/// People talk, change state, leave and redact in a room of every version.
/// spec: rooms/#complete-list-of-room-versions
/// covers: POST /_matrix/client/v3/createRoom
/// covers: POST /_matrix/client/v3/join/{roomIdOrAlias}
/// covers: PUT /_matrix/client/v3/rooms/{roomId}/send/{eventType}/{txnId}
/// covers: PUT /_matrix/client/v3/rooms/{roomId}/state/{eventType}/{stateKey}
/// covers: PUT /_matrix/client/v3/rooms/{roomId}/redact/{eventId}/{txnId}
/// covers: GET /_matrix/client/v3/rooms/{roomId}/messages
#[tokio::test]
async fn every_version_can_be_lived_in() {
    let (alice, bob) = two().await;
    for version in ALL {
        let room = room_of_version(version, &alice, &[&bob]).await;
        alice.get_state(&room, "m.room.create", "").await.expect_ok().has("room_version", version);
        let wrong = bob.send_text(&room, "wrong").await;
        bob.send_text(&room, "right").await;
        redact(&bob, &room, &wrong).await;
        alice.set_state(&room, "m.room.name", "", json!({"name": version})).await;
        bob.get_state(&room, "m.room.name", "").await.expect_ok().has("name", version);
        let events = walk(&alice, &room, "b", 4).await;
        assert_eq!(bodies(&events), ["right"], "version {version}");
        bob.leave(&room).await;
        bob.join(&room).await;
        assert_eq!(bodies(&walk(&bob, &room, "f", 7).await), ["right"], "version {version}");
    }
}

/// Every version that is offered as stable can be made, 1 to 12 are among them, and the default is one of them.
/// spec: client-server-api/#mroom_versions-capability
/// covers: GET /_matrix/client/v3/capabilities
/// covers: POST /_matrix/client/v3/createRoom
#[tokio::test]
async fn capabilities_tell_the_versions() {
    let server = Server::shared().await;
    let alice = server.register("alice").await;
    let capabilities = alice.get("/v3/capabilities").await.expect_ok();
    let versions = capabilities.at("/capabilities/m.room_versions");
    for version in ALL {
        assert_eq!(versions["available"][version], "stable", "version {version}");
    }
    let room = alice.create_room(json!({})).await;
    let create = alice.get_state(&room, "m.room.create", "").await.expect_ok();
    assert_eq!(create["room_version"], versions["default"]);
}

/// Room ids are `!opaque:server` before version 12.
/// spec: appendices/#room-ids
/// covers: POST /_matrix/client/v3/createRoom
#[tokio::test]
async fn room_ids_name_the_server_before_version_12() {
    let server = Server::shared().await;
    let alice = server.register("alice").await;
    for version in BELOW_12 {
        let room = alice.create_room(json!({"room_version": version})).await;
        let (opaque, domain) = room.split_once(':').unwrap_or_else(|| panic!("{version}: {room}"));
        assert!(opaque.starts_with('!') && opaque.len() > 8, "{version}: {room}");
        assert_eq!(domain, server.name());
    }
}

/// From version 12 on the room id is the id of the create event with another sigil.
/// spec: rooms/v12/#event-format
/// covers: POST /_matrix/client/v3/createRoom
/// covers: GET /_matrix/client/v3/rooms/{roomId}/state/{eventType}/{stateKey}
#[tokio::test]
async fn room_id_is_the_hash_of_the_create_event_in_version_12() {
    let server = Server::shared().await;
    let alice = server.register("alice").await;
    let room = alice.create_room(json!({"room_version": "12"})).await;
    assert!(is_url_safe_hash(room.strip_prefix('!').expect("a room id")), "{room}");
    let create = state_event(&alice, &room, "m.room.create", "").await;
    assert_eq!(create["event_id"], format!("${}", &room[1..]).as_str());
    // For clients the create event has a room id like all others.
    assert_eq!(create["room_id"], room.as_str());
    let fetched = alice.get_event(&room, create["event_id"].as_str().expect("an id")).await.expect_ok();
    assert_eq!(fetched["room_id"], room.as_str());
}

/// Event ids carry a server before version 3, are hashes in base64 in 3, and in its URL-safe form from 4 on.
/// spec: appendices/#event-ids
/// covers: PUT /_matrix/client/v3/rooms/{roomId}/send/{eventType}/{txnId}
/// covers: GET /_matrix/client/v3/rooms/{roomId}/state
#[tokio::test]
async fn event_ids_have_the_form_of_the_version() {
    let server = Server::shared().await;
    let alice = server.register("alice").await;
    for version in ALL {
        let room = alice.create_room(json!({"room_version": version})).await;
        let mut ids = vec![json!(alice.send_text(&room, "x").await)];
        ids.extend(whole_state(&alice, &room).await.into_iter().map(|event| event["event_id"].clone()));
        for id in &ids {
            let id = id.as_str().and_then(|id| id.strip_prefix('$')).expect("an event id begins with $");
            let good = match version {
                "1" | "2" => id.split_once(':').is_some_and(|(_, domain)| domain == server.name()),
                "3" => is_standard_hash(id),
                _ => is_url_safe_hash(id),
            };
            assert!(good, "version {version}: ${id}");
        }
    }
}

/// The create event names its creator in the content up to version 10, and from 11 on only as the sender.
/// spec: rooms/v11/#event-format
/// covers: POST /_matrix/client/v3/createRoom
/// covers: GET /_matrix/client/v3/rooms/{roomId}/state/{eventType}/{stateKey}
#[tokio::test]
async fn creator_is_in_the_content_up_to_version_10() {
    let server = Server::shared().await;
    let alice = server.register("alice").await;
    for version in ALL {
        let room = alice.create_room(json!({"room_version": version})).await;
        let create = state_event(&alice, &room, "m.room.create", "").await;
        assert_eq!(create["sender"], alice.id.as_str());
        let expected =
            if version.parse::<u8>().expect("a number") <= 10 { json!(alice.id) } else { Value::Null };
        assert_eq!(create["content"]["creator"], expected, "version {version}");
    }
}

/// Power levels are integers: from version 10 on strings are refused, whatever they say.
/// spec: rooms/v10/#values-in-mroompower_levels-events-must-be-integers
/// covers: PUT /_matrix/client/v3/rooms/{roomId}/state/{eventType}/{stateKey}
#[tokio::test]
async fn power_levels_are_integers_from_version_10() {
    let server = Server::shared().await;
    let alice = server.register("alice").await;
    for version in ["10", "11", "12"] {
        let room = alice.create_room(json!({"room_version": version})).await;
        for (key, value) in
            [("ban", json!("50")), ("users", json!({"@x:y": "50"})), ("events", json!({"a": "1"}))]
        {
            let mut levels = super::ground::power_levels(&alice, &room).await;
            levels[key] = value;
            try_state(&alice, &room, "m.room.power_levels", "", levels).await.expect_refused();
        }
    }
}

/// The join rules of later versions mean nothing in earlier ones: nobody gets in by them.
/// spec: rooms/#feature-matrix
/// covers: POST /_matrix/client/v3/join/{roomIdOrAlias}
/// covers: PUT /_matrix/client/v3/rooms/{roomId}/state/{eventType}/{stateKey}
#[tokio::test]
async fn later_join_rules_open_no_earlier_room() {
    let (alice, bob) = two().await;
    let hall = super::ground::room_with(&alice, &[&bob]).await;
    let allow = json!([{"type": "m.room_membership", "room_id": hall}]);
    for (version, rule) in [("6", "knock"), ("7", "restricted"), ("9", "knock_restricted")] {
        let room = alice.create_room(json!({"room_version": version})).await;
        let content = json!({"join_rule": rule, "allow": allow});
        let answer = try_state(&alice, &room, "m.room.join_rules", "", content).await;
        assert!(answer.status == 200 || (400..500).contains(&answer.status), "{answer}");
        super::ground::try_join(&bob, &room).await.expect_err(403, "M_FORBIDDEN");
    }
}

/// Before knocking was invented nobody knocks, nor at a `knock_restricted` room before there was such a thing.
/// spec: rooms/#feature-matrix
/// covers: POST /_matrix/client/v3/knock/{roomIdOrAlias}
#[tokio::test]
async fn earlier_rooms_take_no_knocks() {
    let (alice, bob) = two().await;
    for (version, rule) in [("1", "knock"), ("6", "knock"), ("9", "knock_restricted")] {
        let room = alice.create_room(json!({"room_version": version})).await;
        try_state(&alice, &room, "m.room.join_rules", "", json!({"join_rule": rule})).await;
        let knock = bob.post(&sytest_like::path!("/v3/knock/{}", room), json!({})).await;
        knock.expect_err(403, "M_FORBIDDEN");
        assert_eq!(super::ground::membership_of(&alice, &room, &bob.id).await, "none");
    }
}
