//! Finding people: the user directory, mutual rooms, and networks that this server is not connected to.

use sytest_like::{Response, Server, ServerOptions, User, json, path, unique};

async fn search(user: &User, term: &str) -> Response {
    user.post("/v3/user_directory/search", json!({"search_term": term})).await.expect_ok()
}

fn found(answer: &Response) -> Vec<String> {
    answer.column("results", "user_id")
}

async fn two() -> (User, User) {
    let server = Server::shared().await;
    tokio::join!(server.register("alice"), server.register("bob"))
}

async fn call(user: &User, name: &str) {
    user.put(&path!("/v3/profile/{}/displayname", user.id), json!({"displayname": name})).await.expect_ok();
}

/// Makes people meet in a room that nobody else may enter.
async fn meet(host: &User, guest: &User) -> String {
    let room = host.create_room(json!({"preset": "private_chat", "invite": [guest.id]})).await;
    guest.join(&room).await;
    room
}

/// People are found by the beginning of their name or id, whatever the case, with their profile.
/// spec: client-server-api/#user-directory
/// covers: POST /_matrix/client/v3/user_directory/search
#[tokio::test]
async fn people_are_found_by_name() {
    let (alice, bob) = two().await;
    meet(&alice, &bob).await;
    let name = unique("Zaphod").replace('-', "");
    call(&bob, &format!("{name} Béeblebrox")).await;
    let avatar = path!("/v3/profile/{}/avatar_url", bob.id);
    bob.put(&avatar, json!({"avatar_url": "mxc://example.org/z"})).await.expect_ok();
    for term in [name.clone(), name.to_uppercase(), format!("{name} beeb"), format!("BÉE {name}")] {
        let answer = search(&alice, &term).await;
        assert_eq!(found(&answer), [bob.id.clone()], "{term}: {answer}");
        let answer = answer.has("limited", false).has("/results/0/avatar_url", "mxc://example.org/z");
        answer.has("/results/0/display_name", format!("{name} Béeblebrox"));
    }
    for term in [bob.localpart(), &bob.id] {
        let answer = search(&alice, term).await;
        assert_eq!(found(&answer).first(), Some(&bob.id), "{term}: {answer}");
    }
}

/// Names in any script are found by their parts.
/// spec: client-server-api/#user-directory
/// covers: POST /_matrix/client/v3/user_directory/search
/// not on synapse: it finds words between spaces only
#[tokio::test]
async fn names_in_any_script_are_found() {
    let (alice, bob) = two().await;
    meet(&alice, &bob).await;
    for (name, term) in [("山田太郎", "太郎"), ("김철수", "김"), ("Ёлкин", "елк")] {
        call(&bob, name).await;
        let answer = search(&alice, term).await;
        assert!(found(&answer).contains(&bob.id), "{name}: {answer}");
    }
}

/// Nobody finds strangers who are in no common room and in none that is open to all.
/// spec: client-server-api/#user-directory
/// covers: POST /_matrix/client/v3/user_directory/search
#[tokio::test]
async fn strangers_are_not_found() {
    let (alice, bob) = two().await;
    let name = unique("Hidden").replace('-', "");
    call(&bob, &name).await;
    assert!(found(&search(&alice, &name).await).is_empty());
    let closed = bob.create_room(json!({"preset": "private_chat"})).await;
    assert!(found(&search(&alice, &name).await).is_empty());
    let room = meet(&alice, &bob).await;
    assert_eq!(found(&search(&alice, &name).await), [bob.id.clone()]);
    bob.leave(&room).await;
    assert!(found(&search(&alice, &name).await).is_empty());
    let open = json!({"history_visibility": "world_readable"});
    bob.set_state(&closed, "m.room.history_visibility", "", open).await;
    assert_eq!(found(&search(&alice, &name).await), [bob.id.clone()]);
    let shared = json!({"history_visibility": "shared"});
    bob.set_state(&closed, "m.room.history_visibility", "", shared).await;
    assert!(found(&search(&alice, &name).await).is_empty());
    bob.create_public_room().await;
    assert_eq!(found(&search(&alice, &name).await), [bob.id.clone()]);
}

/// Oneself is not found, and neither is who has closed their account.
/// spec: client-server-api/#user-directory
/// covers: POST /_matrix/client/v3/user_directory/search
#[tokio::test]
async fn nobody_finds_themself_or_the_gone() {
    let (alice, bob) = two().await;
    meet(&alice, &bob).await;
    let name = unique("Ghost").replace('-', "");
    call(&alice, &name).await;
    call(&bob, &name).await;
    assert_eq!(found(&search(&alice, &name).await), [bob.id.clone()]);
    bob.with_password(http::Method::POST, "/v3/account/deactivate", json!({})).await.expect_ok();
    assert!(found(&search(&alice, &name).await).is_empty());
}

/// A change of name is known at once, and the old name finds nobody.
/// spec: client-server-api/#user-directory
/// covers: POST /_matrix/client/v3/user_directory/search
#[tokio::test]
async fn old_names_find_nobody() {
    let (alice, bob) = two().await;
    meet(&alice, &bob).await;
    let (old, new) = (unique("Maiden").replace('-', ""), unique("Married").replace('-', ""));
    call(&bob, &old).await;
    assert_eq!(found(&search(&alice, &old).await), [bob.id.clone()]);
    call(&bob, &new).await;
    assert!(found(&search(&alice, &old).await).is_empty());
    assert_eq!(found(&search(&alice, &new).await), [bob.id.clone()]);
}

/// Who is called just so comes first, and the limit is kept and said.
/// spec: client-server-api/#user-directory
/// covers: POST /_matrix/client/v3/user_directory/search
#[tokio::test]
async fn best_comes_first() {
    let (alice, bob) = two().await;
    let carol = alice.server.register("carol").await;
    let room = alice.create_public_room().await;
    let name = unique("Trillian").replace('-', "");
    for (user, called) in [(&bob, format!("{name} Astra of {name}")), (&carol, name.clone())] {
        user.join(&room).await;
        call(user, &called).await;
    }
    assert_eq!(found(&search(&alice, &name).await), [carol.id.clone(), bob.id.clone()]);
    let limited = json!({"search_term": name, "limit": 1});
    let answer = alice.post("/v3/user_directory/search", limited).await.expect_ok().has("limited", true);
    assert_eq!(found(&answer), [carol.id.clone()], "{answer}");
}

/// Where the configuration says so, everybody is found.
/// spec: client-server-api/#user-directory
/// covers: POST /_matrix/client/v3/user_directory/search
/// not on synapse: it would have to be configured otherwise
#[tokio::test]
async fn everybody_is_found_if_so_configured() {
    let server = ServerOptions::default().kith("user_directory.search_all_users", "true").start().await;
    let (alice, bob) = (server.register("alice").await, server.register("bob").await);
    assert_eq!(found(&search(&alice, bob.localpart()).await), [bob.id.clone()]);
}

/// Nonsense is refused, and what looks like SQL is only a name.
/// spec: client-server-api/#user-directory
/// covers: POST /_matrix/client/v3/user_directory/search
#[tokio::test]
async fn nonsense_finds_nobody() {
    let (alice, _) = two().await;
    for term in ["", " ", "'; DROP TABLE user_directory; --", "%", "_", "a' | 'b", "\\", ":*&|!", "@", "@:"] {
        search(&alice, term).await;
    }
    for body in [json!({}), json!({"search_term": 5}), json!({"search_term": "x", "limit": "many"})] {
        alice.post("/v3/user_directory/search", body).await.expect_refused();
    }
    let strangers = alice.server.post("/v3/user_directory/search", json!({"search_term": "x"}));
    strangers.await.expect_err(401, "M_MISSING_TOKEN");
}

/// A name given on one replica is found on the other, also after a restart.
/// spec: client-server-api/#user-directory
/// covers: POST /_matrix/client/v3/user_directory/search
/// not on synapse: it has no equal replicas
#[tokio::test]
async fn every_replica_finds_people() {
    let replicas = ServerOptions::default().start_replicas(2).await;
    let (alice, bob) = (replicas[0].register("alice").await, replicas[1].register("bob").await);
    let room = alice.create_public_room().await;
    bob.join(&room).await;
    call(&bob, "Marvin the Android").await;
    assert_eq!(found(&search(&alice, "android").await), [bob.id.clone()]);
    replicas[0].restart().await;
    assert_eq!(found(&search(&alice, "marv").await), [bob.id.clone()]);
}

/// The rooms that two users share are those that both have joined.
/// spec: client-server-api/#get_matrixclientv1mutual_rooms
/// covers: GET /_matrix/client/v1/mutual_rooms
/// not on synapse: it knows the unstable path alone
#[tokio::test]
async fn mutual_rooms_are_those_both_have_joined() {
    let (alice, bob) = two().await;
    let ask = || alice.get("/v1/mutual_rooms").query("user_id", &bob.id);
    ask().await.expect_ok().has("joined", json!([])).has("count", 0);
    let first = meet(&alice, &bob).await;
    let second = meet(&bob, &alice).await;
    alice.create_room(json!({"preset": "private_chat", "invite": [bob.id]})).await;
    let mut expected = vec![first.clone(), second.clone()];
    expected.sort_unstable();
    for path in ["/v1/mutual_rooms", "/unstable/uk.half-shot.msc2666/user/mutual_rooms"] {
        let answer = alice.get(path).query("user_id", &bob.id).await.expect_ok().has("count", 2);
        let mut joined: Vec<&str> = answer.array("joined").iter().filter_map(|room| room.as_str()).collect();
        joined.sort_unstable();
        assert_eq!(joined, expected, "{answer}");
        answer.expect_absent("next_batch");
    }
    bob.leave(&first).await;
    ask().await.expect_ok().has("joined", json!([second]));
}

/// Many rooms come in pages.
/// spec: client-server-api/#get_matrixclientv1mutual_rooms
/// covers: GET /_matrix/client/v1/mutual_rooms
/// not on synapse: it knows the unstable path alone
#[tokio::test]
async fn mutual_rooms_come_in_pages() {
    const ROOMS: usize = 103;
    let (alice, bob) = two().await;
    let mut expected = Vec::new();
    for _ in 0..ROOMS {
        let room = alice.create_public_room().await;
        bob.join(&room).await;
        expected.push(room);
    }
    let mut joined = Vec::new();
    let mut from: Option<String> = None;
    for turn in 0..2 {
        let mut request = alice.get("/v1/mutual_rooms").query("user_id", &bob.id);
        if let Some(from) = &from {
            request = request.query("from", from);
        }
        let answer = request.await.expect_ok().has("count", ROOMS);
        joined.extend(answer.array("joined").iter().filter_map(|room| room.as_str().map(str::to_owned)));
        from = answer.get("next_batch").and_then(|token| token.as_str()).map(str::to_owned);
        assert_eq!(from.is_some(), turn == 0, "{answer}");
    }
    joined.sort_unstable();
    expected.sort_unstable();
    assert_eq!(joined, expected);
}

/// Unknown users share nothing; oneself, nobody, and what is no user id are refused.
/// spec: client-server-api/#get_matrixclientv1mutual_rooms
/// covers: GET /_matrix/client/v1/mutual_rooms
/// not on synapse: it knows the unstable path alone
#[tokio::test]
async fn mutual_rooms_need_another_user() {
    let (alice, bob) = two().await;
    let ask = |user: &str| alice.get("/v1/mutual_rooms").query("user_id", user);
    ask("@nobody:example.org").await.expect_ok().has("joined", json!([])).has("count", 0);
    ask(&alice.id).await.expect_err(400, "M_INVALID_PARAM");
    for nonsense in ["", "bob", "@:", "@Bob Smith:example.org"] {
        ask(nonsense).await.expect_err(400, "M_INVALID_PARAM");
    }
    alice.get("/v1/mutual_rooms").await.expect_err(400, "M_MISSING_PARAM");
    ask(&bob.id).query("from", "nonsense").await.expect_err(400, "M_INVALID_PARAM");
    alice.server.get("/v1/mutual_rooms").await.expect_err(401, "M_MISSING_TOKEN");
}

/// Without bridges there are no other networks, and nobody and nothing on them.
/// spec: client-server-api/#third-party-lookups
/// covers: GET /_matrix/client/v3/thirdparty/protocols
/// covers: GET /_matrix/client/v3/thirdparty/protocol/{protocol}
/// covers: GET /_matrix/client/v3/thirdparty/location/{protocol}
/// covers: GET /_matrix/client/v3/thirdparty/location
/// covers: GET /_matrix/client/v3/thirdparty/user/{protocol}
/// covers: GET /_matrix/client/v3/thirdparty/user
/// not on synapse: it answers with empty lists
#[tokio::test]
async fn no_other_networks_are_known() {
    let (alice, _) = two().await;
    let protocols = alice.get("/v3/thirdparty/protocols").await.expect_ok();
    assert_eq!(protocols.json, json!({}));
    for path in [
        "/v3/thirdparty/protocol/irc",
        "/v3/thirdparty/location/irc",
        "/v3/thirdparty/location?alias=%23a%3Ab.c",
        "/v3/thirdparty/user/irc",
        "/v3/thirdparty/user?userid=%40a%3Ab.c",
    ] {
        alice.get(path).await.expect_err(404, "M_NOT_FOUND");
        alice.server.get(path).await.expect_err(401, "M_MISSING_TOKEN");
    }
}
