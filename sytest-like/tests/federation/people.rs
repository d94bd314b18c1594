//! Profiles, aliases and directories of other servers, and what others ask of those here.

use super::ground::with_fake;
use sytest_like::fake::Reply;
use sytest_like::{FakeServer, json, path, unique};

/// The profile of a user of another server is asked of that, once for a while, with all its fields.
/// spec: server-server-api/#querying-for-information
/// covers: GET /_matrix/client/v3/profile/{userId}
/// covers: GET /_matrix/client/v3/profile/{userId}/{keyName}
#[tokio::test]
async fn profiles_of_others_are_found() {
    let (server, fake) = with_fake().await;
    let alice = server.register("alice").await;
    let bob = fake.user("bob");
    fake.set_profile(
        &bob,
        json!({"displayname": "Bob", "org.example.hat": {"is": "blue"}, "avatar_url": null}),
    );

    let profile = alice.get(&path!("/v3/profile/{}", bob)).await.expect_ok();
    assert_eq!(profile.json, json!({"displayname": "Bob", "org.example.hat": {"is": "blue"}}));
    let field = alice.get(&path!("/v3/profile/{}/org.example.hat", bob)).await.expect_ok();
    assert_eq!(field.json, json!({"org.example.hat": {"is": "blue"}}));
    alice.get(&path!("/v3/profile/{}/avatar_url", bob)).await.expect_err(404, "M_NOT_FOUND");
    assert_eq!(fake.received("query/profile").len(), 1);
}

/// Each way of not telling a profile is told as what it is.
/// spec: server-server-api/#querying-for-information
/// covers: GET /_matrix/client/v3/profile/{userId}
#[tokio::test]
async fn profiles_that_cannot_be_found() {
    let (server, fake) = with_fake().await;
    let alice = server.register("alice").await;
    let gone = FakeServer::start().await;
    gone.go_down();
    let profile = |user: String| alice.get(&path!("/v3/profile/{}", user));

    profile(fake.user("nobody")).await.expect_err(404, "M_NOT_FOUND");
    fake.always("query/profile", Reply::error(403, "M_FORBIDDEN"));
    profile(fake.user("shy")).await.expect_err(403, "M_FORBIDDEN");
    fake.always("query/profile", Reply::bytes(200, "application/json", "no json"));
    profile(fake.user("odd")).await.expect_err(502, "M_UNKNOWN");
    profile(gone.user("carol")).await.expect_err(502, "M_UNKNOWN");
}

/// Other servers get the profiles of users here, whole or one field, and no others.
/// spec: server-server-api/#get_matrixfederationv1queryprofile
/// covers: GET /_matrix/federation/v1/query/profile
#[tokio::test]
async fn others_get_the_profiles_of_users_here() {
    let (server, fake) = with_fake().await;
    let alice = server.register("alice").await;
    let set = |field: &str, value: &str| {
        alice.put(&path!("/v3/profile/{}/{}", alice.id, field), json!({field: value}))
    };
    set("displayname", "Alice").await.expect_ok();
    set("org.example.hat", "red").await.expect_ok();
    let ask =
        |user: &str| fake.get(server.name(), "/_matrix/federation/v1/query/profile").query("user_id", user);

    assert_eq!(
        ask(&alice.id).await.expect_ok().json,
        json!({"displayname": "Alice", "org.example.hat": "red"})
    );
    let one = ask(&alice.id).query("field", "org.example.hat").await.expect_ok();
    assert_eq!(one.json, json!({"org.example.hat": "red"}));
    assert_eq!(ask(&alice.id).query("field", "avatar_url").await.expect_ok().json, json!({}));
    ask(&format!("@nobody:{}", server.name())).await.expect_err(404, "M_NOT_FOUND");
    ask(&fake.user("bob")).await.expect_err(400, "M_INVALID_PARAM");
    ask(&alice.id).anonymous().await.expect_err(401, "M_UNAUTHORIZED");
    fake.get(server.name(), "/_matrix/federation/v1/query/profile").await.expect_refused();
}

/// An alias of another server is asked of that.
/// spec: server-server-api/#get_matrixfederationv1querydirectory
/// covers: GET /_matrix/client/v3/directory/room/{roomAlias}
#[tokio::test]
async fn aliases_of_others_are_found() {
    let (server, fake) = with_fake().await;
    let alice = server.register("alice").await;
    let alias = format!("#room:{}", fake.name());
    fake.set_alias(&alias, "!room:fake.example");
    let gone = FakeServer::start().await;
    gone.go_down();
    let resolve = |alias: &str| alice.get(&path!("/v3/directory/room/{}", alias));

    let found = resolve(&alias).await.expect_ok().has("room_id", "!room:fake.example");
    assert_eq!(found["servers"], json!([fake.name()]));
    resolve(&format!("#none:{}", fake.name())).await.expect_err(404, "M_NOT_FOUND");
    resolve(&format!("#room:{}", gone.name())).await.expect_err(502, "M_UNKNOWN");
}

/// Other servers find the aliases of this one, with the servers in the room.
/// spec: server-server-api/#get_matrixfederationv1querydirectory
/// covers: GET /_matrix/federation/v1/query/directory
#[tokio::test]
async fn others_find_the_aliases_here() {
    let (server, fake) = with_fake().await;
    let alice = server.register("alice").await;
    let name = unique("alias").to_lowercase();
    let room_id = alice.create_room(json!({"preset": "public_chat", "room_alias_name": name})).await;
    let ask = |alias: &str| {
        fake.get(server.name(), "/_matrix/federation/v1/query/directory").query("room_alias", alias)
    };
    let alias = format!("#{name}:{}", server.name());

    let before = ask(&alias).await.expect_ok().has("room_id", room_id.as_str());
    assert_eq!(before["servers"], json!([server.name()]));
    fake.join(server.name(), &room_id, &fake.user("bob")).await;
    let after = ask(&alias).await.expect_ok();
    assert_eq!(after["servers"], json!([server.name(), fake.name()]));
    ask(&format!("#none:{}", server.name())).await.expect_err(404, "M_NOT_FOUND");
    ask(&format!("#room:{}", fake.name())).await.expect_err(400, "M_INVALID_PARAM");
    ask("no alias").await.expect_refused();
}

/// The directory of another server is read through this one, by its users only.
/// spec: client-server-api/#get_matrixclientv3publicrooms
/// covers: GET /_matrix/client/v3/publicRooms
/// covers: POST /_matrix/client/v3/publicRooms
#[tokio::test]
async fn directories_of_others_are_read() {
    let (server, fake) = with_fake().await;
    let alice = server.register("alice").await;
    let room = fake.create_room("11", &fake.user("bob"));
    let gone = FakeServer::start().await;
    gone.go_down();

    let listed =
        alice.get("/v3/publicRooms").query("server", fake.name()).query("limit", "5").await.expect_ok();
    assert_eq!(listed.column("chunk", "room_id"), [room.id()]);
    assert_eq!(fake.received("publicRooms")[0].param("limit"), Some("5"));
    let body = json!({"filter": {"generic_search_term": "x"}});
    let path = format!("/v3/publicRooms?server={}", fake.name());
    let found = alice.post(&path, body).await.expect_ok();
    assert_eq!(found.column("chunk", "room_id"), [room.id()]);
    assert_eq!(fake.received("publicRooms")[1].body["filter"]["generic_search_term"], "x");
    alice.get("/v3/publicRooms").query("server", gone.name()).await.expect_err(502, "M_UNKNOWN");
    server.get("/v3/publicRooms").query("server", fake.name()).await.expect_err(401, "M_MISSING_TOKEN");
}
