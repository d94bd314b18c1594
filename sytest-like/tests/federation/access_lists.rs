//! Access lists of rooms: which servers they keep out.

use super::ground::Shared;
use sytest_like::json;

/// Events of a server that the room's access list keeps out are refused; after the list is changed they are taken.
/// spec: server-server-api/#server-access-control-lists-acls
/// covers: PUT /_matrix/federation/v1/send/{txnId}
#[tokio::test]
async fn access_list_keeps_events_out() {
    let shared = Shared::start().await;
    let host = shared.fake.name().split(':').next().unwrap_or_default().to_owned();
    let list = |denied: Vec<String>| json!({"allow": ["*"], "deny": denied, "allow_ip_literals": true});
    shared.set_and_hear("m.room.server_acl", list(vec![host])).await;
    let bad = shared.room.message(&shared.bob, "kept out").build();

    let answer = shared.fake.send_pdus(shared.server.name(), &[&bad]).await;

    assert!(answer["pdus"][&bad.id]["error"].is_string(), "{answer}");
    shared.alice.get_event(shared.room_id(), &bad.id).await.expect_err(404, "M_NOT_FOUND");
    shared.alice.set_state(shared.room_id(), "m.room.server_acl", "", list(vec![])).await;
    let good = shared.room.message(&shared.bob, "let in").build();
    shared.fake.send_pdus(shared.server.name(), &[&good]).await;
    shared.alice_hears(&good.id).await;
}

/// An access list that allows nobody by address keeps servers out that have none but that.
/// spec: client-server-api/#mroomserver_acl
/// covers: PUT /_matrix/federation/v1/send/{txnId}
#[tokio::test]
async fn access_list_without_addresses_keeps_literals_out() {
    let shared = Shared::start().await;
    let list = json!({"allow": ["*"], "deny": [], "allow_ip_literals": false});
    shared.set_and_hear("m.room.server_acl", list).await;
    let bad = shared.room.message(&shared.bob, "kept out").build();

    let answer = shared.fake.send_pdus(shared.server.name(), &[&bad]).await;

    assert!(answer["pdus"][&bad.id]["error"].is_string(), "{answer}");
    shared.alice.get_event(shared.room_id(), &bad.id).await.expect_err(404, "M_NOT_FOUND");
}
