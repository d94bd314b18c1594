//! What was before somebody came, and before somebody had to go.

use super::ground::{Shared, hears, join_via, read_back, versions, with_fake};
use futures_util::future::join_all;
use sytest_like::fake::Reply;
use sytest_like::{FakeServer, Value, json, path};

fn missing_events(room_id: &str) -> String {
    path!("/_matrix/federation/v1/get_missing_events/{}", room_id)
}

/// In a room of another server whose history is for those who were there, who comes later sees nothing of before, whoever
/// else of this server was there; and neither do other servers.
/// spec: client-server-api/#room-history-visibility
/// covers: GET /_matrix/client/v3/rooms/{roomId}/messages
/// covers: GET /_matrix/federation/v1/backfill/{roomId}
#[tokio::test]
async fn closed_history_of_a_room_elsewhere_stays_closed() {
    let (server, fake) = with_fake().await;
    let (alice, carol) = tokio::join!(server.register("alice"), server.register("carol"));
    let bob = fake.user("bob");
    let room = fake.new_room("12", &bob).visibility("joined").create();
    join_via(&alice, room.id(), &[fake.name()]).await.expect_ok();
    let secret = room.say(&bob, "between us").await;
    hears(&alice, room.id(), &secret.id).await;

    join_via(&carol, room.id(), &[fake.name()]).await.expect_ok();
    let welcome = room.say(&bob, "welcome").await;
    hears(&carol, room.id(), &welcome.id).await;

    assert_eq!(read_back(&carol, room.id()).await, ["welcome"]);
    carol.get_event(room.id(), &secret.id).await.expect_err(404, "M_NOT_FOUND");
    assert!(read_back(&alice, room.id()).await.contains(&"between us".to_owned()));
    let other = FakeServer::start().await;
    other.join(server.name(), room.id(), &other.user("dan")).await;
    let one = path!("/_matrix/federation/v1/event/{}", secret.id);
    let given = other.get(server.name(), &one).await.expect_ok();
    assert_eq!(given.array("pdus")[0]["content"], json!({}));
}

/// A past in which the history was closed is closed as soon as it is known, though it is open now.
/// spec: client-server-api/#room-history-visibility
/// covers: GET /_matrix/client/v3/rooms/{roomId}/messages
#[tokio::test]
async fn past_that_was_closed_is_closed_when_it_is_fetched() {
    let (server, fake) = with_fake().await;
    let alice = server.register("alice").await;
    let bob = fake.user("bob");
    let room = fake.new_room("12", &bob).visibility("joined").create();
    room.add_message(&bob, "closed");
    room.add_state("m.room.history_visibility", "", &bob, json!({"history_visibility": "shared"}));
    room.add_message(&bob, "open");

    join_via(&alice, room.id(), &[fake.name()]).await.expect_ok();

    assert_eq!(read_back(&alice, room.id()).await, ["open"]);
}

/// When nobody gives the past, the page says where to go on, and from there it is found once somebody does.
/// spec: client-server-api/#get_matrixclientv3roomsroomidmessages
/// covers: GET /_matrix/client/v3/rooms/{roomId}/messages
#[tokio::test]
async fn past_that_cannot_be_had_now_can_be_asked_for_again() {
    let (server, fake) = with_fake().await;
    let alice = server.register("alice").await;
    let bob = fake.user("bob");
    let room = fake.create_room("12", &bob);
    let old = room.add_message(&bob, "long ago");
    fake.always("backfill", Reply::error(500, "M_UNKNOWN"));
    join_via(&alice, room.id(), &[fake.name()]).await.expect_ok();
    let page = |from: Option<String>| {
        let request = alice.get(&path!("/v3/rooms/{}/messages", room.id())).query("dir", "b");
        if let Some(from) = &from { request.query("from", from) } else { request }
    };

    let first = page(None).await.expect_ok();

    let shown = |page: &Value| page["chunk"].to_string().contains(&old.id);
    assert!(!shown(&first.json), "{first}");
    let end = first.str("end").to_owned();
    fake.be_honest("backfill");
    let second = page(Some(end)).await.expect_ok();
    assert!(shown(&second.json), "{second}");
}

/// Who reads back a room of another server comes to its beginning, and there it ends; in every room version.
/// spec: client-server-api/#get_matrixclientv3roomsroomidmessages
/// covers: GET /_matrix/client/v3/rooms/{roomId}/messages
#[tokio::test]
async fn beginning_of_a_room_elsewhere_is_reached() {
    let (server, fake) = with_fake().await;
    let alice = server.register("alice").await;
    let bob = fake.user("bob");
    for version in versions() {
        let room = fake.create_room(version, &bob);
        room.add_message(&bob, "long ago");
        join_via(&alice, room.id(), &[fake.name()]).await.expect_ok();

        let path = path!("/v3/rooms/{}/messages", room.id());
        let all = alice.get(&path).query("dir", "b").query("limit", "100").await.expect_ok();

        let types = all.column("/chunk", "type");
        assert_eq!(types.last().map(String::as_str), Some("m.room.create"), "{version}: {types:?}");
        assert_eq!(all.get("end"), None, "{version}: {all}");
    }
}

/// The past that a server has fetched from one server it gives to others, as if it had been there.
/// spec: server-server-api/#backfilling-and-retrieving-missing-events
/// covers: GET /_matrix/federation/v1/backfill/{roomId}
/// covers: POST /_matrix/federation/v1/get_missing_events/{roomId}
#[tokio::test]
async fn fetched_past_is_passed_on() {
    let (server, fake) = with_fake().await;
    let alice = server.register("alice").await;
    let bob = fake.user("bob");
    let room = fake.create_room("12", &bob);
    let old = room.add_message(&bob, "long ago");
    join_via(&alice, room.id(), &[fake.name()]).await.expect_ok();
    let newest = alice.send_text(room.id(), "hello").await;
    assert!(read_back(&alice, room.id()).await.contains(&"long ago".to_owned()));
    let other = FakeServer::start().await;
    other.join(server.name(), room.id(), &other.user("carol")).await;

    let path = path!("/_matrix/federation/v1/backfill/{}?v={}&limit=100", room.id(), newest);
    let given = other.get(server.name(), &path).await.expect_ok();
    let body = json!({"earliest_events": [], "latest_events": [newest], "limit": 20});
    let missed = other.post(server.name(), &missing_events(room.id()), body).await.expect_ok();

    let said = Some(&json!({"msgtype": "m.text", "body": "long ago"}));
    let has_old = |events: &[Value]| events.iter().any(|event| event.get("content") == said);
    assert!(has_old(given.array("pdus")), "{} is missing: {given}", old.id);
    assert!(has_old(missed.array("events")), "{} is missing: {missed}", old.id);
}

/// Where a short branch of the past is missing beside a long one that is here, the short one is found.
/// spec: client-server-api/#get_matrixclientv3roomsroomidmessages
/// covers: GET /_matrix/client/v3/rooms/{roomId}/messages
#[tokio::test]
async fn short_branch_beside_a_long_one_is_found() {
    let shared = Shared::start().await;
    let (room, bob) = (&shared.room, &shared.bob);
    let forked_at = room.extremities();
    let aside = room.add_message(bob, "aside");
    room.set_extremities(&forked_at.iter().map(String::as_str).collect::<Vec<_>>());
    let mut last = String::new();
    for number in 0..150 {
        last = room.say(bob, &format!("along {number}")).await.id;
    }
    shared.alice_hears(&last).await;
    // Nothing is given of what is between, when the merge comes.
    shared.fake.always("get_missing_events", Reply::error(500, "M_UNKNOWN"));
    room.set_extremities(&[&last, &aside.id]);
    let merge = room.say(bob, "both").await;
    shared.alice_hears(&merge.id).await;

    let read = shared.read_back(&shared.alice).await;

    assert!(read.contains(&"aside".to_owned()), "{read:?}");
    assert_eq!(read.iter().filter(|body| body.starts_with("along")).count(), 150);
}

/// Who reads back while others do, or while the gap is closed, misses nothing of what comes meanwhile.
/// spec: client-server-api/#get_matrixclientv3roomsroomidmessages
/// covers: GET /_matrix/client/v3/rooms/{roomId}/messages
#[tokio::test]
async fn readers_at_the_same_time_miss_nothing() {
    let shared = Shared::start().await;
    for number in 0..1_500 {
        shared.room.add_message(&shared.bob, &format!("unheard {number}"));
    }
    shared.fake.always("get_missing_events", Reply::error(500, "M_UNKNOWN"));
    let newest = shared.room.say(&shared.bob, "newest").await;
    shared.alice_hears(&newest.id).await;
    shared.fake.wait_for_request("backfill", |_| true).await;

    let reads = join_all((0..8).map(|_| shared.read_back(&shared.alice))).await;

    for read in reads {
        assert_eq!(read.iter().filter(|body| body.starts_with("unheard")).count(), 1_500);
    }
}

/// A server whose last user was banned gets the ban and what came before it, and nothing of after.
/// spec: server-server-api/#backfilling-and-retrieving-missing-events
/// covers: POST /_matrix/federation/v1/get_missing_events/{roomId}
/// covers: GET /_matrix/federation/v1/state_ids/{roomId}
/// covers: GET /_matrix/federation/v1/event/{eventId}
#[tokio::test]
async fn banned_server_learns_how_it_came_to_that() {
    let shared = Shared::start().await;
    let before = shared.alice.send_text(shared.room_id(), "last words").await;
    let ban = path!("/v3/rooms/{}/ban", shared.room_id());
    shared.alice.post(&ban, json!({"user_id": &shared.bob})).await.expect_ok();
    let member = path!("/v3/rooms/{}/state/m.room.member/{}", shared.room_id(), shared.bob);
    let member = shared.alice.get(&member).query("format", "event").await.expect_ok();
    let banned = member.str("event_id").to_owned();
    let after = shared.alice.send_text(shared.room_id(), "without you").await;
    let get = async |path: String| shared.fake.get(shared.server.name(), &path).await;

    let body = json!({"earliest_events": shared.room.extremities(), "latest_events": [banned], "limit": 5});
    let missed = shared.fake.post(shared.server.name(), &missing_events(shared.room_id()), body).await;

    let missed = missed.expect_ok();
    let bodies: Vec<&Value> = missed.array("events").iter().map(|event| &event["content"]["body"]).collect();
    assert!(bodies.contains(&&json!("last words")), "{missed}");
    get(path!("/_matrix/federation/v1/event/{}", before)).await.expect_ok();
    let state_of =
        |event: &str| path!("/_matrix/federation/v1/state_ids/{}?event_id={}", shared.room_id(), event);
    get(state_of(&banned)).await.expect_ok();
    get(state_of(&after)).await.expect_err(403, "M_FORBIDDEN");
    get(path!("/_matrix/federation/v1/event/{}", after)).await.expect_err(403, "M_FORBIDDEN");
    let body = json!({"earliest_events": [banned], "latest_events": [after], "limit": 5});
    let later = shared.fake.post(shared.server.name(), &missing_events(shared.room_id()), body).await;
    later.expect_err(403, "M_FORBIDDEN");
}
