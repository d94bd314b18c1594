//! What a server is told of a room that its users are removed from.

use super::ground::{Shared, hears};
use sytest_like::json;

/// A server that was away is told what was said before its last user was banned, then of the ban, and nothing after it.
/// spec: server-server-api/#transactions
/// covers: PUT /_matrix/federation/v1/send/{txnId}
#[tokio::test]
async fn banned_server_is_told_what_it_missed_before() {
    let shared = Shared::start().await;
    let first = shared.alice.send_text(shared.room_id(), "first").await;
    shared.fake.wait_for_event(shared.room_id(), &first).await;
    shared.fake.go_down();
    let said = shared.alice.send_text(shared.room_id(), "x").await;
    // After a restart all that a server lacks is looked up.
    shared.server.restart().await;
    shared.alice.membership(shared.room_id(), "ban", &shared.bob).await.expect_ok();
    let after = shared.alice.send_text(shared.room_id(), "among us").await;
    hears(&shared.alice, shared.room_id(), &after).await;
    shared.fake.forget();

    shared.fake.come_back().await;
    shared.fake.send_edu(shared.server.name(), "org.example.hello", json!({})).await;

    let is_ban = |pdu: &sytest_like::Value| pdu["content"]["membership"] == "ban";
    shared.fake.wait_for_pdu("the ban", is_ban).await;
    let told = shared.fake.pdus_received();
    let (said_at, ban_at) =
        (told.iter().position(|pdu| pdu["content"]["body"] == "x"), told.iter().position(is_ban));
    assert!(said_at.is_some() && said_at < ban_at, "{said} comes before the ban: {told:#?}");
    assert!(!told.iter().any(|pdu| pdu["content"]["body"] == "among us"), "{told:#?}");
}
