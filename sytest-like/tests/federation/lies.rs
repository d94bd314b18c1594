//! Peers that withhold what is missing, or say of it what is not so.

use super::gaps::{offer, tell_little, unsent};
use super::ground::{Shared, ids_of, versions};
use sytest_like::fake::{Event, Reply};
use sytest_like::{FakeServer, Value, json};

/// The server still takes what comes with all that it needs, and Alice hears it.
async fn expect_alive(shared: &Shared) {
    let other = shared.another("12").await;
    let said = other.room.say(&other.bob, "still there?").await;
    other.alice_hears(&said.id).await;
}
/// When nobody says what was before an event, it is not shown, and nothing else is harmed; when they do, all is there.
/// spec: server-server-api/#retrieving-missing-events
/// covers: PUT /_matrix/federation/v1/send/{txnId}
#[tokio::test]
async fn gap_that_nobody_fills_harms_nobody() {
    let shared = Shared::start().await;
    shared.server.expect_log("");
    for endpoint in ["get_missing_events", "state_ids", "state", "event", "backfill"] {
        shared.fake.always(endpoint, Reply::error(404, "M_NOT_FOUND"));
    }
    let events = unsent(&shared, 4);
    offer(&shared, &events[3]).await;
    expect_alive(&shared).await;

    for endpoint in ["get_missing_events", "state_ids", "state", "event", "backfill"] {
        shared.fake.be_honest(endpoint);
    }
    let last = shared.room.say(&shared.bob, "at last").await;

    shared.alice_hears(&last.id).await;
}

/// Whatever a peer answers when it is asked for missing events, the server goes on.
/// spec: server-server-api/#retrieving-missing-events
/// covers: PUT /_matrix/federation/v1/send/{txnId}
#[tokio::test]
async fn lies_about_missing_events_harm_nobody() {
    let shared = Shared::start().await;
    shared.server.expect_log("");
    let stray = shared.fake.create_room("12", &shared.bob).add_message(&shared.bob, "elsewhere").json;
    let forged = shared.room.message(&shared.bob, "forged").with_bad_signature().build().json;
    let lies = [
        Reply::json(json!({})),
        Reply::json(json!([])),
        Reply::json(json!({"events": "none"})),
        Reply::json(json!({"events": [null, 1, "a", {}, []]})),
        Reply::json(json!({"events": [stray]})),
        Reply::json(json!({"events": vec![forged; 200]})),
        Reply::bytes(200, "text/html", "<html></html>"),
        Reply::bytes(200, "application/json", "{\"events\": ["),
        Reply::bytes(200, "application/json", vec![0xff_u8; 100]),
        Reply::bytes(302, "text/plain", "").header("location", "http://127.0.0.1:1/"),
        Reply::error(500, "M_UNKNOWN"),
        Reply::error(403, "M_FORBIDDEN"),
        Reply::hang_up(),
        Reply::endless(),
    ];
    for lie in lies {
        shared.fake.always("get_missing_events", lie.clone());
        let events = unsent(&shared, 3);

        // Whether it counts without those before it is for the server to say.
        offer(&shared, &events[2]).await;

        shared.fake.be_honest("get_missing_events");
        let last = shared.room.say(&shared.bob, "the truth again").await;
        let shown = shared.alice_hears(&last.id).await;
        assert!(shown.iter().all(|event| event["content"]["body"] != "forged"), "{lie:?}: {shown:?}");
    }
}

/// Whatever a peer says of the state, the server goes on.
/// spec: server-server-api/#retrieving-missing-events
/// covers: PUT /_matrix/federation/v1/send/{txnId}
#[tokio::test]
async fn lies_about_state_harm_nobody() {
    let shared = Shared::start().await;
    shared.server.expect_log("");
    tell_little(&shared);
    let unknown = "$AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA";
    let stray = shared.fake.create_room("12", &shared.bob);
    let strays: Vec<Value> = stray.event_ids().into_iter().map(Value::from).collect();
    let lies = [
        Reply::json(json!({})),
        Reply::json(json!({"pdu_ids": [], "auth_chain_ids": []})),
        Reply::json(json!({"pdu_ids": [unknown], "auth_chain_ids": [unknown]})),
        Reply::json(json!({"pdu_ids": strays, "auth_chain_ids": []})),
        Reply::json(json!({"pdu_ids": [1, null, {}], "auth_chain_ids": "none"})),
        Reply::bytes(200, "text/html", "<html></html>"),
        Reply::error(500, "M_UNKNOWN"),
        Reply::endless(),
    ];
    for lie in lies {
        shared.fake.always("state_ids", lie);
        shared.fake.always("state", Reply::error(404, "M_NOT_FOUND"));
        let events = unsent(&shared, 3);
        offer(&shared, &events[2]).await;
        shared.fake.be_honest("state_ids");
        shared.fake.be_honest("state");
    }
    expect_alive(&shared).await;
    let state = shared.alice.get_state(shared.room_id(), "m.room.create", "").await;
    state.expect_ok();
    shared.fake.be_honest("get_missing_events");
    let last = shared.room.say(&shared.bob, "the truth again").await;
    shared.alice_hears(&last.id).await;
}

/// A peer that never answers what it is asked holds up neither other rooms nor what is said here.
/// spec: server-server-api/#transactions
/// covers: PUT /_matrix/federation/v1/send/{txnId}
#[tokio::test]
async fn silent_peer_holds_up_nobody_else() {
    let shared = Shared::start().await;
    shared.server.expect_log("");
    let other = FakeServer::start().await;
    let carol = other.user("carol");
    let elsewhere = shared.another("12").await;
    let carols = other.join(shared.server.name(), elsewhere.room_id(), &carol).await;
    shared.fake.hang("get_missing_events");
    let events = unsent(&shared, 3);
    let stuck = tokio::spawn({
        let (fake, name, event) = (shared.fake.clone(), shared.server.name().to_owned(), events[2].clone());
        async move { fake.transaction(&name, &[event.json], &[]).try_send().await.ok() }
    });
    shared.fake.wait_for_request("get_missing_events", |_| true).await;

    let said = carols.message(&carol, "I am quick").build();
    other.send_pdus(shared.server.name(), &[&said]).await;

    elsewhere.alice_hears(&said.id).await;
    let own = shared.alice.send_text(shared.room_id(), "so am I").await;
    shared.fake.wait_for_event(shared.room_id(), &own).await;
    stuck.abort();
}

/// An event whose auth events nobody gives away is not shown.
/// spec: server-server-api/#checks-performed-on-receipt-of-a-pdu
/// covers: PUT /_matrix/federation/v1/send/{txnId}
#[tokio::test]
async fn withheld_auth_events_make_an_event_count_for_nothing() {
    let shared = Shared::start().await;
    shared.server.expect_log("");
    let base = shared.room.extremities();
    let base: Vec<&str> = base.iter().map(String::as_str).collect();
    let hidden = shared.room.member(&shared.bob, &shared.bob, "join").prev(&base).build();
    shared.room.keep(&hidden);
    shared.room.withhold(&hidden);
    let create: Vec<String> =
        shared.room.state_event("m.room.power_levels", "").into_iter().map(|e| e.id).collect();
    let bad =
        shared.room.message(&shared.bob, "trust me").prev(&base).auth(&[&hidden.id, &create[0]]).build();

    offer(&shared, &bad).await;

    let after = shared.room.say(&shared.bob, "after it").await;
    let heard = ids_of(&shared.alice_hears(&after.id).await);
    assert!(!heard.contains(&bad.id), "{heard:?}");
}

/// Events that name the wrong auth events are rejected: too many of a kind, of another kind, or of another room.
/// spec: rooms/v12/#authorization-rules
/// covers: PUT /_matrix/federation/v1/send/{txnId}
#[tokio::test]
async fn wrong_auth_events_are_rejected_in_every_version() {
    let first = Shared::of_version("1").await;
    for version in versions() {
        let shared = first.another(version).await;
        shared.server.expect_log("");
        let honest = shared.room.message(&shared.bob, "honest").build().auth_ids();
        let visibility = shared.room.state_event("m.room.history_visibility", "").expect("it is set");
        let stray = shared.fake.create_room(version, &shared.bob);
        let strays = stray.state_event("m.room.member", &shared.bob).expect("the creator is a member");
        for extra in [visibility.id, strays.id] {
            let mut auth: Vec<&str> = honest.iter().map(String::as_str).collect();
            auth.push(&extra);
            let bad = shared.room.message(&shared.bob, "bad").auth(&auth).build();
            offer(&shared, &bad).await;
            let after = shared.room.say(&shared.bob, "after it").await;
            let heard = ids_of(&shared.alice_hears(&after.id).await);
            assert!(!heard.contains(&bad.id), "version {version}: {heard:?}");
        }
        let none = shared.room.message(&shared.bob, "by what right?").auth(&[]).build();
        offer(&shared, &none).await;
        let after = shared.room.say(&shared.bob, "after it").await;
        let heard = ids_of(&shared.alice_hears(&after.id).await);
        assert!(!heard.contains(&none.id), "version {version}: {heard:?}");
    }
}

/// Events that follow each other in a circle, which chosen ids allow, do not keep the server busy for ever.
/// spec: rooms/v1/#event-ids
/// covers: PUT /_matrix/federation/v1/send/{txnId}
#[tokio::test]
async fn circles_end() {
    for version in ["1", "2"] {
        let shared = Shared::of_version(version).await;
        shared.server.expect_log("");
        let ids: Vec<String> = (0..3).map(|n| format!("$circle{n}:{}", shared.fake.name())).collect();
        let events: Vec<Event> = (0..3)
            .map(|number| {
                let prev = ids[(number + 1) % 3].as_str();
                let message = shared.room.message(&shared.bob, "round");
                message.field("event_id", json!(ids[number])).prev(&[prev]).build()
            })
            .collect();
        for event in &events {
            shared.room.keep(event);
        }

        offer(&shared, &events[0]).await;

        expect_alive(&shared).await;
        let own = shared.alice.send_text(shared.room_id(), "still here").await;
        shared.fake.wait_for_event(shared.room_id(), &own).await;
    }
}

/// More events before one than the specification allows make it count for nothing.
/// spec: server-server-api/#pdus
/// covers: PUT /_matrix/federation/v1/send/{txnId}
#[tokio::test]
async fn too_many_events_before_one_are_refused() {
    let shared = Shared::start().await;
    shared.server.expect_log("");
    let base = shared.room.extremities();
    let base: Vec<&str> = base.iter().map(String::as_str).collect();
    let branches: Vec<Event> = (0..21)
        .map(|number| shared.room.message(&shared.bob, &format!("branch {number}")).prev(&base).build())
        .collect();
    let refs: Vec<&Event> = branches.iter().collect();
    shared.fake.send_pdus(shared.server.name(), &refs).await;
    for branch in &branches {
        shared.room.add_aside(branch);
    }
    let prev: Vec<&str> = branches.iter().map(|branch| branch.id.as_str()).collect();
    let bad = shared.room.message(&shared.bob, "all of them").prev(&prev).build();

    offer(&shared, &bad).await;

    let after = shared.room.message(&shared.bob, "some of them").prev(&prev[..10]).build();
    offer(&shared, &after).await;
    let heard = ids_of(&shared.alice_hears(&after.id).await);
    assert!(!heard.contains(&bad.id), "{heard:?}");
}

/// However many branches a peer leaves open, what is sent here follows at most twenty of them, and closes them in time.
/// spec: server-server-api/#pdus
/// covers: PUT /_matrix/federation/v1/send/{txnId}
#[tokio::test]
async fn open_branches_are_closed_by_what_is_said_here() {
    let shared = Shared::start().await;
    let base = shared.room.extremities();
    let base: Vec<&str> = base.iter().map(String::as_str).collect();
    let branches: Vec<Event> = (0..45)
        .map(|number| shared.room.message(&shared.bob, &format!("branch {number}")).prev(&base).build())
        .collect();
    for branch in &branches {
        shared.room.add_aside(branch);
        offer(&shared, branch).await;
    }
    shared.alice_hears(&branches[44].id).await;

    let mut open = usize::MAX;
    for _ in 0..8 {
        let sent = shared.alice.send_text(shared.room_id(), "let us come together").await;
        let event = shared.fake.wait_for_event(shared.room_id(), &sent).await;
        open = event.prev_ids().len();
        assert!(open <= 20, "{event:?}");
    }

    assert!(open < 10, "{open} branches are still open");
}

/// Gaps within gaps end: a peer that always knows of yet another event before is asked only so often.
/// spec: server-server-api/#retrieving-missing-events
/// covers: PUT /_matrix/federation/v1/send/{txnId}
#[tokio::test]
async fn endless_history_is_not_followed_for_ever() {
    let shared = Shared::start().await;
    shared.server.expect_log("");
    let room = shared.room.clone();
    let bob = shared.bob.clone();
    let top = unsent(&shared, 2);
    // Each answer is a new event that follows one more that nobody has seen.
    shared.fake.answer("get_missing_events", move |received| {
        let wanted = received.body["latest_events"][0].as_str()?.to_owned();
        let before = room.message(&bob, "still earlier").prev(&[&wanted]).build();
        let event = room.message(&bob, "earlier").prev(&[&before.id]).build();
        Some(Reply::json(json!({"events": [event.json]})))
    });

    offer(&shared, &top[1]).await;

    expect_alive(&shared).await;
    let asked = shared.fake.received("get_missing_events").len();
    assert!(asked < 60, "asked {asked} times");
}
