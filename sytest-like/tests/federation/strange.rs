//! Events with names and numbers that no database takes: they harm nobody but themselves.

use super::ground::{Shared, ids_of, versions};
use sytest_like::fake::Event;
use sytest_like::{Value, incompressible, json, path, unique};

/// Sends an event of the scripted server while Alice says much, and checks that the room goes on.
///
/// What is said meanwhile goes into the same batches as what comes from elsewhere.
async fn survives(shared: &Shared, strange: &[Event]) {
    let said = (0..5).map(|number| {
        let path = path!("/v3/rooms/{}/send/m.room.message/{}", shared.room_id(), unique("txn"));
        shared.alice.put(&path, json!({"msgtype": "m.text", "body": format!("meanwhile {number}")}))
    });
    let said = futures_util::future::join_all(said.map(|request| async move { request.await }));
    let pdus: Vec<Value> = strange.iter().map(|event| event.json.clone()).collect();
    let (said, answer) = tokio::join!(said, shared.fake.transaction(shared.server.name(), &pdus, &[]));
    answer.expect_ok();
    for answer in said {
        answer.expect_ok();
    }
    let after = shared.room.say(&shared.bob, "after it").await;
    shared.alice_hears(&after.id).await;
}

/// U+0000 in an id, a type or a state key does no harm to what else is sent in the room, in every room version.
/// spec: server-server-api/#checks-performed-on-receipt-of-a-pdu
/// covers: PUT /_matrix/federation/v1/send/{txnId}
#[tokio::test]
async fn nul_characters_in_names_harm_nobody_in_any_version() {
    const NUL: &str = "$\u{0}:example.org";
    let first = Shared::of_version("1").await;
    for version in versions() {
        let shared = first.another(version).await;
        let (room, bob) = (&shared.room, &shared.bob);
        let related = json!({"body": "x", "m.relates_to": {"rel_type": "m.thread", "event_id": NUL}});
        let invite = json!({"membership": "invite", "third_party_invite": {"display_name": "x",
            "signed": {"mxid": "@c:example.org", "token": "\u{0}", "signatures": {}}}});
        let strange = [
            room.message(bob, "prev").prev(&[NUL]).build(),
            room.message(bob, "auth").auth(&[NUL]).build(),
            room.event("m.room.redaction", bob).redacts(NUL).build(),
            room.message(bob, "related").content(related).build(),
            room.event("org.example.\u{0}", bob).content(json!({})).build(),
            room.event("org.example", bob).state_key("\u{0}").content(json!({})).build(),
            room.event("m.room.member", bob).state_key("@c:example.org").content(invite).build(),
        ];
        survives(&shared, &strange).await;
    }
}

/// An id of tens of kilobytes in a relation or a redaction does no harm to what else is sent in the room.
/// spec: server-server-api/#checks-performed-on-receipt-of-a-pdu
/// covers: PUT /_matrix/federation/v1/send/{txnId}
#[tokio::test]
async fn enormous_ids_harm_nobody_in_any_version() {
    let first = Shared::of_version("1").await;
    for version in versions() {
        let shared = first.another(version).await;
        let long = format!("${}:example.org", incompressible(50_000));
        let related = json!({"body": "x", "m.relates_to": {"rel_type": "m.thread", "event_id": long}});
        let related = shared.room.message(&shared.bob, "related").content(related).build();
        let redaction = shared.room.event("m.room.redaction", &shared.bob).redacts(&long).build();

        survives(&shared, &[related.clone(), redaction]).await;

        let seen = shared.alice.get_event(shared.room_id(), &related.id).await.expect_ok();
        assert_eq!(seen["content"]["body"], "x", "version {version}");
    }
}

/// What is said about an event that is not taken does not grow with the event.
/// spec: server-server-api/#put_matrixfederationv1sendtxnid
/// covers: PUT /_matrix/federation/v1/send/{txnId}
#[tokio::test]
async fn reasons_are_short() {
    let shared = Shared::start().await;
    let carol = shared.fake.user("carol");
    let content = json!({"membership": "invite", "third_party_invite": "x".repeat(20_000)});
    let bad = shared.room.member(&shared.bob, &carol, "invite").content(content).build();

    let answer = shared.fake.send_pdus(shared.server.name(), &[&bad]).await;

    let reason = answer["pdus"][&bad.id]["error"].as_str().unwrap_or_default().to_owned();
    assert!(!reason.is_empty() && reason.len() < 1_000 && !reason.contains('\u{0}'), "{answer}");
    let after = shared.room.say(&shared.bob, "after it").await;
    let heard = shared.alice_hears(&after.id).await;
    assert!(!ids_of(&heard).contains(&bad.id), "{heard:?}");
}
