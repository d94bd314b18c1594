//! Transactions: what is taken, what is dropped, and what is kept out of sight.

use super::ground::{Shared, ids_of, versions};
use sytest_like::fake::{Event, Key};
use sytest_like::{FakeServer, Value, json, unique};

/// The event is nowhere to be seen for Alice, and what comes after it is.
async fn expect_unseen(shared: &Shared, bad: &Event) {
    let after = shared.room.say(&shared.bob, "after it").await;
    let heard = shared.alice_hears(&after.id).await;
    assert!(!ids_of(&heard).contains(&bad.id), "{} was shown: {heard:?}", bad.id);
    shared.alice.get_event(shared.room_id(), &bad.id).await.expect_err(404, "M_NOT_FOUND");
}

/// Sends what the server must not take, in a transaction that it must answer.
async fn offer(shared: &Shared, event: &Event) {
    shared.fake.send_pdus(shared.server.name(), &[event]).await;
}

/// An event with a wrong signature is dropped.
/// spec: server-server-api/#checks-performed-on-receipt-of-a-pdu
/// covers: PUT /_matrix/federation/v1/send/{txnId}
#[tokio::test]
async fn bad_signature_is_dropped() {
    let shared = Shared::start().await;
    let bad = shared.room.message(&shared.bob, "forged").with_bad_signature().build();
    offer(&shared, &bad).await;
    expect_unseen(&shared, &bad).await;
}

/// An event without a signature is dropped.
/// spec: server-server-api/#checks-performed-on-receipt-of-a-pdu
/// covers: PUT /_matrix/federation/v1/send/{txnId}
#[tokio::test]
async fn missing_signature_is_dropped() {
    let shared = Shared::start().await;
    let bad = shared.room.message(&shared.bob, "unsigned").unsigned().build();
    offer(&shared, &bad).await;
    expect_unseen(&shared, &bad).await;
}

/// A server does not speak for the users of another one.
/// spec: server-server-api/#checks-performed-on-receipt-of-a-pdu
/// covers: PUT /_matrix/federation/v1/send/{txnId}
#[tokio::test]
async fn events_of_users_elsewhere_need_their_servers_signature() {
    let shared = Shared::start().await;
    let bad = shared.room.message(&shared.alice.id, "in her name").build();
    offer(&shared, &bad).await;
    expect_unseen(&shared, &bad).await;
}

/// Nobody invites in somebody else's name by something that only looks like an invite by address.
/// spec: server-server-api/#validating-hashes-and-signatures-on-received-events
/// covers: PUT /_matrix/federation/v1/send/{txnId}
#[tokio::test]
async fn invites_need_the_inviters_signature_in_every_version() {
    let first = Shared::of_version("1").await;
    for version in versions() {
        let shared = first.another(version).await;
        let carol = shared.fake.user("carol");
        let genuine = json!({"display_name": "c", "signed": {"mxid": carol, "token": "t", "signatures": {}}});
        for like in [json!(null), json!("x"), json!({}), genuine] {
            let content = json!({"membership": "invite", "third_party_invite": like});
            let forged = || shared.room.member(&shared.alice.id, &carol, "invite").content(content.clone());
            for bad in [forged().build(), forged().with_bad_hash().build()] {
                offer(&shared, &bad).await;
                expect_unseen(&shared, &bad).await;
            }
        }
        let member = shared.alice.get_state(shared.room_id(), "m.room.member", &carol).await;
        member.expect_err(404, "M_NOT_FOUND");
    }
}

/// A signature with a key that its server does not publish is none.
/// spec: server-server-api/#checks-performed-on-receipt-of-a-pdu
/// covers: PUT /_matrix/federation/v1/send/{txnId}
#[tokio::test]
async fn unpublished_key_does_not_sign() {
    let shared = Shared::start().await;
    let key = Key::from_seed("ed25519:stranger", "stranger");
    let bad = shared.room.message(&shared.bob, "hm").signed_by(shared.fake.name(), &key).build();
    offer(&shared, &bad).await;
    expect_unseen(&shared, &bad).await;
}

/// An event whose content is not what was hashed is taken in its redacted form, in every room version.
/// spec: server-server-api/#checks-performed-on-receipt-of-a-pdu
/// covers: PUT /_matrix/federation/v1/send/{txnId}
#[tokio::test]
async fn bad_hash_is_redacted_in_every_version() {
    let first = Shared::of_version("1").await;
    for version in versions() {
        let shared = first.another(version).await;
        let event = shared.room.message(&shared.bob, "changed on the way").with_bad_hash().build();
        offer(&shared, &event).await;
        shared.room.add(&event);
        let after = shared.room.say(&shared.bob, "after it").await;

        shared.alice_hears(&after.id).await;

        let seen = shared.alice.get_event(shared.room_id(), &event.id).await.expect_ok();
        assert_eq!(seen["content"], json!({}), "version {version}: {seen}");
    }
}

/// An event of somebody who is not in the room is rejected.
/// spec: server-server-api/#checks-performed-on-receipt-of-a-pdu
/// covers: PUT /_matrix/federation/v1/send/{txnId}
#[tokio::test]
async fn strangers_say_nothing() {
    let shared = Shared::start().await;
    let bad = shared.room.message(&shared.fake.user("mallory"), "let me in").build();
    offer(&shared, &bad).await;
    expect_unseen(&shared, &bad).await;
}

/// Who has no power for it changes no state, in every room version.
/// spec: server-server-api/#checks-performed-on-receipt-of-a-pdu
/// covers: PUT /_matrix/federation/v1/send/{txnId}
#[tokio::test]
async fn power_is_checked_in_every_version() {
    let first = Shared::of_version("1").await;
    for version in versions() {
        let shared = first.another(version).await;
        let name = json!({"name": "mine now"});
        let bad = shared.room.event("m.room.name", &shared.bob).state_key("").content(name).build();
        offer(&shared, &bad).await;
        expect_unseen(&shared, &bad).await;
        let state = shared.alice.get_state(shared.room_id(), "m.room.name", "").await;
        state.expect_err(404, "M_NOT_FOUND");
    }
}

/// Who has the power changes the state, in every room version.
/// spec: server-server-api/#checks-performed-on-receipt-of-a-pdu
/// covers: PUT /_matrix/federation/v1/send/{txnId}
#[tokio::test]
async fn state_is_changed_from_elsewhere_in_every_version() {
    let first = Shared::of_version("1").await;
    for version in versions() {
        let shared = first.another(version).await;
        shared.promote_bob(100).await;

        let topic = json!({"topic": "set from elsewhere"});
        let event = shared.room.set_state("m.room.topic", "", &shared.bob, topic).await;

        shared.alice_hears(&event.id).await;
        let state = shared.alice.get_state(shared.room_id(), "m.room.topic", "").await.expect_ok();
        assert_eq!(state["topic"], "set from elsewhere", "version {version}");
    }
}

/// An event of somebody who was banned meanwhile, placed before the ban, is not shown, and what follows it is.
/// spec: server-server-api/#soft-failure
/// covers: PUT /_matrix/federation/v1/send/{txnId}
#[tokio::test]
async fn event_from_before_a_ban_is_soft_failed() {
    let shared = Shared::start().await;
    let carol = shared.fake.user("carol");
    let room = shared.fake.join(shared.server.name(), shared.room_id(), &carol).await;
    let before = room.extremities();
    let before: Vec<&str> = before.iter().map(String::as_str).collect();
    let late = room.message(&carol, "from before").prev(&before).build();
    shared.alice.membership(shared.room_id(), "ban", &carol).await.expect_ok();
    shared.fake.wait_for_pdu("the ban", |pdu| pdu["content"]["membership"] == "ban").await;

    offer(&shared, &late).await;

    expect_unseen(&shared, &late).await;
    room.add_aside(&late);
    let next = room.message(&shared.bob, "after both").prev(&[&late.id, &room.extremities()[0]]).build();
    offer(&shared, &next).await;
    shared.alice_hears(&next.id).await;
}

/// Events of rooms that the server is not in harm nobody.
/// spec: server-server-api/#transactions
/// covers: PUT /_matrix/federation/v1/send/{txnId}
#[tokio::test]
async fn events_of_unknown_rooms_are_ignored() {
    let shared = Shared::start().await;
    let elsewhere = shared.fake.create_room("11", &shared.bob);
    let stray = elsewhere.message(&shared.bob, "who hears me?").build();
    let known = shared.room.message(&shared.bob, "here").build();

    shared.fake.send_pdus(shared.server.name(), &[&stray, &known]).await;

    shared.alice_hears(&known.id).await;
}

/// A transaction has at most fifty events.
/// spec: server-server-api/#put_matrixfederationv1sendtxnid
/// covers: PUT /_matrix/federation/v1/send/{txnId}
#[tokio::test]
async fn fifty_one_events_are_refused() {
    let shared = Shared::start().await;
    let events: Vec<Value> = (0..51)
        .map(|number| shared.room.add_message(&shared.bob, &format!("message {number}")).json)
        .collect();

    let answer = shared.fake.transaction(shared.server.name(), &events, &[]).await;

    answer.expect_refused();
    shared.fake.transaction(shared.server.name(), &events[..50], &[]).await.expect_ok();
}

/// A transaction has at most a hundred EDUs.
/// spec: server-server-api/#put_matrixfederationv1sendtxnid
/// covers: PUT /_matrix/federation/v1/send/{txnId}
#[tokio::test]
async fn hundred_and_one_edus_are_refused() {
    let shared = Shared::start().await;
    let edu = json!({"edu_type": "org.example.nothing", "content": {}});
    let edus = vec![edu; 101];

    shared.fake.transaction(shared.server.name(), &[], &edus).await.expect_refused();
    shared.fake.transaction(shared.server.name(), &[], &edus[..100]).await.expect_ok();
}

/// A transaction that is repeated is answered as before, and does nothing more.
/// spec: server-server-api/#put_matrixfederationv1sendtxnid
/// covers: PUT /_matrix/federation/v1/send/{txnId}
#[tokio::test]
async fn repeated_transaction_does_nothing_more() {
    let shared = Shared::start().await;
    let event = shared.room.add_message(&shared.bob, "once");
    let id = unique("txn");
    let send = || shared.fake.transaction_with_id(shared.server.name(), &id, &[event.json.clone()], &[]);

    let first = send().await.expect_ok();
    let second = send().await.expect_ok();

    assert_eq!(first.json, second.json);
    let after = shared.room.say(&shared.bob, "after it").await;
    let heard = ids_of(&shared.alice_hears(&after.id).await);
    assert_eq!(heard.iter().filter(|id| **id == event.id).count(), 1);
}

/// An event that comes again in another transaction is there once, though a restart came between.
/// spec: server-server-api/#put_matrixfederationv1sendtxnid
/// covers: PUT /_matrix/federation/v1/send/{txnId}
#[tokio::test]
async fn repeated_event_is_there_once() {
    let shared = Shared::start().await;
    let event = shared.room.say(&shared.bob, "once").await;
    shared.alice_hears(&event.id).await;
    offer(&shared, &event).await;
    shared.server.restart().await;
    offer(&shared, &event).await;

    let after = shared.room.say(&shared.bob, "after it").await;

    let heard = ids_of(&shared.alice_hears(&after.id).await);
    assert_eq!(heard.iter().filter(|id| **id == event.id).count(), 1);
}

/// Good events count though bad ones come in the same transaction, and the answer speaks of each that was taken.
/// spec: server-server-api/#put_matrixfederationv1sendtxnid
/// covers: PUT /_matrix/federation/v1/send/{txnId}
#[tokio::test]
async fn events_of_a_transaction_stand_alone() {
    let shared = Shared::start().await;
    let first = shared.room.add_message(&shared.bob, "first");
    let bad = shared.room.message(&shared.bob, "forged").with_bad_signature().build();
    let second = shared.room.add_message(&shared.bob, "second");

    let answer = shared.fake.send_pdus(shared.server.name(), &[&first, &bad, &second]).await;

    assert!(answer["pdus"].is_object(), "{answer}");
    for good in [&first, &second] {
        let result = answer["pdus"].get(&good.id).cloned().unwrap_or(json!({}));
        assert!(result.get("error").is_none(), "{answer}");
    }
    let heard = ids_of(&shared.alice_hears(&second.id).await);
    assert!(heard.contains(&first.id) && !heard.contains(&bad.id), "{heard:?}");
}

/// What is no event is dropped, and the rest of the transaction counts.
/// spec: server-server-api/#checks-performed-on-receipt-of-a-pdu
/// covers: PUT /_matrix/federation/v1/send/{txnId}
#[tokio::test]
async fn rubbish_among_the_events_is_dropped() {
    let shared = Shared::start().await;
    let good = shared.room.add_message(&shared.bob, "good");
    let mut transaction: Vec<Value> =
        vec![json!({}), json!({"room_id": shared.room_id()}), json!({"room_id": 7, "type": "a"})];
    for key in ["type", "sender", "content", "depth", "prev_events", "auth_events", "origin_server_ts"] {
        transaction.push(shared.room.message(&shared.bob, "bad").without(key).build().json);
        transaction.push(shared.room.message(&shared.bob, "bad").field(key, json!(null)).build().json);
    }
    transaction.push(good.json.clone());

    let answer = shared.fake.transaction(shared.server.name(), &transaction, &[]).await;

    answer.expect_ok();
    shared.alice_hears(&good.id).await;
}

/// A transaction that is none is refused.
/// spec: server-server-api/#put_matrixfederationv1sendtxnid
/// covers: PUT /_matrix/federation/v1/send/{txnId}
#[tokio::test]
async fn rubbish_instead_of_a_transaction_is_refused() {
    let shared = Shared::start().await;
    let send =
        |body: Value| shared.fake.put(shared.server.name(), "/_matrix/federation/v1/send/rubbish", body);
    for body in
        [json!([]), json!("text"), json!({"pdus": {}}), json!({"pdus": "a", "origin": shared.fake.name()})]
    {
        send(body).await.expect_refused();
    }
}

/// An event larger than 65536 bytes is dropped.
/// spec: client-server-api/#size-limits
/// covers: PUT /_matrix/federation/v1/send/{txnId}
#[tokio::test]
async fn large_events_are_dropped() {
    let shared = Shared::start().await;
    let bad = shared.room.message(&shared.bob, &"x".repeat(66_000)).build();
    shared.fake.transaction(shared.server.name(), &[bad.json.clone()], &[]).await;
    expect_unseen(&shared, &bad).await;
}

/// Numbers that canonical JSON has no place for are dropped from version 6 on.
/// spec: rooms/v6/#canonical-json
/// covers: PUT /_matrix/federation/v1/send/{txnId}
#[tokio::test]
async fn numbers_out_of_range_are_dropped_from_version_6() {
    let first = Shared::of_version("6").await;
    for version in versions().into_iter().filter(|version| !["1", "2", "3", "4", "5"].contains(version)) {
        let shared = first.another(version).await;
        for number in [json!(9_007_199_254_740_992_i64), json!(1.5)] {
            let content = json!({"msgtype": "m.text", "body": "x", "n": number});
            let bad = shared.room.event("m.room.message", &shared.bob).content(content).build();
            offer(&shared, &bad).await;
            expect_unseen(&shared, &bad).await;
        }
    }
}

/// The largest depth is no reason to fall silent: the next event has one that is valid.
/// spec: server-server-api/#pdus
/// covers: PUT /_matrix/federation/v1/send/{txnId}
#[tokio::test]
async fn largest_depth_does_not_overflow() {
    const MAX: i64 = 9_007_199_254_740_991;
    let shared = Shared::start().await;
    let deep = shared.room.message(&shared.bob, "deep").field("depth", json!(MAX)).build();
    shared.room.send(&deep).await;
    shared.alice_hears(&deep.id).await;

    let sent = shared.alice.send_text(shared.room_id(), "deeper?").await;

    let heard = shared.fake.wait_for_event(shared.room_id(), &sent).await;
    assert!(heard.depth() <= MAX, "{heard:?}");
    assert_eq!(heard.prev_ids(), [deep.id]);
}

/// A depth that is none is dropped.
/// spec: server-server-api/#pdus
/// covers: PUT /_matrix/federation/v1/send/{txnId}
#[tokio::test]
async fn depths_that_are_none_are_dropped() {
    let shared = Shared::start().await;
    for depth in [json!("1"), json!(1.5), json!(9_007_199_254_740_992_i64)] {
        let bad = shared.room.message(&shared.bob, "hm").field("depth", depth).build();
        offer(&shared, &bad).await;
        expect_unseen(&shared, &bad).await;
    }
}

/// Names that are too long are dropped.
/// spec: client-server-api/#size-limits
/// covers: PUT /_matrix/federation/v1/send/{txnId}
#[tokio::test]
async fn long_types_and_state_keys_are_dropped() {
    let shared = Shared::start().await;
    let long = "x".repeat(300);
    let bad = shared.room.event(&long, &shared.bob).build();
    offer(&shared, &bad).await;
    expect_unseen(&shared, &bad).await;
    let bad = shared.room.event("org.example.state", &shared.bob).state_key(&long).build();
    offer(&shared, &bad).await;
    expect_unseen(&shared, &bad).await;
}

/// Who left says nothing more.
/// spec: server-server-api/#checks-performed-on-receipt-of-a-pdu
/// covers: PUT /_matrix/federation/v1/send/{txnId}
/// covers: GET /_matrix/federation/v1/make_leave/{roomId}/{userId}
/// covers: PUT /_matrix/federation/v2/send_leave/{roomId}/{eventId}
#[tokio::test]
async fn who_left_says_nothing_more() {
    let shared = Shared::start().await;
    let carol = shared.fake.user("carol");
    let room = shared.fake.join(shared.server.name(), shared.room_id(), &carol).await;
    let (template, version) = shared.fake.make(shared.server.name(), "leave", shared.room_id(), &carol).await;
    let leave = shared.fake.seal_template(template, version);
    shared.fake.try_submit(shared.server.name(), "leave", shared.room_id(), &leave).await.expect_ok();
    room.add(&leave);
    let member = shared.alice.get_state(shared.room_id(), "m.room.member", &carol).await;
    assert_eq!(member.str("membership"), "leave");

    let bad = room.message(&carol, "one more thing").build();
    offer(&shared, &bad).await;

    expect_unseen(&shared, &bad).await;
}

/// What two servers know of a room reaches the third through this one only from whoever said it.
/// spec: server-server-api/#transactions
/// covers: PUT /_matrix/federation/v1/send/{txnId}
#[tokio::test]
async fn events_of_others_are_not_passed_on() {
    let shared = Shared::start().await;
    let third = FakeServer::start().await;
    let carol = third.user("carol");
    third.join(shared.server.name(), shared.room_id(), &carol).await;
    shared.fake.wait_for_pdu("the join of Carol", |pdu| pdu["state_key"] == carol).await;
    let said = shared.room.message(&shared.bob, "to one only").build();
    shared.room.add(&said);
    offer(&shared, &said).await;
    shared.alice_hears(&said.id).await;

    let marker = shared.alice.send_text(shared.room_id(), "marker").await;

    third.wait_for_event(shared.room_id(), &marker).await;
    let passed_on = third.pdus_received().iter().any(|pdu| pdu["sender"] == shared.bob.as_str());
    assert!(!passed_on, "{:?}", third.pdus_received());
}
