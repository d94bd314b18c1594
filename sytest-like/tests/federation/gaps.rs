//! Events that come without those before them: the server asks for what it lacks, and copes with what it gets.

use super::absence::until_readable;
use super::ground::{Shared, ids_of, versions, with_fake};
use sytest_like::fake::{Event, Reply};
use sytest_like::{FakeServer, Value, json, path};

/// Messages that only the scripted server knows, the oldest first.
pub(super) fn unsent(shared: &Shared, count: usize) -> Vec<Event> {
    (0..count).map(|number| shared.room.add_message(&shared.bob, &format!("message {number}"))).collect()
}

/// From here on the scripted server gives away only the event right before the one that it is asked about.
pub(super) fn tell_little(shared: &Shared) {
    let room = shared.room.clone();
    shared.fake.answer("get_missing_events", move |received| {
        let latest = room.event_with_id(received.body["latest_events"][0].as_str()?)?;
        let before = room.event_with_id(latest.prev_ids().first()?)?;
        Some(Reply::json(json!({"events": [before.json]})))
    });
}

pub(super) async fn offer(shared: &Shared, event: &Event) {
    shared.fake.send_pdus(shared.server.name(), &[event]).await;
}

/// Events that are missing before a new one are fetched, and come in their order; in every room version.
/// spec: server-server-api/#retrieving-missing-events
/// covers: PUT /_matrix/federation/v1/send/{txnId}
#[tokio::test]
async fn short_gap_is_filled_in_order_in_every_version() {
    let first = Shared::of_version("1").await;
    for version in versions() {
        let shared = first.another(version).await;
        let events = unsent(&shared, 6);

        offer(&shared, &events[5]).await;

        let heard = ids_of(&shared.alice_hears(&events[5].id).await);
        let ours: Vec<&String> =
            heard.iter().filter(|id| events.iter().any(|event| event.id == **id)).collect();
        let sent: Vec<&String> = events.iter().map(|event| &event.id).collect();
        assert_eq!(ours, sent, "version {version}");
    }
}

/// What was said on a branch that is missing is fetched too.
/// spec: server-server-api/#retrieving-missing-events
/// covers: PUT /_matrix/federation/v1/send/{txnId}
#[tokio::test]
async fn missing_branches_are_filled() {
    let shared = Shared::start().await;
    let base = shared.room.extremities();
    let base: Vec<&str> = base.iter().map(String::as_str).collect();
    let left = shared.room.message(&shared.bob, "left").prev(&base).build();
    let right = shared.room.message(&shared.bob, "right").prev(&base).build();
    shared.room.add(&left);
    shared.room.add(&right);
    let merge = shared.room.add_message(&shared.bob, "both");

    offer(&shared, &merge).await;

    let heard = ids_of(&shared.alice_hears(&merge.id).await);
    assert!(heard.contains(&left.id) && heard.contains(&right.id), "{heard:?}");
}

/// A state change in the middle of a gap counts after it, though nobody fills the whole gap.
/// spec: server-server-api/#retrieving-missing-events
/// covers: PUT /_matrix/federation/v1/send/{txnId}
#[tokio::test]
async fn state_across_a_gap_is_asked_for_in_every_version() {
    let first = Shared::of_version("1").await;
    for version in versions() {
        let shared = first.another(version).await;
        shared.promote_bob(100).await;
        tell_little(&shared);
        unsent(&shared, 2);
        let topic = json!({"topic": "changed in the gap"});
        shared.room.add_state("m.room.topic", "", &shared.bob, topic);
        let events = unsent(&shared, 3);

        offer(&shared, &events[2]).await;

        shared.alice_hears(&events[2].id).await;
        let topic = shared.alice.get_state(shared.room_id(), "m.room.topic", "").await.expect_ok();
        assert_eq!(topic["topic"], "changed in the gap", "version {version}");
        shared.fake.be_honest("get_missing_events");
    }
}

/// A gap that is longer than anybody fills at once does not hide what comes after it.
/// spec: server-server-api/#retrieving-missing-events
/// covers: PUT /_matrix/federation/v1/send/{txnId}
#[tokio::test]
async fn long_gap_is_bridged() {
    let shared = Shared::start().await;
    shared.promote_bob(100).await;
    unsent(&shared, 50);
    shared.room.add_state("m.room.topic", "", &shared.bob, json!({"topic": "far away"}));
    let events = unsent(&shared, 100);

    offer(&shared, &events[99]).await;

    shared.alice_hears(&events[99].id).await;
    let topic = shared.alice.get_state(shared.room_id(), "m.room.topic", "").await.expect_ok();
    assert_eq!(topic["topic"], "far away");
}

/// A server that does not know the state before every event of a gap still tells it before the newest, and that one comes.
/// spec: server-server-api/#retrieving-missing-events
/// covers: PUT /_matrix/federation/v1/send/{txnId}
#[tokio::test]
async fn gap_is_bridged_where_the_state_is_known() {
    let shared = Shared::start().await;
    let events = unsent(&shared, 12);
    let (first, last) = (events[2].id.clone(), events[11].id.clone());
    // Only each second one is given away, so that all of them lack the one before.
    let given: Vec<Value> = events.iter().skip(2).step_by(2).map(|event| event.json.clone()).collect();
    shared.fake.answer("get_missing_events", move |_| Some(Reply::json(json!({"events": given}))));
    let known = last.clone();
    shared.fake.answer("state_ids", move |received| {
        (received.param("event_id") != Some(&*known)).then(|| Reply::error(404, "M_NOT_FOUND"))
    });

    offer(&shared, &events[11]).await;

    shared.alice_hears(&last).await;
    shared.alice.get_event(shared.room_id(), &first).await.expect_err(404, "M_NOT_FOUND");
}

/// When the server that sent an event does not tell what comes before it, another one in the room is asked.
/// spec: server-server-api/#retrieving-missing-events
/// covers: PUT /_matrix/federation/v1/send/{txnId}
#[tokio::test]
async fn gap_is_closed_with_the_help_of_another_server() {
    let (shared, other) = tokio::join!(Shared::start(), FakeServer::start());
    let joined = other.join(shared.server.name(), shared.room_id(), &other.user("carol")).await;
    let join = joined.state_event("m.room.member", &other.user("carol")).expect("carol joined");
    shared.alice_hears(&join.id).await;
    let events = unsent(&shared, 2);
    for endpoint in ["get_missing_events", "state_ids", "event"] {
        shared.fake.always(endpoint, Reply::error(404, "M_NOT_FOUND"));
    }
    let missing = events[0].json.clone();
    other.answer("get_missing_events", move |_| Some(Reply::json(json!({"events": [missing]}))));

    offer(&shared, &events[1]).await;

    shared.alice_hears(&events[1].id).await;
    assert!(!shared.fake.received("get_missing_events").is_empty());
    shared.alice.get_event(shared.room_id(), &events[0].id).await.expect_ok();
}

/// Whoever names an event that nobody has, and tells what the state was before it, does not thereby undo what is known here
/// to come before too.
/// spec: rooms/v12/#state-resolution
/// covers: PUT /_matrix/federation/v1/send/{txnId}
#[tokio::test]
async fn told_state_does_not_undo_what_is_known() {
    let shared = Shared::start().await;
    let old: Vec<String> = shared.room.state().values().cloned().collect();
    let topic = shared.set_and_hear("m.room.topic", json!({"topic": "the truth"})).await;
    let carol = shared.server.register("carol").await;
    carol.join(shared.room_id()).await;
    let said = carol.send_text(shared.room_id(), "I am here").await;
    shared.fake.wait_for_event(shared.room_id(), &said).await;
    let made_up = shared.room.message(&shared.bob, "never said").build();
    let lie = shared.room.message(&shared.bob, "lie").prev(&[&said, &made_up.id]).build();
    shared.fake.always("get_missing_events", Reply::json(json!({"events": []})));
    shared.fake.always("state_ids", Reply::json(json!({"pdu_ids": old, "auth_chain_ids": []})));

    offer(&shared, &lie).await;
    shared.alice_hears(&lie.id).await;

    let state = shared.alice.get_state(shared.room_id(), "m.room.topic", "").await.expect_ok();
    assert_eq!(state["topic"], "the truth", "{topic}");
    let member = shared.alice.get_state(shared.room_id(), "m.room.member", &carol.id).await.expect_ok();
    assert_eq!(member["membership"], "join");
}

/// The events before a gap that was bridged can be read by going back.
/// spec: server-server-api/#backfilling-and-retrieving-missing-events
/// covers: GET /_matrix/client/v3/rooms/{roomId}/messages
#[tokio::test]
async fn bridged_gap_is_filled_by_reading_back() {
    let shared = Shared::start().await;
    tell_little(&shared);
    let events = unsent(&shared, 30);
    offer(&shared, &events[29]).await;
    shared.alice_hears(&events[29].id).await;

    let bodies = shared.read_back(&shared.alice).await;

    for number in 0..30 {
        let body = format!("message {number}");
        assert!(bodies.contains(&body), "{body} is missing: {bodies:?}");
    }
}

/// A gap that was bridged is closed without anybody going back, also when the server was killed before it came to that.
/// spec: server-server-api/#backfilling-and-retrieving-missing-events
/// covers: GET /_matrix/client/v3/rooms/{roomId}/event/{eventId}
#[tokio::test]
async fn bridged_gap_is_closed_by_itself() {
    let shared = Shared::start().await;
    tell_little(&shared);
    let events = unsent(&shared, 250);
    shared.fake.always("backfill", Reply::error(500, "M_UNKNOWN"));
    offer(&shared, &events[249]).await;
    shared.alice_hears(&events[249].id).await;
    shared.fake.wait_for_request("backfill", |_| true).await;
    shared.alice.get_event(shared.room_id(), &events[0].id).await.expect_err(404, "M_NOT_FOUND");
    shared.server.kill9();
    shared.fake.be_honest("backfill");
    shared.server.start_again().await;

    until_readable(&shared.alice, shared.room_id(), &events[0].id).await;

    for event in &events {
        shared.alice.get_event(shared.room_id(), &event.id).await.expect_ok();
    }
}

/// An event of the past that names more predecessors than an event may have today is part of the history all the same.
/// spec: server-server-api/#get_matrixfederationv1backfillroomid
/// covers: GET /_matrix/client/v3/rooms/{roomId}/messages
#[tokio::test]
async fn history_may_have_many_predecessors() {
    let shared = Shared::start().await;
    tell_little(&shared);
    let base = shared.room.extremities();
    let base: Vec<&str> = base.iter().map(String::as_str).collect();
    for number in 0..25 {
        let branch = shared.room.message(&shared.bob, &format!("branch {number}")).prev(&base).build();
        shared.room.add(&branch);
    }
    let merge = shared.room.add_message(&shared.bob, "merge");
    assert_eq!(merge.prev_ids().len(), 25);
    let events = unsent(&shared, 30);
    offer(&shared, &events[29]).await;
    shared.alice_hears(&events[29].id).await;

    let bodies = shared.read_back(&shared.alice).await;

    for body in ["merge", "branch 0", "branch 24"] {
        assert!(bodies.iter().any(|read| read == body), "{body} is missing: {bodies:?}");
    }
}

/// A server that is killed while it fills a gap fills it after its start, when the event comes again.
/// spec: server-server-api/#transactions
/// covers: PUT /_matrix/federation/v1/send/{txnId}
#[tokio::test]
async fn killed_in_a_gap_fills_it_later() {
    let shared = Shared::start().await;
    shared.server.expect_log("");
    shared.fake.hang("get_missing_events");
    let events = unsent(&shared, 4);
    let stuck = tokio::spawn({
        let (fake, name, event) = (shared.fake.clone(), shared.server.name().to_owned(), events[3].clone());
        async move { fake.transaction(&name, &[event.json], &[]).try_send().await.ok() }
    });
    shared.fake.wait_for_request("get_missing_events", |_| true).await;
    shared.server.kill9();
    stuck.await.expect("the task ends with the connection");
    shared.fake.be_honest("get_missing_events");

    shared.server.start_again().await;
    offer(&shared, &events[3]).await;

    let heard = ids_of(&shared.alice_hears(&events[3].id).await);
    assert!(events.iter().all(|event| heard.contains(&event.id)), "{heard:?}");
}

/// An event whose auth events are unknown waits for nobody: they are asked for, and it counts.
/// spec: server-server-api/#checks-performed-on-receipt-of-a-pdu
/// covers: PUT /_matrix/federation/v1/send/{txnId}
#[tokio::test]
async fn missing_auth_events_are_asked_for() {
    let shared = Shared::start().await;
    // A change of name makes a member event that only the scripted server knows.
    let renamed = json!({"membership": "join", "displayname": "Robert"});
    let member =
        shared.room.event("m.room.member", &shared.bob).state_key(&shared.bob).content(renamed).build();
    shared.room.add(&member);
    let said = shared.room.add_message(&shared.bob, "it is me");
    assert!(said.auth_ids().contains(&member.id));

    offer(&shared, &said).await;

    shared.alice_hears(&said.id).await;
    let seen = shared.alice.get_state(shared.room_id(), "m.room.member", &shared.bob).await.expect_ok();
    assert_eq!(seen["displayname"], "Robert");
}

/// A ban counts when it comes, though a message of the banned user that follows it came first and was refused.
/// spec: server-server-api/#checks-performed-on-receipt-of-a-pdu
/// covers: PUT /_matrix/federation/v1/send/{txnId}
#[tokio::test]
async fn refused_events_do_not_take_the_effect_of_those_before_them() {
    let (server, fake) = with_fake().await;
    let alice = server.register("alice").await;
    let (bob, carol) = (fake.user("bob"), fake.user("carol"));
    let room = fake.create_room("12", &bob);
    room.add_state("m.room.member", &carol, &carol, json!({"membership": "join"}));
    alice.post(&path!("/v3/join/{}", room.id()), json!({})).query("via", fake.name()).await.expect_ok();
    let levels = room.state_event("m.room.power_levels", "").expect("it is set").id;
    let ban = room.add_state("m.room.member", &carol, &bob, json!({"membership": "ban"}));
    // What it names itself does not allow it.
    let message = room.message(&carol, "still here").auth(&[&levels, &ban.id]).build();
    room.add(&message);
    fake.always("get_missing_events", Reply::json(json!({"events": []})));
    // It is looked at once the state before it has been fetched; from then on it is known as what it is.
    let mut is_refused = false;
    for _ in 0..1000 {
        let answer = fake.send_pdus(server.name(), &[&message]).await;
        is_refused = answer.json["pdus"][&message.id]["error"].is_string();
        if is_refused {
            break;
        }
    }
    assert!(is_refused, "the message of a banned user was not refused");

    room.send_to(server.name(), &ban).await;

    let member = alice.get_state(room.id(), "m.room.member", &carol).await.expect_ok();
    member.has("membership", "ban");
}
