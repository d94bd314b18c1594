//! Redactions from elsewhere, which may come before what they redact.

use super::ground::{Shared, ids_of, versions};
use sytest_like::fake::Event;
use sytest_like::json;

async fn offer(shared: &Shared, event: &Event) {
    shared.fake.send_pdus(shared.server.name(), &[event]).await;
}

/// A redaction that comes before its target applies when the target comes.
/// spec: server-server-api/#checks-performed-on-receipt-of-a-pdu
/// covers: PUT /_matrix/federation/v1/send/{txnId}
#[tokio::test]
async fn redaction_before_its_target_applies_in_every_version() {
    let first = Shared::of_version("1").await;
    for version in versions() {
        let shared = first.another(version).await;
        let base = shared.room.extremities();
        let base: Vec<&str> = base.iter().map(String::as_str).collect();
        let target = shared.room.message(&shared.bob, "regretted").prev(&base).build();
        let redaction =
            shared.room.event("m.room.redaction", &shared.bob).prev(&base).redacts(&target.id).build();
        offer(&shared, &redaction).await;
        offer(&shared, &target).await;
        shared.room.add(&target);
        shared.room.add(&redaction);
        let after = shared.room.say(&shared.bob, "after both").await;
        shared.alice_hears(&after.id).await;

        let seen = shared.alice.get_event(shared.room_id(), &target.id).await.expect_ok();

        assert_eq!(seen["content"], json!({}), "version {version}: {seen}");
    }
}

/// What is no redaction says what it likes in `redacts`, and a redaction may name nothing: nobody's sync fails over it.
/// spec: server-server-api/#checks-performed-on-receipt-of-a-pdu
/// covers: PUT /_matrix/federation/v1/send/{txnId}
/// covers: GET /_matrix/client/v3/sync
#[tokio::test]
async fn strange_redacts_is_shown_in_every_version() {
    let first = Shared::of_version("1").await;
    for version in versions() {
        let shared = first.another(version).await;
        let mut ids = Vec::new();
        for strange in [json!(5), json!(["$x"]), json!({"a": null}), json!(true)] {
            let message = shared.room.message(&shared.bob, "odd").field("redacts", strange.clone());
            let redaction = shared.room.event("m.room.redaction", &shared.bob).field("redacts", strange);
            for event in [message.build(), redaction.build()] {
                offer(&shared, &event).await;
                shared.room.add_aside(&event);
                ids.push(event.id);
            }
        }

        let after = shared.room.say(&shared.bob, "after them").await;
        let heard = ids_of(&shared.alice_hears(&after.id).await);

        let message = shared.alice.get_event(shared.room_id(), &ids[0]).await.expect_ok();
        assert_eq!(message["content"]["body"], "odd", "version {version}: {message}");
        assert!(heard.contains(&ids[0]), "version {version}: {heard:?}");
    }
}

/// Others redact their own events; not those of people here without the power.
/// spec: server-server-api/#checks-performed-on-receipt-of-a-pdu
/// covers: PUT /_matrix/federation/v1/send/{txnId}
#[tokio::test]
async fn others_redact_only_what_they_may() {
    let first = Shared::of_version("1").await;
    for version in versions() {
        let shared = first.another(version).await;
        let own = shared.room.say(&shared.bob, "mine").await;
        let hers = shared.alice.send_text(shared.room_id(), "hers").await;
        shared.fake.wait_for_event(shared.room_id(), &hers).await;
        for target in [own.id.as_str(), hers.as_str()] {
            let redaction = shared.room.event("m.room.redaction", &shared.bob).redacts(target).build();
            offer(&shared, &redaction).await;
            shared.room.add(&redaction);
        }
        let after = shared.room.message(&shared.bob, "after both").prev(&[&hers]).build();
        offer(&shared, &after).await;
        shared.alice_hears(&after.id).await;

        let own = shared.alice.get_event(shared.room_id(), &own.id).await.expect_ok();
        let hers = shared.alice.get_event(shared.room_id(), &hers).await.expect_ok();

        assert_eq!(own["content"], json!({}), "version {version}");
        assert_eq!(hers["content"]["body"], "hers", "version {version}");
    }
}
