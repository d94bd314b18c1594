//! Branches with different state that meet here: which of it counts.

use super::ground::{Shared, versions};
use sytest_like::fake::{Event, now_ms};
use sytest_like::{Value, json};

/// Versions in which conflicts are resolved by power and time; version 1 has a way of its own.
fn modern_versions() -> impl Iterator<Item = &'static str> {
    versions().into_iter().filter(|version| *version != "1")
}

/// A room in which Bob has all the power and Carol, on the same server, half of it, and the event that branches follow.
async fn fork(first: &Shared, version: &str) -> (Shared, String, String) {
    let shared = first.another(version).await;
    let carol = shared.fake.user("carol");
    shared.fake.join(shared.server.name(), shared.room_id(), &carol).await;
    let levels = shared.alice.get_state(shared.room_id(), "m.room.power_levels", "").await.expect_ok();
    let mut levels = levels.json;
    levels["users"][&shared.bob] = json!(100);
    levels["users"][&carol] = json!(50);
    let base = shared.set_and_hear("m.room.power_levels", levels).await;
    shared.room.set_extremities(&[&base]);
    (shared, carol, base)
}

/// A state event that follows `base`, whatever else there is.
fn branch(shared: &Shared, base: &str, sender: &str, slot: (&str, &str), content: Value) -> Event {
    shared.room.event(slot.0, sender).state_key(slot.1).content(content).prev(&[base]).build()
}

async fn offer(shared: &Shared, events: &[&Event]) {
    for event in events {
        shared.room.add_aside(event);
        shared.fake.send_pdus(shared.server.name(), &[event]).await;
    }
}

/// Something that follows all branches, so that the server has seen them and made one state of them.
async fn join_branches(shared: &Shared, branches: &[&Event]) {
    let ids: Vec<&str> = branches.iter().map(|event| event.id.as_str()).collect();
    let merge = shared.room.message(&shared.bob, "all together").prev(&ids).build();
    offer(shared, &[&merge]).await;
    shared.alice_hears(&merge.id).await;
}

async fn topic_of(shared: &Shared) -> Option<String> {
    let answer = shared.alice.get_state(shared.room_id(), "m.room.topic", "").await;
    if answer.status == 404 { None } else { Some(answer.expect_ok().str("topic").to_owned()) }
}

/// Of two topics that are set side by side the later one counts, whichever came first.
/// spec: rooms/v2/#state-resolution
/// covers: PUT /_matrix/federation/v1/send/{txnId}
#[tokio::test]
async fn later_of_two_changes_counts() {
    let first = Shared::of_version("2").await;
    for version in modern_versions() {
        for earlier_comes_first in [true, false] {
            let (shared, _, base) = fork(&first, version).await;
            let at = |time: i64, topic: &str| {
                let draft = shared.room.event("m.room.topic", &shared.bob).state_key("").prev(&[&base]);
                draft.content(json!({"topic": topic})).field("origin_server_ts", json!(time)).build()
            };
            let (early, late) = (at(now_ms() - 5000, "early"), at(now_ms(), "late"));
            let order = if earlier_comes_first { [&early, &late] } else { [&late, &early] };

            offer(&shared, &order).await;
            join_branches(&shared, &order).await;

            assert_eq!(topic_of(&shared).await.as_deref(), Some("late"), "version {version}");
        }
    }
}

/// Who loses the power on one branch does not keep what they changed with it on another.
/// spec: rooms/v2/#state-resolution
/// covers: PUT /_matrix/federation/v1/send/{txnId}
#[tokio::test]
async fn lost_power_counts_first() {
    let first = Shared::of_version("2").await;
    for version in modern_versions() {
        for loss_comes_first in [true, false] {
            let (shared, carol, base) = fork(&first, version).await;
            let mut levels = shared.room.state_event("m.room.power_levels", "").expect("there are some").json;
            levels["content"]["users"][&carol] = json!(0);
            let content = levels["content"].clone();
            let loss = branch(&shared, &base, &shared.bob, ("m.room.power_levels", ""), content);
            let topic = json!({"topic": "Carol's"});
            let change = branch(&shared, &base, &carol, ("m.room.topic", ""), topic);
            let order = if loss_comes_first { [&loss, &change] } else { [&change, &loss] };

            offer(&shared, &order).await;
            join_branches(&shared, &order).await;

            assert_eq!(topic_of(&shared).await, None, "version {version}, {loss_comes_first}");
        }
    }
}

/// Who is banned on one branch is banned, and what they changed on another does not count.
/// spec: rooms/v2/#state-resolution
/// covers: PUT /_matrix/federation/v1/send/{txnId}
#[tokio::test]
async fn bans_count_first() {
    let first = Shared::of_version("2").await;
    for version in modern_versions() {
        for ban_comes_first in [true, false] {
            let (shared, carol, base) = fork(&first, version).await;
            let membership = json!({"membership": "ban"});
            let ban = branch(&shared, &base, &shared.bob, ("m.room.member", &carol), membership);
            let topic = json!({"topic": "Carol's"});
            let change = branch(&shared, &base, &carol, ("m.room.topic", ""), topic);
            let order = if ban_comes_first { [&ban, &change] } else { [&change, &ban] };

            offer(&shared, &order).await;
            join_branches(&shared, &order).await;

            assert_eq!(topic_of(&shared).await, None, "version {version}, {ban_comes_first}");
            let member = shared.alice.get_state(shared.room_id(), "m.room.member", &carol).await;
            assert_eq!(member.str("membership"), "ban", "version {version}");
        }
    }
}

/// State that only one branch has counts after they meet.
/// spec: rooms/v2/#state-resolution
/// covers: PUT /_matrix/federation/v1/send/{txnId}
#[tokio::test]
async fn what_only_one_branch_has_counts() {
    let first = Shared::of_version("1").await;
    for version in versions() {
        let (shared, carol, base) = fork(&first, version).await;
        let name = branch(&shared, &base, &shared.bob, ("m.room.name", ""), json!({"name": "Bob's"}));
        let topic = branch(&shared, &base, &carol, ("m.room.topic", ""), json!({"topic": "Carol's"}));

        offer(&shared, &[&name, &topic]).await;
        join_branches(&shared, &[&name, &topic]).await;

        assert_eq!(topic_of(&shared).await.as_deref(), Some("Carol's"), "version {version}");
        let name = shared.alice.get_state(shared.room_id(), "m.room.name", "").await.expect_ok();
        assert_eq!(name["name"], "Bob's", "version {version}");
    }
}

/// What is said here after branches came follows all of them, and the state is the same before and after.
/// spec: server-server-api/#pdus
/// covers: PUT /_matrix/federation/v1/send/{txnId}
#[tokio::test]
async fn what_is_said_here_joins_branches() {
    let first = Shared::of_version("1").await;
    for version in versions() {
        let (shared, carol, base) = fork(&first, version).await;
        let left = shared.room.message(&shared.bob, "left").prev(&[&base]).build();
        let right = shared.room.message(&carol, "right").prev(&[&base]).build();
        offer(&shared, &[&left, &right]).await;
        shared.alice_hears(&right.id).await;

        let sent = shared.alice.send_text(shared.room_id(), "middle").await;

        let event = shared.fake.wait_for_event(shared.room_id(), &sent).await;
        let mut prev = event.prev_ids();
        prev.sort();
        let mut expected = vec![left.id.clone(), right.id.clone()];
        expected.sort();
        assert_eq!(prev, expected, "version {version}");
    }
}

/// The state that others are told is that before an event on its own branch, not what became of it later.
/// spec: server-server-api/#get_matrixfederationv1state_idsroomid
/// covers: GET /_matrix/federation/v1/state_ids/{roomId}
#[tokio::test]
async fn state_of_a_branch_is_told_as_it_was() {
    let shared = Shared::start().await;
    let (shared, carol, base) = fork(&shared, "12").await;
    let name = branch(&shared, &base, &shared.bob, ("m.room.name", ""), json!({"name": "Bob's"}));
    let topic = branch(&shared, &base, &carol, ("m.room.topic", ""), json!({"topic": "Carol's"}));
    offer(&shared, &[&name, &topic]).await;
    shared.room.set_extremities(&[&name.id]);
    let after_name = shared.room.message(&shared.bob, "after the name").prev(&[&name.id]).build();
    offer(&shared, &[&after_name]).await;
    join_branches(&shared, &[&after_name, &topic]).await;

    let path = sytest_like::path!("/_matrix/federation/v1/state_ids/{}", shared.room_id());
    let answer = shared.fake.get(shared.server.name(), &path).query("event_id", &after_name.id).await;

    let answer = answer.expect_ok();
    let ids = answer.array("pdu_ids");
    assert!(ids.contains(&json!(name.id)) && !ids.contains(&json!(topic.id)), "{answer}");
}
