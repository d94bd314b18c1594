//! Profiles and their fields.

use sytest_like::{Server, User, Value, json, path};

fn field(user: &User, key: &str) -> String {
    path!("/v3/profile/{}/{}", user.id, key)
}

/// Display name and avatar are set and seen by others.
/// spec: client-server-api/#put_matrixclientv3profileuseridkeyname
/// covers: PUT /_matrix/client/v3/profile/{userId}/{keyName}
/// covers: GET /_matrix/client/v3/profile/{userId}/{keyName}
/// covers: GET /_matrix/client/v3/profile/{userId}
#[tokio::test]
async fn display_name_and_avatar_are_set() {
    let server = Server::shared().await;
    let (alice, bob) = (server.register("alice").await, server.register("bob").await);
    alice.put(&field(&alice, "displayname"), json!({"displayname": "Alice \u{1F407}"})).await.expect_ok();
    alice.put(&field(&alice, "avatar_url"), json!({"avatar_url": "mxc://example.org/a"})).await.expect_ok();
    let profile = bob.get(&path!("/v3/profile/{}", alice.id)).await.expect_ok();
    let profile = profile.has("displayname", "Alice \u{1F407}");
    profile.has("avatar_url", "mxc://example.org/a");
    bob.get(&field(&alice, "displayname")).await.expect_ok().has("displayname", "Alice \u{1F407}");
    bob.get(&field(&alice, "avatar_url")).await.expect_ok().has("avatar_url", "mxc://example.org/a");
}

/// A new display name reaches the rooms that the user is in.
/// spec: client-server-api/#events-on-change-of-profile-information
/// covers: PUT /_matrix/client/v3/profile/{userId}/{keyName}
#[tokio::test]
async fn display_name_reaches_the_rooms() {
    let server = Server::shared().await;
    let (alice, bob) = (server.register("alice").await, server.register("bob").await);
    let room = alice.create_public_room().await;
    bob.join(&room).await;
    let mut syncer = bob.syncer().await;
    alice.put(&field(&alice, "displayname"), json!({"displayname": "Renamed"})).await.expect_ok();
    let event = syncer
        .until_some("the new name", |answer| {
            sytest_like::timeline(answer, &room).into_iter().find(|event| {
                event["state_key"] == alice.id.as_str() && event["content"]["displayname"] == "Renamed"
            })
        })
        .await;
    assert_eq!(event["type"], "m.room.member");
    assert_eq!(event["content"]["membership"], "join");
}

/// An avatar reaches the rooms too, and keeps the display name.
/// spec: client-server-api/#events-on-change-of-profile-information
/// covers: PUT /_matrix/client/v3/profile/{userId}/{keyName}
#[tokio::test]
async fn avatar_reaches_the_rooms() {
    let server = Server::shared().await;
    let alice = server.register("alice").await;
    alice.put(&field(&alice, "displayname"), json!({"displayname": "Alice"})).await.expect_ok();
    let room = alice.create_public_room().await;
    let mut syncer = alice.syncer().await;
    alice.put(&field(&alice, "avatar_url"), json!({"avatar_url": "mxc://example.org/b"})).await.expect_ok();
    syncer
        .until_some("the new avatar", |answer| {
            sytest_like::timeline(answer, &room).into_iter().find(|event| {
                event["content"]["avatar_url"] == "mxc://example.org/b"
                    && event["content"]["displayname"] == "Alice"
            })
        })
        .await;
}

/// The profile goes into the member event of a join.
/// spec: client-server-api/#mroommember
/// covers: PUT /_matrix/client/v3/profile/{userId}/{keyName}
#[tokio::test]
async fn join_carries_the_profile() {
    let server = Server::shared().await;
    let (alice, bob) = (server.register("alice").await, server.register("bob").await);
    bob.put(&field(&bob, "displayname"), json!({"displayname": "Bob the Builder"})).await.expect_ok();
    let room = alice.create_public_room().await;
    bob.join(&room).await;
    let member = alice.get_state(&room, "m.room.member", &bob.id).await.expect_ok();
    member.has("displayname", "Bob the Builder").has("membership", "join");
}

/// Nobody changes another user's profile.
/// spec: client-server-api/#put_matrixclientv3profileuseridkeyname
/// covers: PUT /_matrix/client/v3/profile/{userId}/{keyName}
/// covers: DELETE /_matrix/client/v3/profile/{userId}/{keyName}
#[tokio::test]
async fn other_users_profiles_are_not_changed() {
    let server = Server::shared().await;
    let (alice, mallory) = (server.register("alice").await, server.register("mallory").await);
    alice.put(&field(&alice, "displayname"), json!({"displayname": "Alice"})).await.expect_ok();
    let refused = |answer: sytest_like::Response| {
        assert!(matches!(answer.status, 400 | 403), "{answer}");
    };
    refused(mallory.put(&field(&alice, "displayname"), json!({"displayname": "Pwned"})).await);
    refused(mallory.put(&field(&alice, "org.example.x"), json!({"org.example.x": 1})).await);
    refused(mallory.delete(&field(&alice, "displayname")).await);
    mallory.get(&field(&alice, "displayname")).await.expect_ok().has("displayname", "Alice");
}

/// Changing a profile needs a token.
/// spec: client-server-api/#put_matrixclientv3profileuseridkeyname
/// covers: PUT /_matrix/client/v3/profile/{userId}/{keyName}
/// covers: DELETE /_matrix/client/v3/profile/{userId}/{keyName}
#[tokio::test]
async fn changes_need_a_token() {
    let server = Server::shared().await;
    let alice = server.register("alice").await;
    let path = field(&alice, "displayname");
    alice.put(&path, json!({"displayname": "x"})).anonymous().await.expect_err(401, "M_MISSING_TOKEN");
    alice.delete(&path).anonymous().await.expect_err(401, "M_MISSING_TOKEN");
}

/// A user who does not exist has no profile.
/// spec: client-server-api/#get_matrixclientv3profileuserid
/// covers: GET /_matrix/client/v3/profile/{userId}
/// covers: GET /_matrix/client/v3/profile/{userId}/{keyName}
#[tokio::test]
async fn unknown_user_has_no_profile() {
    let server = Server::shared().await;
    let alice = server.register("alice").await;
    let nobody = format!("@nobody-at-all:{}", server.name());
    alice.get(&path!("/v3/profile/{}", nobody)).await.expect_err(404, "M_NOT_FOUND");
    alice.get(&path!("/v3/profile/{}/displayname", nobody)).await.expect_err(404, "M_NOT_FOUND");
    alice.get("/v3/profile/no-user-id").await.expect_refused();
}

/// A field that is not set is not found.
/// spec: client-server-api/#get_matrixclientv3profileuseridkeyname
/// covers: GET /_matrix/client/v3/profile/{userId}/{keyName}
#[tokio::test]
async fn unset_field_is_not_found() {
    let server = Server::shared().await;
    let alice = server.register("alice").await;
    alice.get(&field(&alice, "org.example.unset")).await.expect_err(404, "M_NOT_FOUND");
}

/// The time zone and custom fields of any JSON type are stored as they are.
/// spec: client-server-api/#profiles
/// covers: PUT /_matrix/client/v3/profile/{userId}/{keyName}
/// covers: GET /_matrix/client/v3/profile/{userId}/{keyName}
/// covers: GET /_matrix/client/v3/profile/{userId}
#[tokio::test]
async fn custom_fields_hold_any_json() {
    let server = Server::shared().await;
    let (alice, bob) = (server.register("alice").await, server.register("bob").await);
    alice.put(&field(&alice, "m.tz"), json!({"m.tz": "Europe/Berlin"})).await.expect_ok();
    let values = [
        json!("text"),
        json!(42),
        json!([1, "two", {"three": 3}]),
        json!({"deep": {"er": true}}),
        json!(false),
    ];
    for (index, value) in values.iter().enumerate() {
        let key = format!("org.example.field_{index}");
        alice.put(&field(&alice, &key), json!({key.as_str(): value})).await.expect_ok();
        let answer = bob.get(&field(&alice, &key)).await.expect_ok();
        assert_eq!(&answer.json[&key], value);
    }
    let profile = bob.get(&path!("/v3/profile/{}", alice.id)).await.expect_ok();
    assert_eq!(profile.json["m.tz"], "Europe/Berlin");
    assert_eq!(profile.json["org.example.field_1"], 42);
}

/// A field can be deleted, once and again.
/// spec: client-server-api/#delete_matrixclientv3profileuseridkeyname
/// covers: DELETE /_matrix/client/v3/profile/{userId}/{keyName}
#[tokio::test]
async fn fields_are_deleted() {
    let server = Server::shared().await;
    let alice = server.register("alice").await;
    for (key, value) in
        [("displayname", "x"), ("avatar_url", "mxc://a/b"), ("m.tz", "UTC"), ("org.example.x", "y")]
    {
        let path = field(&alice, key);
        alice.put(&path, json!({key: value})).await.expect_ok();
        alice.delete(&path).await.expect_ok();
        // A profile that has nothing left may be gone altogether.
        alice.get(&path!("/v3/profile/{}", alice.id)).await.expect_absent(key);
        alice.delete(&path).await.expect_ok();
    }
}

/// The body must have the field that the path names.
/// spec: client-server-api/#put_matrixclientv3profileuseridkeyname
/// covers: PUT /_matrix/client/v3/profile/{userId}/{keyName}
#[tokio::test]
async fn body_must_name_the_field_of_the_path() {
    let server = Server::shared().await;
    let alice = server.register("alice").await;
    let answer = alice.put(&field(&alice, "org.example.a"), json!({"org.example.b": 1})).await;
    answer.expect_err_of(&[(400, "M_MISSING_PARAM"), (400, "M_BAD_JSON")]);
    let answer = alice.put(&field(&alice, "org.example.a"), json!({})).await;
    answer.expect_err_of(&[(400, "M_MISSING_PARAM"), (400, "M_BAD_JSON")]);
}

/// Names outside the grammar of namespaced identifiers are refused.
/// spec: appendices/#common-namespaced-identifier-grammar
/// covers: PUT /_matrix/client/v3/profile/{userId}/{keyName}
#[tokio::test]
async fn field_names_outside_the_grammar_are_refused() {
    let server = Server::shared().await;
    let alice = server.register("alice").await;
    for key in ["Upper.case", "white space", ".leading", "uml.äut", "1.digit"] {
        let answer = alice.put(&field(&alice, key), json!({key: 1})).await;
        answer.expect_err_of(&[(400, "M_INVALID_PARAM"), (400, "M_BAD_JSON")]);
    }
}

/// A field name has at most 255 bytes.
/// spec: client-server-api/#put_matrixclientv3profileuseridkeyname
/// covers: PUT /_matrix/client/v3/profile/{userId}/{keyName}
#[tokio::test]
async fn overlong_field_name_is_refused() {
    let server = Server::shared().await;
    let alice = server.register("alice").await;
    let key = format!("org.example.{}", "x".repeat(250));
    alice.put(&field(&alice, &key), json!({key.as_str(): 1})).await.expect_err(400, "M_KEY_TOO_LARGE");
}

/// A profile has at most 64 KiB in all.
/// spec: client-server-api/#put_matrixclientv3profileuseridkeyname
/// covers: PUT /_matrix/client/v3/profile/{userId}/{keyName}
#[tokio::test]
async fn profile_has_a_size_limit() {
    let server = Server::shared().await;
    let alice = server.register("alice").await;
    let value = Value::from("x".repeat(30_000));
    for key in ["org.example.a", "org.example.b"] {
        alice.put(&field(&alice, key), json!({key: value})).await.expect_ok();
    }
    let third = alice.put(&field(&alice, "org.example.c"), json!({"org.example.c": value})).await;
    third.expect_err(400, "M_PROFILE_TOO_LARGE");
    alice.get(&field(&alice, "org.example.c")).await.expect_err(404, "M_NOT_FOUND");
    // Replacing a field by one of the same size does not grow the profile.
    alice.put(&field(&alice, "org.example.a"), json!({"org.example.a": value})).await.expect_ok();
}

/// Display name and avatar are strings.
/// spec: client-server-api/#put_matrixclientv3profileuseridkeyname
/// covers: PUT /_matrix/client/v3/profile/{userId}/{keyName}
#[tokio::test]
async fn display_name_and_avatar_must_be_strings() {
    let server = Server::shared().await;
    let alice = server.register("alice").await;
    for key in ["displayname", "avatar_url"] {
        for value in [json!(1), json!(["x"]), json!({"x": "y"}), json!(true)] {
            alice.put(&field(&alice, key), json!({key: value})).await.expect_refused();
        }
    }
}

/// A display name of unreasonable length is refused.
/// spec: client-server-api/#put_matrixclientv3profileuseridkeyname
/// covers: PUT /_matrix/client/v3/profile/{userId}/{keyName}
#[tokio::test]
async fn overlong_display_name_is_refused() {
    let server = Server::shared().await;
    let alice = server.register("alice").await;
    let body = json!({"displayname": "x".repeat(5_000)});
    alice.put(&field(&alice, "displayname"), body).await.expect_refused();
}

/// An empty display name takes the name away.
/// spec: client-server-api/#put_matrixclientv3profileuseridkeyname
/// covers: PUT /_matrix/client/v3/profile/{userId}/{keyName}
#[tokio::test]
async fn empty_display_name_is_accepted() {
    let server = Server::shared().await;
    let alice = server.register("alice").await;
    alice.put(&field(&alice, "displayname"), json!({"displayname": ""})).await.expect_ok();
    let profile = alice.get(&path!("/v3/profile/{}", alice.id)).await;
    assert!(profile.json.get("displayname").is_none_or(|name| name == ""), "{profile}");
}

/// A profile outlives a crash.
/// spec: client-server-api/#profiles
/// covers: PUT /_matrix/client/v3/profile/{userId}/{keyName}
#[tokio::test]
async fn profile_survives_a_crash() {
    let server = Server::start().await;
    let alice = server.register("alice").await;
    alice.put(&field(&alice, "m.tz"), json!({"m.tz": "Asia/Tokyo"})).await.expect_ok();
    server.kill9();
    server.start_again().await;
    alice.get(&field(&alice, "m.tz")).await.expect_ok().has("/m.tz", "Asia/Tokyo");
}
