//! What servers in a room read of it: events, state, history.

use super::ground::{Shared, public_room, with_fake};
use sytest_like::fake::event_id;
use sytest_like::{Value, json, path};

fn ids(shared: &Shared, pdus: &[Value]) -> Vec<String> {
    pdus.iter().map(|pdu| event_id(pdu, shared.room.version())).collect()
}

/// A server in the room gets an event as it was sent.
/// spec: server-server-api/#get_matrixfederationv1eventeventid
/// covers: GET /_matrix/federation/v1/event/{eventId}
#[tokio::test]
async fn events_are_given_to_servers_in_the_room() {
    let shared = Shared::start().await;
    let said = shared.alice.send_text(shared.room_id(), "hello").await;
    shared.fake.wait_for_event(shared.room_id(), &said).await;

    let answer = shared
        .fake
        .get(shared.server.name(), &path!("/_matrix/federation/v1/event/{}", said))
        .await
        .expect_ok();

    assert_eq!(answer.str("origin"), shared.server.name());
    assert_eq!(ids(&shared, answer.array("pdus")), [said]);
    assert_eq!(answer.array("pdus")[0]["content"]["body"], "hello");
}

/// Servers that are not in the room read nothing of it, and what does not exist is not found.
/// spec: server-server-api/#retrieving-events
/// covers: GET /_matrix/federation/v1/event/{eventId}
/// covers: GET /_matrix/federation/v1/state/{roomId}
/// covers: GET /_matrix/federation/v1/state_ids/{roomId}
/// covers: GET /_matrix/federation/v1/event_auth/{roomId}/{eventId}
/// covers: GET /_matrix/federation/v1/backfill/{roomId}
/// covers: POST /_matrix/federation/v1/get_missing_events/{roomId}
/// covers: GET /_matrix/federation/v1/timestamp_to_event/{roomId}
#[tokio::test]
async fn servers_outside_read_nothing() {
    let (server, fake) = with_fake().await;
    let alice = server.register("alice").await;
    let room_id = public_room(&alice, "12").await;
    let said = alice.send_text(&room_id, "between us").await;
    let get = async |path: String| fake.get(server.name(), &path).await;

    get(path!("/_matrix/federation/v1/event/{}", said)).await.expect_err(403, "M_FORBIDDEN");
    get(path!("/_matrix/federation/v1/state/{}?event_id={}", room_id, said))
        .await
        .expect_err(403, "M_FORBIDDEN");
    get(path!("/_matrix/federation/v1/state_ids/{}?event_id={}", room_id, said))
        .await
        .expect_err(403, "M_FORBIDDEN");
    get(path!("/_matrix/federation/v1/event_auth/{}/{}", room_id, said)).await.expect_err(403, "M_FORBIDDEN");
    get(path!("/_matrix/federation/v1/backfill/{}?v={}&limit=5", room_id, said))
        .await
        .expect_err(403, "M_FORBIDDEN");
    get(path!("/_matrix/federation/v1/timestamp_to_event/{}?ts=1&dir=f", room_id))
        .await
        .expect_err(403, "M_FORBIDDEN");
    let body = json!({"earliest_events": [], "latest_events": [said]});
    let missing =
        fake.post(server.name(), &path!("/_matrix/federation/v1/get_missing_events/{}", room_id), body).await;
    missing.expect_err(403, "M_FORBIDDEN");
    let unknown = path!("/_matrix/federation/v1/event/{}", "$gR3-ihkbUhrRFDT1OUfVkYR4Ux6Tqz6VrZLA1Q6pZQo");
    get(unknown).await.expect_err(404, "M_NOT_FOUND");
    let elsewhere = path!("/_matrix/federation/v1/backfill/{}?v={}&limit=5", "!nowhere:example.org", said);
    get(elsewhere).await.expect_err(404, "M_NOT_FOUND");
}

/// The state is that before the event, and comes with all that authorises it; the ids are the same.
/// spec: server-server-api/#get_matrixfederationv1stateroomid
/// covers: GET /_matrix/federation/v1/state/{roomId}
/// covers: GET /_matrix/federation/v1/state_ids/{roomId}
#[tokio::test]
async fn state_is_that_before_the_event() {
    for version in ["2", "10", "12"] {
        let shared = Shared::of_version(version).await;
        let name = shared.set_and_hear("m.room.name", json!({"name": "before"})).await;
        let renamed = shared.set_and_hear("m.room.name", json!({"name": "after"})).await;
        let server = shared.server.name();
        let path = path!("/_matrix/federation/v1/state/{}?event_id={}", shared.room_id(), renamed);

        let answer = shared.fake.get(server, &path).await.expect_ok();

        let state = ids(&shared, answer.array("pdus"));
        assert!(state.contains(&name) && !state.contains(&renamed), "version {version}");
        let chain = ids(&shared, answer.array("auth_chain"));
        for pdu in answer.array("pdus").iter().chain(answer.array("auth_chain")) {
            for id in sytest_like::fake::Event::new(pdu.clone(), shared.room.version()).auth_ids() {
                assert!(state.contains(&id) || chain.contains(&id), "{id} is missing in version {version}");
            }
        }
        let path = path!("/_matrix/federation/v1/state_ids/{}?event_id={}", shared.room_id(), renamed);
        let by_id = shared.fake.get(server, &path).await.expect_ok();
        let mut expected = state;
        let mut found: Vec<String> =
            by_id.array("pdu_ids").iter().filter_map(|id| id.as_str().map(str::to_owned)).collect();
        expected.sort();
        found.sort();
        assert_eq!(found, expected);
    }
}

/// The auth chain of an event is complete.
/// spec: server-server-api/#get_matrixfederationv1event_authroomideventid
/// covers: GET /_matrix/federation/v1/event_auth/{roomId}/{eventId}
#[tokio::test]
async fn auth_chains_are_complete() {
    let shared = Shared::of_version("10").await;
    let said = shared.alice.send_text(shared.room_id(), "hello").await;
    let event = shared.fake.wait_for_event(shared.room_id(), &said).await;
    let path = path!("/_matrix/federation/v1/event_auth/{}/{}", shared.room_id(), said);

    let answer = shared.fake.get(shared.server.name(), &path).await.expect_ok();

    let chain = ids(&shared, answer.array("auth_chain"));
    assert!(event.auth_ids().iter().all(|id| chain.contains(id)));
    assert!(answer.column("auth_chain", "type").contains(&"m.room.create".to_owned()));
}

/// Backfill goes back from the events that are named, themselves included, the newest first, and no further than asked.
/// spec: server-server-api/#get_matrixfederationv1backfillroomid
/// covers: GET /_matrix/federation/v1/backfill/{roomId}
#[tokio::test]
async fn backfill_goes_back_from_what_is_named() {
    let shared = Shared::start().await;
    let mut said = Vec::new();
    for number in 0..6 {
        said.push(shared.alice.send_text(shared.room_id(), &number.to_string()).await);
    }
    shared.fake.wait_for_event(shared.room_id(), &said[5]).await;
    let path = path!("/_matrix/federation/v1/backfill/{}?v={}&limit=3", shared.room_id(), said[4]);

    let answer = shared.fake.get(shared.server.name(), &path).await.expect_ok();

    let found = ids(&shared, answer.array("pdus"));
    assert_eq!(found, [said[4].clone(), said[3].clone(), said[2].clone()]);
}

/// What lies between what a server has and what it saw is given oldest first; what it has is left out.
/// spec: server-server-api/#post_matrixfederationv1get_missing_eventsroomid
/// covers: POST /_matrix/federation/v1/get_missing_events/{roomId}
#[tokio::test]
async fn missing_events_lie_between() {
    let shared = Shared::start().await;
    let mut said = Vec::new();
    for number in 0..6 {
        said.push(shared.alice.send_text(shared.room_id(), &number.to_string()).await);
    }
    shared.fake.wait_for_event(shared.room_id(), &said[5]).await;
    let path = path!("/_matrix/federation/v1/get_missing_events/{}", shared.room_id());
    let ask = async |body: Value| {
        let answer = shared.fake.post(shared.server.name(), &path, body).await.expect_ok();
        ids(&shared, answer.array("events"))
    };

    let between = ask(json!({"earliest_events": [said[1]], "latest_events": [said[5]]})).await;
    assert_eq!(between, said[2..5]);
    let nearest = ask(json!({"earliest_events": [said[0]], "latest_events": [said[5]], "limit": 2})).await;
    assert_eq!(nearest, said[3..5]);
}

/// Servers get events that their users may not see without content, so that the graph holds together.
/// spec: client-server-api/#room-history-visibility
/// covers: GET /_matrix/federation/v1/backfill/{roomId}
/// covers: GET /_matrix/federation/v1/event/{eventId}
#[tokio::test]
async fn hidden_history_is_given_redacted() {
    let (server, fake) = with_fake().await;
    let alice = server.register("alice").await;
    let room_id = alice
        .create_room(json!({"preset": "public_chat", "initial_state": [
            {"type": "m.room.history_visibility", "content": {"history_visibility": "joined"}}
        ]}))
        .await;
    let before = alice.send_text(&room_id, "before you came").await;
    let room = fake.join(server.name(), &room_id, &fake.user("bob")).await;
    let after = alice.send_text(&room_id, "welcome").await;
    fake.wait_for_event(&room_id, &after).await;
    let path = path!("/_matrix/federation/v1/backfill/{}?v={}&limit=10", room_id, after);

    let answer = fake.get(server.name(), &path).await.expect_ok();

    let find = |id: &str| {
        let mut pdus = answer.array("pdus").iter();
        pdus.find(|pdu| event_id(pdu, room.version()) == id).expect("the event is there").clone()
    };
    assert_eq!(find(&after)["content"]["body"], "welcome");
    assert_eq!(find(&before)["content"], json!({}));
    let one = fake.get(server.name(), &path!("/_matrix/federation/v1/event/{}", before)).await.expect_ok();
    assert_eq!(one.array("pdus")[0]["content"], json!({}));
}

/// Redacted events are given redacted.
/// spec: server-server-api/#get_matrixfederationv1eventeventid
/// covers: GET /_matrix/federation/v1/event/{eventId}
#[tokio::test]
async fn redacted_events_are_given_redacted() {
    let shared = Shared::start().await;
    let said = shared.alice.send_text(shared.room_id(), "a slip").await;
    let redact = path!("/_matrix/client/v3/rooms/{}/redact/{}/1", shared.room_id(), said);
    shared.alice.put(&redact, json!({})).await.expect_ok();

    let answer = shared
        .fake
        .get(shared.server.name(), &path!("/_matrix/federation/v1/event/{}", said))
        .await
        .expect_ok();

    assert_eq!(answer.array("pdus")[0]["content"], json!({}));
    assert_eq!(ids(&shared, answer.array("pdus")), [said]);
}

/// The event nearest to a time, in either direction.
/// spec: server-server-api/#get_matrixfederationv1timestamp_to_eventroomid
/// covers: GET /_matrix/federation/v1/timestamp_to_event/{roomId}
#[tokio::test]
async fn events_are_found_by_time() {
    let shared = Shared::start().await;
    let said = shared.alice.send_text(shared.room_id(), "now").await;
    let event = shared.fake.wait_for_event(shared.room_id(), &said).await;
    let ts = event.json["origin_server_ts"].as_i64().expect("a time");
    let ask = async |ts: i64, dir: &str| {
        let ts = ts.to_string();
        let path =
            path!("/_matrix/federation/v1/timestamp_to_event/{}?ts={}&dir={}", shared.room_id(), ts, dir);
        shared.fake.get(shared.server.name(), &path).await
    };

    ask(ts, "b").await.expect_ok().has("event_id", said.as_str()).has("origin_server_ts", ts);
    ask(ts + 1_000_000, "f").await.expect_err(404, "M_NOT_FOUND");
}

/// A server that the room shuts out reads nothing more of it.
/// spec: client-server-api/#server-access-control-lists-acls-for-rooms
/// covers: GET /_matrix/federation/v1/backfill/{roomId}
/// covers: GET /_matrix/federation/v1/make_join/{roomId}/{userId}
#[tokio::test]
async fn servers_that_are_shut_out_read_nothing() {
    let shared = Shared::start().await;
    let acl =
        json!({"allow": [shared.server.name().split(':').next()], "deny": [], "allow_ip_literals": true});
    let id = shared.alice.set_state(shared.room_id(), "m.room.server_acl", "", acl).await;
    let path = path!("/_matrix/federation/v1/backfill/{}?v={}&limit=3", shared.room_id(), id);

    shared.fake.get(shared.server.name(), &path).await.expect_err(403, "M_FORBIDDEN");

    let carol = shared.fake.user("carol");
    let made = shared.fake.try_make(shared.server.name(), "join", shared.room_id(), &carol).await;
    made.expect_err(403, "M_FORBIDDEN");
}

/// The published rooms, to servers that ask for all or for some.
/// spec: server-server-api/#get_matrixfederationv1publicrooms
/// covers: GET /_matrix/federation/v1/publicRooms
/// covers: POST /_matrix/federation/v1/publicRooms
#[tokio::test]
async fn the_directory_is_open_to_servers() {
    let (server, fake) = with_fake().await;
    let alice = server.register("alice").await;
    let listed = json!({"preset": "public_chat", "visibility": "public", "name": "The beach"});
    let room_id = alice.create_room(listed).await;
    public_room(&alice, "12").await;
    let path = path!("/_matrix/federation/v1/publicRooms");

    let all = fake.get(server.name(), &path).await.expect_ok();
    assert_eq!(all.column("chunk", "room_id"), [room_id.clone()]);

    let search = async |term: &str| {
        let body = json!({"filter": {"generic_search_term": term}});
        fake.post(server.name(), &path, body).await.expect_ok().column("chunk", "room_id")
    };
    assert_eq!(search("beach").await, [room_id]);
    assert!(search("mountain").await.is_empty());
}

/// A space tells a server of the children that its users might see, and which they might not.
/// spec: server-server-api/#get_matrixfederationv1hierarchyroomid
/// covers: GET /_matrix/federation/v1/hierarchy/{roomId}
#[tokio::test]
async fn spaces_tell_of_accessible_children() {
    let (server, fake) = with_fake().await;
    let alice = server.register("alice").await;
    let space = json!({"preset": "public_chat", "creation_content": {"type": "m.space"}, "name": "Home"});
    let space = alice.create_room(space).await;
    let open = public_room(&alice, "12").await;
    let closed = alice.create_room(json!({"preset": "private_chat"})).await;
    for child in [&open, &closed, &"!elsewhere:example.org".to_owned()] {
        alice.set_state(&space, "m.space.child", child, json!({"via": [server.name()]})).await;
    }
    let path = path!("/_matrix/federation/v1/hierarchy/{}", space);

    let answer = fake.get(server.name(), &path).await.expect_ok();

    assert_eq!(answer["room"]["room_id"], json!(space));
    assert_eq!(answer["room"]["children_state"].as_array().map(Vec::len), Some(3));
    assert_eq!(answer.column("children", "room_id"), [open]);
    assert_eq!(answer["inaccessible_children"], json!([closed]));
    let hidden = fake.get(server.name(), &path!("/_matrix/federation/v1/hierarchy/{}", closed)).await;
    hidden.expect_err(404, "M_NOT_FOUND");
}
