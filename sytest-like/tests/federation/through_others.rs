//! Users here come into rooms of other servers.

use super::ground::{hears, join_via, versions, with_fake};
use sytest_like::fake::Reply;
use sytest_like::{FakeServer, Response, Value, json, path};

/// What a case changes of an event, and what it calls that.
type Change = (&'static str, fn(&mut Value));

/// From here on, joins are answered with what they should be, changed.
fn change_joins(fake: &FakeServer, change: fn(&mut Value)) {
    let honest = fake.clone();
    fake.answer_async("send_join", move |received| {
        let honest = honest.clone();
        async move {
            let room = honest.room(&received.segment(1));
            let events = room.state().values().filter_map(|id| room.event_with_id(id)).collect::<Vec<_>>();
            let state: Vec<Value> = events.into_iter().map(|event| event.json).collect();
            let mut answer = json!({"state": state, "auth_chain": state, "event": received.body});
            change(&mut answer);
            Some(Reply::json(answer))
        }
    });
}

/// A user joins a room of another server, sees its state, and both sides hear each other; in every room version.
/// spec: server-server-api/#joining-rooms
/// covers: POST /_matrix/client/v3/join/{roomIdOrAlias}
#[tokio::test]
async fn users_join_rooms_of_others_in_every_version() {
    let (server, fake) = with_fake().await;
    let alice = server.register("alice").await;
    let bob = fake.user("bob");
    for version in versions() {
        let room = fake.create_room(version, &bob);
        room.add_state("m.room.name", "", &bob, json!({"name": "Elsewhere"}));

        join_via(&alice, room.id(), &[fake.name()]).await.expect_ok().has("room_id", room.id());

        alice.get_state(room.id(), "m.room.name", "").await.expect_ok().has("name", "Elsewhere");
        let said = room.say(&bob, "welcome").await;
        hears(&alice, room.id(), &said.id).await;
        let answered = alice.send_text(room.id(), "hello").await;
        fake.wait_for_event(room.id(), &answered).await;
    }
    assert_eq!(fake.faults(), Vec::<String>::new());
}

/// What happened at a time before somebody joined is looked up where it is known, and can be read from there on.
/// spec: client-server-api/#get_matrixclientv1roomsroomidtimestamp_to_event
/// covers: GET /_matrix/client/v1/rooms/{roomId}/timestamp_to_event
#[tokio::test]
async fn events_of_a_time_are_found_elsewhere() {
    let (server, fake) = with_fake().await;
    let alice = server.register("alice").await;
    let bob = fake.user("bob");
    let room = fake.create_room("12", &bob);
    let mut said = Vec::new();
    for number in 0..30_i64 {
        let at = 1_600_000_000_000 + number * 1000;
        let event =
            room.message(&bob, &format!("number {number}")).field("origin_server_ts", json!(at)).build();
        room.add(&event);
        said.push(event.id);
    }
    join_via(&alice, room.id(), &[fake.name()]).await.expect_ok();
    let at = |ts: &'static str, dir: &'static str| {
        let path = path!("/v1/rooms/{}/timestamp_to_event", room.id());
        let request = alice.get(&path).query("ts", ts).query("dir", dir);
        async move { request.await.expect_ok().str("event_id").to_owned() }
    };

    assert_eq!(at("1600000010000", "f").await, said[10]);
    assert_eq!(at("1600000020500", "b").await, said[20]);

    let context = alice.get(&path!("/v3/rooms/{}/context/{}", room.id(), said[10])).await.expect_ok();
    assert_eq!(context["event"]["content"]["body"], "number 10");
    fake.go_down();
    assert_eq!(at("1600000009500", "f").await, said[10], "it is here now");
}

/// A second user joins here, without the help of the other server; after a restart both are there.
/// spec: server-server-api/#joining-rooms
/// covers: POST /_matrix/client/v3/join/{roomIdOrAlias}
#[tokio::test]
async fn joined_rooms_are_at_home_here() {
    let (server, fake) = with_fake().await;
    let (alice, carol) = (server.register("alice").await, server.register("carol").await);
    let room = fake.create_room("12", &fake.user("bob"));
    join_via(&alice, room.id(), &[fake.name()]).await.expect_ok();

    carol.join(room.id()).await;

    assert_eq!(fake.received("send_join").len(), 1);
    server.restart().await;
    let said = carol.send_text(room.id(), "after the restart").await;
    hears(&alice, room.id(), &said).await;
    fake.wait_for_event(room.id(), &said).await;
}

/// When a server does not help, the next one is asked; when none does, the user learns why.
/// spec: server-server-api/#joining-rooms
/// covers: POST /_matrix/client/v3/join/{roomIdOrAlias}
#[tokio::test]
async fn one_server_after_the_other_is_asked() {
    let (server, fake) = with_fake().await;
    let other = FakeServer::start().await;
    let alice = server.register("alice").await;
    let room = fake.create_room("12", &fake.user("bob"));
    other.always("make_join", Reply::error(404, "M_NOT_FOUND"));

    join_via(&alice, room.id(), &[other.name(), fake.name()]).await.expect_ok();

    assert_eq!(other.received("make_join").len(), 1);
    let closed = fake.create_room("12", &fake.user("bob"));
    fake.always("make_join", Reply::error(403, "M_FORBIDDEN"));
    join_via(&alice, closed.id(), &[other.name(), fake.name()]).await.expect_err(403, "M_FORBIDDEN");
    let nobody = "!4Tn0nPvGsj3CbvBm6mAWAWFMpCbS5lFWcAzU2DhKTkQ";
    join_via(&alice, nobody, &[]).await.expect_err(404, "M_NOT_FOUND");
    other.go_down();
    join_via(&alice, nobody, &[other.name()]).await.expect_err(502, "M_UNKNOWN");
}

/// A server that did not answer a moment ago is asked after the others.
/// spec: server-server-api/#joining-rooms
/// covers: POST /_matrix/client/v3/join/{roomIdOrAlias}
/// not on synapse: it keeps to the order
#[tokio::test]
async fn servers_that_are_away_are_asked_last() {
    let (server, fake) = with_fake().await;
    let other = FakeServer::start().await;
    let alice = server.register("alice").await;
    let room = fake.create_room("12", &fake.user("bob"));
    let away = other.create_room("12", &other.user("carol"));
    other.go_down();
    join_via(&alice, away.id(), &[other.name()]).await.expect_err(502, "M_UNKNOWN");
    other.come_back().await;

    join_via(&alice, room.id(), &[other.name(), fake.name()]).await.expect_ok();

    assert!(other.received("make_join").is_empty(), "the other one was there");
    join_via(&alice, away.id(), &[other.name()]).await.expect_ok();
}

/// Templates and answers that are not for what was asked are not believed, and nothing remains of the room.
/// spec: server-server-api/#joining-rooms
/// covers: POST /_matrix/client/v3/join/{roomIdOrAlias}
#[tokio::test]
async fn lying_servers_are_not_believed() {
    let (server, fake) = with_fake().await;
    let alice = server.register("alice").await;
    let bob = fake.user("bob");
    let room = fake.create_room("12", &bob);
    let refused = async |what: &str| {
        let answer = join_via(&alice, room.id(), &[fake.name()]).await;
        assert_eq!(answer.status, 502, "{what}: {answer}");
    };
    let lies: [Change; 5] = [
        ("another user", |event| event["sender"] = json!("@mallory:example.org")),
        ("another state key", |event| event["state_key"] = json!("@mallory:example.org")),
        ("another room", |event| event["room_id"] = json!("!other:example.org")),
        ("another type", |event| event["type"] = json!("m.room.message")),
        ("another membership", |event| event["content"]["membership"] = json!("ban")),
    ];
    for (what, lie) in lies {
        let honest = fake.clone();
        fake.answer_async("make_join", move |received| {
            let honest = honest.clone();
            async move {
                let room = honest.room(&received.segment(1));
                let user = received.segment(2);
                let draft = room.member(&user, &user, "join");
                let mut template = draft.template();
                lie(&mut template);
                Some(Reply::json(json!({"room_version": room.version().name(), "event": template})))
            }
        });
        refused(what).await;
    }
    fake.be_honest("make_join");

    let changes: [Change; 3] = [
        ("no state", |answer| answer["state"] = json!([])),
        ("no create event", |answer| {
            if let Some(state) = answer["state"].as_array_mut() {
                state.retain(|event| event["type"] != "m.room.create");
            }
        }),
        ("bad signatures", |answer| {
            for event in answer["state"].as_array_mut().into_iter().flatten() {
                event["origin_server_ts"] = json!(1);
            }
        }),
    ];
    for (what, change) in changes {
        change_joins(&fake, change);
        refused(what).await;
    }
    fake.be_honest("send_join");
    let joined = alice.get("/_matrix/client/v3/joined_rooms").await.expect_ok();
    assert_eq!(joined["joined_rooms"], json!([]));

    join_via(&alice, room.id(), &[fake.name()]).await.expect_ok();
}

/// A join that another server authorises counts with the signature of that server only.
/// spec: server-server-api/#restricted-rooms
/// covers: POST /_matrix/client/v3/join/{roomIdOrAlias}
#[tokio::test]
async fn restricted_joins_need_the_signature_of_the_authoriser() {
    let (server, fake) = with_fake().await;
    let alice = server.register("alice").await;
    let bob = fake.user("bob");
    let rule = json!({"join_rule": "restricted", "allow": [
        {"type": "m.room_membership", "room_id": "!lobby:example.org"},
    ]});
    let room = fake.new_room("10", &bob).join_rules(rule).create();
    let lies: [Change; 2] = [
        ("no event", |answer| {
            if let Some(fields) = answer.as_object_mut() {
                fields.remove("event");
            }
        }),
        ("the event as it was handed in", |_| {}),
    ];
    for (what, lie) in lies {
        change_joins(&fake, lie);
        let answer = join_via(&alice, room.id(), &[fake.name()]).await;
        assert_eq!(answer.status, 502, "{what}: {answer}");
    }
    fake.be_honest("send_join");

    join_via(&alice, room.id(), &[fake.name()]).await.expect_ok();

    let join = alice.get_state(room.id(), "m.room.member", &alice.id).await.expect_ok();
    assert_eq!(join["join_authorised_via_users_server"], json!(bob));
    let said = alice.send_text(room.id(), "let in").await;
    fake.wait_for_event(room.id(), &said).await;
}

/// A user knocks on a room of another server: it is shown as knocked on, and taking it back ends that.
/// spec: server-server-api/#knocking-rooms
/// covers: POST /_matrix/client/v3/knock/{roomIdOrAlias}
#[tokio::test]
async fn users_knock_on_rooms_of_others() {
    let (server, fake) = with_fake().await;
    let alice = server.register("alice").await;
    let mut syncer = alice.syncer().await;
    for version in ["7", "10", "12"] {
        let room =
            fake.new_room(version, &fake.user("bob")).join_rules(json!({"join_rule": "knock"})).create();
        let path = path!("/_matrix/client/v3/knock/{}?via={}", room.id(), fake.name());

        alice.post(&path, json!({"reason": "let me in"})).await.expect_ok().has("room_id", room.id());

        let entry = syncer.until_room("knock", room.id()).await;
        let events = entry["knock_state"]["events"].as_array().cloned().unwrap_or_default();
        assert!(events.iter().any(|event| event["type"] == "m.room.create"), "{entry}");
        let knock = room.state_event("m.room.member", &alice.id).expect("the knock");
        assert_eq!(knock.json["content"]["reason"], "let me in");
        alice.leave(room.id()).await;
        syncer.until_room("leave", room.id()).await;
    }
    assert_eq!(fake.faults(), Vec::<String>::new());
}

/// A knock is refused by somebody of the room: it is over.
/// spec: server-server-api/#knocking-rooms
/// covers: PUT /_matrix/federation/v1/send/{txnId}
#[tokio::test]
async fn knocks_are_refused() {
    let (server, fake) = with_fake().await;
    let alice = server.register("alice").await;
    let bob = fake.user("bob");
    let room = fake.new_room("12", &bob).join_rules(json!({"join_rule": "knock"})).create();
    let path = path!("/_matrix/client/v3/knock/{}?via={}", room.id(), fake.name());
    alice.post(&path, json!({})).await.expect_ok();
    let mut syncer = alice.syncer().await;

    let refused = room.member(&bob, &alice.id, "leave").build();
    fake.send_pdus(server.name(), &[&refused]).await;

    syncer.until_room("leave", room.id()).await;
}

/// A user leaves a room of another server and comes back: what happened meanwhile is there.
/// spec: server-server-api/#joining-rooms
/// covers: POST /_matrix/client/v3/join/{roomIdOrAlias}
/// covers: POST /_matrix/client/v3/rooms/{roomId}/leave
#[tokio::test]
async fn users_come_back() {
    let (server, fake) = with_fake().await;
    let alice = server.register("alice").await;
    let bob = fake.user("bob");
    let room = fake.create_room("12", &bob);
    join_via(&alice, room.id(), &[fake.name()]).await.expect_ok();
    alice.leave(room.id()).await;
    fake.wait_for_pdu("the leave", |pdu| pdu["content"]["membership"] == "leave").await;
    room.add_state("m.room.name", "", &bob, json!({"name": "Changed"}));

    join_via(&alice, room.id(), &[fake.name()]).await.expect_ok();

    alice.get_state(room.id(), "m.room.name", "").await.expect_ok().has("name", "Changed");
    let said = room.say(&bob, "welcome back").await;
    hears(&alice, room.id(), &said.id).await;
}

/// Two servers of ours: one hosts a room, users of the other join, are invited, talk, and leave.
/// spec: server-server-api/#joining-rooms
/// covers: POST /_matrix/client/v3/join/{roomIdOrAlias}
/// covers: POST /_matrix/client/v3/rooms/{roomId}/invite
#[tokio::test]
async fn two_servers_share_rooms() {
    let network = sytest_like::Network::new();
    let (here, there) = tokio::join!(
        sytest_like::Server::federated().in_network(&network).start(),
        sytest_like::Server::federated().in_network(&network).start(),
    );
    let (alice, bob) = (here.register("alice").await, there.register("bob").await);
    let room_id = alice.create_room(json!({"preset": "private_chat", "invite": [bob.id]})).await;
    let mut syncer = bob.syncer().await;
    if syncer.initial["rooms"]["invite"].get(&room_id).is_none() {
        syncer.until_room("invite", &room_id).await;
    }

    bob.join(&room_id).await;

    let said = bob.send_text(&room_id, "hello from there").await;
    hears(&alice, &room_id, &said).await;
    let answered = alice.send_text(&room_id, "hello from here").await;
    hears(&bob, &room_id, &answered).await;
    bob.leave(&room_id).await;
    let mut syncer = alice.syncer().await;
    let is_gone = |answer: &Response| {
        let events = sytest_like::timeline(answer, &room_id);
        events.iter().any(|event| event["content"]["membership"] == "leave")
    };
    if !is_gone(&syncer.initial) {
        syncer.until("the leave", is_gone).await;
    }
}

/// What another server says of a room is asked for.
/// spec: client-server-api/#get_matrixclientv1room_summaryroomidoralias
/// covers: GET /_matrix/client/v1/room_summary/{roomIdOrAlias}
#[tokio::test]
async fn rooms_of_others_are_found() {
    let network = sytest_like::Network::new();
    let (here, there) = tokio::join!(
        sytest_like::Server::federated().in_network(&network).start(),
        sytest_like::Server::federated().in_network(&network).start(),
    );
    let (alice, bob) = (here.register("alice").await, there.register("bob").await);
    let listed = json!({"preset": "public_chat", "visibility": "public", "name": "Far away"});
    let room_id = bob.create_room(listed).await;
    let closed = bob.create_room(json!({"preset": "private_chat"})).await;

    let summary = async |room_id: &str| {
        alice.get(&path!("/_matrix/client/v1/room_summary/{}?via={}", room_id, there.name())).await
    };
    summary(&room_id).await.expect_ok().has("name", "Far away").has("membership", "leave");
    summary(&closed).await.expect_err(404, "M_NOT_FOUND");
}

/// A tree of rooms over two servers is shown whole; rooms that the user might not join are left out.
/// spec: client-server-api/#get_matrixclientv1roomsroomidhierarchy
/// covers: GET /_matrix/client/v1/rooms/{roomId}/hierarchy
/// covers: GET /_matrix/federation/v1/hierarchy/{roomId}
#[tokio::test]
async fn trees_reach_over_servers() {
    let network = sytest_like::Network::new();
    let (here, there) = tokio::join!(
        sytest_like::Server::federated().in_network(&network).start(),
        sytest_like::Server::federated().in_network(&network).start(),
    );
    let (alice, bob) = (here.register("alice").await, there.register("bob").await);
    let space = json!({"preset": "public_chat", "creation_content": {"type": "m.space"}});
    let root = alice.create_room(space.clone()).await;
    let inner = bob.create_room(space).await;
    let leaf = bob.create_room(json!({"preset": "public_chat", "name": "Leaf"})).await;
    let closed = bob.create_room(json!({"preset": "private_chat"})).await;
    let via = json!({"via": [there.name()]});
    for (order, room_id) in [(1, &leaf), (2, &closed)] {
        let child = json!({"via": [there.name()], "order": order.to_string()});
        bob.set_state(&inner, "m.space.child", room_id, child).await;
    }
    alice.set_state(&root, "m.space.child", &inner, via).await;

    let tree = alice.get(&path!("/v1/rooms/{}/hierarchy", root)).await.expect_ok();

    assert_eq!(tree.column("rooms", "room_id"), [root.clone(), inner.clone(), leaf]);
    let first = alice.get(&path!("/v1/rooms/{}/hierarchy?limit=1", root)).await.expect_ok();
    let next = path!("/v1/rooms/{}/hierarchy?limit=1&from={}", root, first.str("next_batch"));
    assert_eq!(alice.get(&next).await.expect_ok().column("rooms", "room_id"), [inner]);
}
