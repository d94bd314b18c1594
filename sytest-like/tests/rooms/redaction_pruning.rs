//! What redaction leaves of an event in each room version.

use sytest_like::{Server, User, Value, json};

use super::ground::{redact, room_with, state_event, two};

const ALL: [&str; 12] = ["1", "2", "3", "4", "5", "6", "7", "8", "9", "10", "11", "12"];

fn number(version: &str) -> u8 {
    version.parse().expect("a number")
}

/// Sets state in a new room of a version, redacts it, and returns what is left of the content.
async fn left_of(alice: &User, version: &str, kind: &str, key: &str, content: Value) -> Value {
    let room = alice.create_room(json!({"room_version": version})).await;
    let event = alice.set_state(&room, kind, key, content).await;
    redact(alice, &room, &event).await;
    alice.get_event(&room, &event).await.expect_ok()["content"].clone()
}

/// Of unknown and of most known events nothing is left.
/// spec: rooms/v1/#redactions
/// covers: PUT /_matrix/client/v3/rooms/{roomId}/redact/{eventId}/{txnId}
/// covers: GET /_matrix/client/v3/rooms/{roomId}/event/{eventId}
#[tokio::test]
async fn nothing_is_left_of_most_events() {
    let server = Server::shared().await;
    let alice = server.register("alice").await;
    for version in ALL {
        for (kind, content) in [
            ("m.room.name", json!({"name": "x"})),
            ("m.room.guest_access", json!({"guest_access": "forbidden"})),
            ("m.room.encryption", json!({"algorithm": "m.megolm.v1.aes-sha2"})),
            ("org.example.x", json!({"membership": "join", "users": {}, "creator": "x"})),
        ] {
            assert_eq!(left_of(&alice, version, kind, "", content).await, json!({}), "{version}: {kind}");
        }
    }
}

/// Of a history visibility its one key is left.
/// spec: rooms/v1/#redactions
/// covers: PUT /_matrix/client/v3/rooms/{roomId}/redact/{eventId}/{txnId}
/// covers: GET /_matrix/client/v3/rooms/{roomId}/event/{eventId}
#[tokio::test]
async fn history_visibility_is_left() {
    let server = Server::shared().await;
    let alice = server.register("alice").await;
    for version in ALL {
        let content = json!({"history_visibility": "joined", "org.example.x": 1});
        let left = left_of(&alice, version, "m.room.history_visibility", "", content).await;
        assert_eq!(left, json!({"history_visibility": "joined"}), "{version}");
    }
}

/// Of join rules the rule is left, and from version 8 on the conditions as well.
/// spec: rooms/v8/#redactions
/// covers: PUT /_matrix/client/v3/rooms/{roomId}/redact/{eventId}/{txnId}
/// covers: GET /_matrix/client/v3/rooms/{roomId}/event/{eventId}
#[tokio::test]
async fn join_rule_and_later_its_conditions_are_left() {
    let server = Server::shared().await;
    let alice = server.register("alice").await;
    let hall = alice.create_public_room().await;
    let allow = json!([{"type": "m.room_membership", "room_id": hall}]);
    for version in ALL {
        let content = json!({"join_rule": "invite", "allow": allow, "org.example.x": 1});
        let left = left_of(&alice, version, "m.room.join_rules", "", content).await;
        let expected = if number(version) >= 8 {
            json!({"join_rule": "invite", "allow": allow})
        } else {
            json!({"join_rule": "invite"})
        };
        assert_eq!(left, expected, "{version}");
    }
}

/// Of power levels all levels are left; the one for invites only from version 11 on.
/// spec: rooms/v11/#redactions
/// covers: PUT /_matrix/client/v3/rooms/{roomId}/redact/{eventId}/{txnId}
/// covers: GET /_matrix/client/v3/rooms/{roomId}/event/{eventId}
#[tokio::test]
async fn power_levels_are_left() {
    let server = Server::shared().await;
    let alice = server.register("alice").await;
    for version in ALL {
        let users = if version == "12" { json!({}) } else { json!({&alice.id: 100}) };
        let mut expected = json!({
            "ban": 51,
            "events": {"m.room.name": 52},
            "events_default": 1,
            "kick": 53,
            "redact": 54,
            "state_default": 55,
            "users": users,
            "users_default": 2,
        });
        let mut content = expected.clone();
        content["invite"] = json!(56);
        content["notifications"] = json!({"room": 57});
        content["org.example.x"] = json!(1);
        let left = left_of(&alice, version, "m.room.power_levels", "", content).await;
        if number(version) >= 11 {
            expected["invite"] = json!(56);
        }
        assert_eq!(left, expected, "{version}");
    }
}

/// Of the historical aliases event the aliases are left up to version 5.
/// spec: rooms/v6/#redactions
/// covers: PUT /_matrix/client/v3/rooms/{roomId}/redact/{eventId}/{txnId}
/// covers: GET /_matrix/client/v3/rooms/{roomId}/event/{eventId}
#[tokio::test]
async fn aliases_are_left_up_to_version_5() {
    let server = Server::shared().await;
    let alice = server.register("alice").await;
    for version in ["4", "5", "6", "7", "11"] {
        let content = json!({"aliases": ["#a:example.org"], "org.example.x": 1});
        let room = alice.create_room(json!({"room_version": version})).await;
        let event = alice.set_state(&room, "m.room.aliases", server.name(), content).await;
        redact(&alice, &room, &event).await;
        let left = alice.get_state(&room, "m.room.aliases", server.name()).await.expect_ok().json;
        let expected = if number(version) <= 5 { json!({"aliases": ["#a:example.org"]}) } else { json!({}) };
        assert_eq!(left, expected, "{version}");
    }
}

/// Of a membership the membership is left.
/// spec: rooms/v1/#redactions
/// covers: PUT /_matrix/client/v3/rooms/{roomId}/redact/{eventId}/{txnId}
/// covers: GET /_matrix/client/v3/rooms/{roomId}/event/{eventId}
#[tokio::test]
async fn membership_is_left() {
    let (alice, bob) = two().await;
    for version in ALL {
        let room = super::ground::room_of_version(version, &alice, &[&bob]).await;
        let content = json!({"membership": "join", "displayname": "B", "reason": "x", "org.example.x": 1});
        let event = bob.set_state(&room, "m.room.member", &bob.id, content).await;
        redact(&bob, &room, &event).await;
        let left = alice.get_event(&room, &event).await.expect_ok();
        assert_eq!(left["content"], json!({"membership": "join"}), "{version}");
    }
}

/// Of a restricted join the voucher is left from version 9 on.
/// spec: rooms/v9/#redactions
/// covers: PUT /_matrix/client/v3/rooms/{roomId}/redact/{eventId}/{txnId}
/// covers: GET /_matrix/client/v3/rooms/{roomId}/event/{eventId}
#[tokio::test]
async fn voucher_is_left_from_version_9() {
    let (alice, bob) = two().await;
    let hall = room_with(&alice, &[&bob]).await;
    let allow = json!([{"type": "m.room_membership", "room_id": hall}]);
    for version in ["8", "9", "10", "11", "12"] {
        let room = alice
            .create_room(json!({
                "room_version": version,
                "initial_state": [
                    {"type": "m.room.join_rules", "content": {"join_rule": "restricted", "allow": allow}},
                ],
            }))
            .await;
        bob.join(&room).await;
        let join = state_event(&alice, &room, "m.room.member", &bob.id).await;
        redact(&bob, &room, join["event_id"].as_str().expect("an id")).await;
        let expected = if number(version) >= 9 {
            json!({"membership": "join", "join_authorised_via_users_server": alice.id})
        } else {
            json!({"membership": "join"})
        };
        let left = state_event(&alice, &room, "m.room.member", &bob.id).await;
        assert_eq!(left["content"], expected, "{version}");
    }
}

/// What a redacted event still says still counts.
/// spec: client-server-api/#redactions
/// covers: PUT /_matrix/client/v3/rooms/{roomId}/redact/{eventId}/{txnId}
/// covers: POST /_matrix/client/v3/rooms/{roomId}/kick
#[tokio::test]
async fn redacted_power_levels_still_count() {
    let (alice, bob) = two().await;
    let room = super::ground::room_of_version("11", &alice, &[&bob]).await;
    let levels = json!({"users": {&alice.id: 100, &bob.id: 50}, "invite": 60, "org.example.x": "rude"});
    let event = alice.set_state(&room, "m.room.power_levels", "", levels).await;
    redact(&alice, &room, &event).await;
    bob.set_state(&room, "m.room.topic", "", json!({"topic": "still a moderator"})).await;
    bob.membership(&room, "invite", "@x:example.org").await.expect_err(403, "M_FORBIDDEN");
    bob.membership(&room, "kick", &alice.id).await.expect_err(403, "M_FORBIDDEN");
}
