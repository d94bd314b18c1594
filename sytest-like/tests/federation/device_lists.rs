//! Devices and keys of users of other servers, and what others hear of those here.

use super::ground::{Shared, with_fake};
use sytest_like::fake::Reply;
use sytest_like::{FakeServer, Response, User, Value, json, path};

const DEVICES: &str = "user/devices";
const UPDATE: &str = "m.device_list_update";

/// Identity keys with a mark, to tell one from another. Nobody checks their signatures but clients.
fn keys(user_id: &str, device_id: &str, mark: &str) -> Value {
    json!({
        "user_id": user_id,
        "device_id": device_id,
        "algorithms": ["m.olm.v1.curve25519-aes-sha2"],
        "keys": {format!("ed25519:{device_id}"): mark},
        "signatures": {user_id: {format!("ed25519:{device_id}"): "a signature"}},
    })
}

fn device_list(user_id: &str, stream_id: i64, devices: &[(&str, &str)]) -> Value {
    let devices: Vec<Value> = devices
        .iter()
        .map(|(device_id, mark)| {
            json!({
                "device_id": device_id, "keys": keys(user_id, device_id, mark),
                "device_display_name": format!("{device_id} of Bob"),
            })
        })
        .collect();
    json!({"user_id": user_id, "stream_id": stream_id, "devices": devices})
}

async fn query(viewer: &User, user_id: &str) -> Response {
    viewer.post("/v3/keys/query", json!({"device_keys": {user_id: []}})).await.expect_ok()
}

/// The marks of the devices in an answer, by device.
fn marks(answer: &Response, user_id: &str) -> Value {
    let devices = answer.json["device_keys"][user_id].as_object().cloned().unwrap_or_default();
    let mark = |(id, keys): (String, Value)| {
        let mark = keys["keys"][format!("ed25519:{id}")].clone();
        (id, mark)
    };
    Value::Object(devices.into_iter().map(mark).collect())
}

/// Waits until Alice is told to look at Bob's devices again.
async fn until_changed(syncer: &mut sytest_like::Syncer, user_id: &str) {
    syncer
        .until("new devices", |answer| {
            let changed = answer.json["device_lists"]["changed"].as_array().cloned().unwrap_or_default();
            changed.contains(&json!(user_id))
        })
        .await;
}

fn update(user_id: &str, device_id: &str, stream_id: i64, prev: &[i64], mark: &str) -> Value {
    json!({
        "user_id": user_id, "device_id": device_id, "stream_id": stream_id, "prev_id": prev,
        "keys": keys(user_id, device_id, mark), "device_display_name": "a name",
    })
}

async fn tell(shared: &Shared, edu_type: &str, content: Value) {
    shared.fake.send_edu(shared.server.name(), edu_type, content).await;
}

/// The devices of somebody in a shared room are asked for once.
/// spec: server-server-api/#device-management
/// covers: POST /_matrix/client/v3/keys/query
#[tokio::test]
async fn devices_of_neighbours_are_asked_for_once() {
    let shared = Shared::start().await;
    shared.fake.set_devices(&shared.bob, device_list(&shared.bob, 5, &[("A", "1"), ("B", "2")]));

    let first = query(&shared.alice, &shared.bob).await;
    let asked = shared.fake.received("user").len();
    let second = query(&shared.alice, &shared.bob).await;
    shared.server.restart().await;
    let third = query(&shared.alice, &shared.bob).await;

    for answer in [&first, &second, &third] {
        assert_eq!(marks(answer, &shared.bob), json!({"A": "1", "B": "2"}), "{answer}");
        let name = &answer.json["device_keys"][&shared.bob]["A"]["unsigned"]["device_display_name"];
        assert_eq!(name, "A of Bob", "{answer}");
        assert_eq!(answer["failures"], json!({}));
    }
    assert_eq!((asked, shared.fake.received("user").len()), (1, 1));
}

/// A query for one device of a neighbour answers that device.
/// spec: client-server-api/#post_matrixclientv3keysquery
/// covers: POST /_matrix/client/v3/keys/query
#[tokio::test]
async fn one_device_of_a_neighbour_is_found() {
    let shared = Shared::start().await;
    shared.fake.set_devices(&shared.bob, device_list(&shared.bob, 5, &[("A", "1"), ("B", "2")]));

    for _ in 0..2 {
        let body = json!({"device_keys": {&shared.bob: ["B", "C"]}});
        let answer = shared.alice.post("/v3/keys/query", body).await.expect_ok();
        assert_eq!(marks(&answer, &shared.bob), json!({"B": "2"}), "{answer}");
    }
}

/// Updates that follow what is known are taken without asking: new devices, changed ones, and deleted ones.
/// spec: server-server-api/#device-management
/// covers: PUT /_matrix/federation/v1/send/{txnId}
#[tokio::test]
async fn updates_in_sequence_need_no_question() {
    let shared = Shared::start().await;
    shared.fake.set_devices(&shared.bob, device_list(&shared.bob, 5, &[("A", "1"), ("B", "2")]));
    query(&shared.alice, &shared.bob).await;
    let mut syncer = shared.alice.syncer().await;

    tell(&shared, UPDATE, update(&shared.bob, "C", 6, &[5], "3")).await;
    until_changed(&mut syncer, &shared.bob).await;
    let answer = query(&shared.alice, &shared.bob).await;
    assert_eq!(marks(&answer, &shared.bob), json!({"A": "1", "B": "2", "C": "3"}), "{answer}");

    tell(&shared, UPDATE, update(&shared.bob, "A", 8, &[6], "new")).await;
    let deleted =
        json!({"user_id": &shared.bob, "device_id": "B", "stream_id": 9, "prev_id": [8], "deleted": true});
    tell(&shared, UPDATE, deleted).await;
    until_changed(&mut syncer, &shared.bob).await;
    let answer = query(&shared.alice, &shared.bob).await;
    assert_eq!(marks(&answer, &shared.bob), json!({"A": "new", "C": "3"}), "{answer}");
    assert_eq!(shared.fake.received("user").len(), 1);
}

/// An update after one that was missed has the whole list fetched again.
/// spec: server-server-api/#device-management
/// covers: PUT /_matrix/federation/v1/send/{txnId}
#[tokio::test]
async fn gap_has_the_list_fetched_again() {
    let shared = Shared::start().await;
    shared.fake.set_devices(&shared.bob, device_list(&shared.bob, 5, &[("A", "1")]));
    query(&shared.alice, &shared.bob).await;
    let mut syncer = shared.alice.syncer().await;
    shared.fake.forget();
    shared.fake.set_devices(&shared.bob, device_list(&shared.bob, 8, &[("B", "2"), ("C", "3")]));

    tell(&shared, UPDATE, update(&shared.bob, "C", 8, &[7], "3")).await;

    shared.fake.wait_for_request(DEVICES, |_| true).await;
    until_changed(&mut syncer, &shared.bob).await;
    let answer = query(&shared.alice, &shared.bob).await;
    assert_eq!(marks(&answer, &shared.bob), json!({"B": "2", "C": "3"}), "{answer}");
}

/// A list that could not be fetched after a gap is fetched later, though a restart came between.
/// spec: server-server-api/#device-management
/// covers: PUT /_matrix/federation/v1/send/{txnId}
#[tokio::test]
async fn list_is_fetched_after_a_failure_and_a_restart() {
    let shared = Shared::start().await;
    shared.fake.set_devices(&shared.bob, device_list(&shared.bob, 5, &[("A", "1")]));
    query(&shared.alice, &shared.bob).await;
    shared.fake.forget();
    shared.fake.always(DEVICES, Reply::error(403, "M_FORBIDDEN"));
    tell(&shared, UPDATE, update(&shared.bob, "B", 9, &[8], "2")).await;
    shared.fake.wait_for_request(DEVICES, |_| true).await;
    shared.fake.set_devices(&shared.bob, device_list(&shared.bob, 9, &[("B", "2")]));
    shared.fake.forget();
    shared.fake.be_honest(DEVICES);

    shared.server.restart().await;

    shared.fake.wait_for_request(DEVICES, |_| true).await;
    let answer = query(&shared.alice, &shared.bob).await;
    assert_eq!(marks(&answer, &shared.bob), json!({"B": "2"}), "{answer}");
}

/// A server does not tell of the devices of others.
/// spec: server-server-api/#device-management
/// covers: PUT /_matrix/federation/v1/send/{txnId}
#[tokio::test]
async fn updates_are_taken_of_own_users_only() {
    let shared = Shared::start().await;
    let other = FakeServer::start().await;
    shared.fake.set_devices(&shared.bob, device_list(&shared.bob, 5, &[("A", "1")]));
    query(&shared.alice, &shared.bob).await;

    let forged = update(&shared.bob, "EVIL", 6, &[5], "evil");
    other.send_edu(shared.server.name(), UPDATE, forged).await;
    tell(&shared, UPDATE, update(&shared.alice.id, "EVIL", 6, &[5], "evil")).await;

    for user_id in [&shared.bob, &shared.alice.id] {
        let answer = query(&shared.alice, user_id).await;
        assert_eq!(answer.json["device_keys"][user_id].get("EVIL"), None, "{answer}");
    }
    assert_eq!(shared.fake.received("user").len(), 1);
}

/// A server that does not want to tell the devices of a user has not said that there are none. It has where it knows no such
/// user.
/// spec: client-server-api/#post_matrixclientv3keysquery
/// covers: POST /_matrix/client/v3/keys/query
#[tokio::test]
async fn refusal_to_list_devices_is_a_failure() {
    let shared = Shared::start().await;
    shared.fake.set_devices(&shared.bob, device_list(&shared.bob, 5, &[("A", "1")]));
    for (status, errcode) in [(429, "M_LIMIT_EXCEEDED"), (401, "M_UNAUTHORIZED"), (403, "M_FORBIDDEN")] {
        shared.fake.always(DEVICES, Reply::error(status, errcode));
        let answer = query(&shared.alice, &shared.bob).await;
        assert!(answer.json["failures"][shared.fake.name()].is_object(), "{status}: {answer}");
    }
    shared.fake.always(DEVICES, Reply::error(404, "M_NOT_FOUND"));
    let answer = query(&shared.alice, &shared.bob).await;
    assert_eq!(answer["failures"], json!({}));
    assert_eq!(marks(&answer, &shared.bob), json!({}), "{answer}");

    shared.fake.be_honest(DEVICES);

    let answer = query(&shared.alice, &shared.bob).await;
    assert_eq!(marks(&answer, &shared.bob), json!({"A": "1"}), "{answer}");
}

/// A server that cannot list devices is asked for keys.
/// spec: server-server-api/#post_matrixfederationv1userkeysquery
/// covers: POST /_matrix/client/v3/keys/query
#[tokio::test]
async fn server_without_device_lists_is_asked_for_keys() {
    let shared = Shared::start().await;
    shared.fake.set_devices(&shared.bob, device_list(&shared.bob, 5, &[("A", "1"), ("B", "2")]));
    shared.fake.always(DEVICES, Reply::error(404, "M_UNRECOGNIZED"));

    let answer = query(&shared.alice, &shared.bob).await;

    assert_eq!(marks(&answer, &shared.bob), json!({"A": "1", "B": "2"}), "{answer}");
    assert_eq!(answer["failures"], json!({}));
}

/// New signing keys are taken without asking, and reach those who share a room.
/// spec: server-server-api/#end-to-end-encryption
/// covers: PUT /_matrix/federation/v1/send/{txnId}
#[tokio::test]
async fn signing_keys_of_others_are_taken() {
    let shared = Shared::start().await;
    shared.fake.set_devices(&shared.bob, device_list(&shared.bob, 5, &[("A", "1")]));
    query(&shared.alice, &shared.bob).await;
    let mut syncer = shared.alice.syncer().await;
    let public = "A".repeat(43);
    let key = |usage: &str| json!({"user_id": &shared.bob, "usage": [usage], "keys": {format!("ed25519:{public}"): public}});
    let content =
        json!({"user_id": &shared.bob, "master_key": key("master"), "self_signing_key": key("self_signing")});

    tell(&shared, "m.signing_key_update", content).await;

    until_changed(&mut syncer, &shared.bob).await;
    let answer = query(&shared.alice, &shared.bob).await;
    assert_eq!(answer.json["master_keys"][&shared.bob], key("master"), "{answer}");
    assert_eq!(answer.json["self_signing_keys"][&shared.bob], key("self_signing"), "{answer}");
    assert_eq!(shared.fake.received("user").len(), 1);
}

/// Of somebody who shares no room nothing is remembered: their server is asked each time.
/// spec: server-server-api/#end-to-end-encryption
/// covers: POST /_matrix/client/v3/keys/query
#[tokio::test]
async fn strangers_are_asked_for_each_time() {
    let (server, fake) = with_fake().await;
    let alice = server.register("alice").await;
    let bob = fake.user("bob");

    for mark in ["1", "2"] {
        fake.set_devices(&bob, device_list(&bob, 1, &[("A", mark)]));
        let answer = query(&alice, &bob).await;
        assert_eq!(marks(&answer, &bob), json!({"A": mark}), "{answer}");
    }
    assert_eq!(fake.received("user/keys/query").len(), 2);
}

/// A server that does not answer is named, and does not keep the others from being heard.
/// spec: client-server-api/#post_matrixclientv3keysquery
/// covers: POST /_matrix/client/v3/keys/query
/// covers: POST /_matrix/client/v3/keys/claim
#[tokio::test]
async fn server_that_is_away_is_named() {
    let (server, fake) = with_fake().await;
    let gone = FakeServer::start().await;
    gone.go_down();
    let alice = server.register("alice").await;
    let (bob, carol) = (fake.user("bob"), gone.user("carol"));
    fake.set_devices(&bob, device_list(&bob, 1, &[("A", "1")]));

    let body = json!({"device_keys": {&bob: [], &carol: [], &alice.id: []}, "timeout": 5000});
    let answer = alice.post("/v3/keys/query", body).await.expect_ok();

    assert_eq!(marks(&answer, &bob), json!({"A": "1"}), "{answer}");
    assert!(answer.json["device_keys"][&alice.id].is_object(), "{answer}");
    assert!(answer.json["failures"][gone.name()].is_object(), "{answer}");
    assert_eq!(answer.json["failures"].as_object().map(serde_json::Map::len), Some(1), "{answer}");
    let claim = json!({"one_time_keys": {&carol: {"A": "signed_curve25519"}}, "timeout": 5000});
    let answer = alice.post("/v3/keys/claim", claim).await.expect_ok();
    assert!(answer.json["failures"][gone.name()].is_object(), "{answer}");
}

/// A server that takes too long is not waited for longer than the client says.
/// spec: client-server-api/#post_matrixclientv3keysquery
/// covers: POST /_matrix/client/v3/keys/query
#[tokio::test]
async fn slow_server_is_given_up() {
    let (server, fake) = with_fake().await;
    fake.hang("user/keys/query");
    let alice = server.register("alice").await;

    let body = json!({"device_keys": {&fake.user("bob"): []}, "timeout": 1000});
    let answer = alice.post("/v3/keys/query", body).await.expect_ok();

    assert!(answer.json["failures"][fake.name()].is_object(), "{answer}");
}

/// Whoever asks after a server that did not answer lately is told so at once; when it makes itself heard, it is asked again.
/// spec: client-server-api/#post_matrixclientv3keysquery
/// covers: POST /_matrix/client/v3/keys/query
/// not on synapse: it gives servers up later
#[tokio::test]
async fn silent_server_is_left_alone_until_it_is_heard() {
    let (server, fake) = with_fake().await;
    let alice = server.register("alice").await;
    let bob = fake.user("bob");
    fake.set_devices(&bob, device_list(&bob, 1, &[("A", "1")]));
    fake.hang("user/keys/query");
    // Long enough to know that it is no matter of patience.
    let body = json!({"device_keys": {&bob: []}, "timeout": 6000});
    let first = alice.post("/v3/keys/query", body.clone()).await.expect_ok();
    assert!(first.json["failures"][fake.name()].is_object(), "{first}");

    let second = alice.post("/v3/keys/query", body).await.expect_ok();

    assert!(second.json["failures"][fake.name()].is_object(), "{second}");
    assert_eq!(fake.received("user/keys/query").len(), 1, "it is not asked again at once");
    fake.be_honest("user/keys/query");
    fake.send_edu(server.name(), "org.example.hello", json!({})).await;
    let third = query(&alice, &bob).await;
    assert_eq!(marks(&third, &bob), json!({"A": "1"}), "{third}");
    assert_eq!(third["failures"], json!({}));
}

/// What a server says of devices that are not its own, or of things not asked for, is not passed on.
/// spec: server-server-api/#end-to-end-encryption
/// covers: POST /_matrix/client/v3/keys/query
#[tokio::test]
async fn lies_about_others_are_not_passed_on() {
    let (server, fake) = with_fake().await;
    let (alice, carol) = (server.register("alice").await, server.register("carol").await);
    let bob = fake.user("bob");
    let evil = json!({"device_keys": {
        &bob: {
            "A": keys(&bob, "A", "1"), "B": keys(&carol.id, "B", "2"), "C": keys(&bob, "D", "3"), "E": 5,
            "F": {"user_id": &bob, "device_id": "F", "keys": {"x": "x".repeat(100_000)}},
        },
        &carol.id: {"EVIL": keys(&carol.id, "EVIL", "4")},
    }});
    fake.always("user/keys/query", Reply::json(evil));

    let body = json!({"device_keys": {&bob: [], &carol.id: []}});
    let answer = alice.post("/v3/keys/query", body).await.expect_ok();

    assert_eq!(marks(&answer, &bob), json!({"A": "1"}), "{answer}");
    assert_eq!(marks(&answer, &carol.id), json!({}), "{answer}");
}

/// One-time keys of devices elsewhere are claimed from their server, and only what was asked for is passed on.
/// spec: server-server-api/#end-to-end-encryption
/// covers: POST /_matrix/client/v3/keys/claim
#[tokio::test]
async fn keys_are_claimed_from_elsewhere() {
    let (server, fake) = with_fake().await;
    let alice = server.register("alice").await;
    let bob = fake.user("bob");
    let key = json!({"key": "abc", "signatures": {&bob: {"ed25519:A": "x"}}});
    fake.add_one_time_key(&bob, "A", "signed_curve25519:AAAA", key.clone());
    let claim = || json!({"one_time_keys": {&bob: {"A": "signed_curve25519"}}});

    let first = alice.post("/v3/keys/claim", claim()).await.expect_ok();
    let second = alice.post("/v3/keys/claim", claim()).await.expect_ok();

    assert_eq!(first["one_time_keys"], json!({&bob: {"A": {"signed_curve25519:AAAA": key}}}));
    assert_eq!(second["one_time_keys"], json!({}));
}

/// Uploads unsigned identity keys: what is signed is of no importance here.
async fn upload(user: &User) -> Value {
    let device = crate::e2ee::Device::new(user).await;
    device.upload_one_time_keys(["AAAA".to_owned()]).await;
    device.keys()
}

/// Other servers get the devices and keys of users here, and each one-time key once.
/// spec: server-server-api/#end-to-end-encryption
/// covers: GET /_matrix/federation/v1/user/devices/{userId}
/// covers: POST /_matrix/federation/v1/user/keys/query
/// covers: POST /_matrix/federation/v1/user/keys/claim
#[tokio::test]
async fn others_get_the_keys_of_users_here() {
    let (server, fake) = with_fake().await;
    let alice = server.register("alice").await;
    let keys = upload(&alice).await;
    let device = &alice.device_id;

    let path = path!("/_matrix/federation/v1/user/devices/{}", alice.id);
    let list = fake.get(server.name(), &path).await.expect_ok().has("user_id", alice.id.as_str());
    assert!(list.int("stream_id") > 0, "{list}");
    assert_eq!(list["devices"][0]["device_id"], *device, "{list}");
    assert_eq!(list["devices"][0]["keys"]["signatures"], keys["signatures"], "{list}");

    let wanted = json!({"device_keys": {&alice.id: [], &fake.user("bob"): []}});
    let found = fake.post(server.name(), "/_matrix/federation/v1/user/keys/query", wanted).await.expect_ok();
    assert_eq!(found["device_keys"][&alice.id][device]["keys"], keys["keys"], "{found}");
    assert_eq!(found["device_keys"].as_object().map(serde_json::Map::len), Some(1), "{found}");
    assert_eq!(found.json.get("user_signing_keys"), None, "{found}");

    let claim = json!({"one_time_keys": {&alice.id: {device: "signed_curve25519"}}});
    let path = "/_matrix/federation/v1/user/keys/claim";
    let first = fake.post(server.name(), path, claim.clone()).await.expect_ok();
    let second = fake.post(server.name(), path, claim).await.expect_ok();
    assert!(first["one_time_keys"][&alice.id][device]["signed_curve25519:AAAA"].is_object(), "{first}");
    assert_eq!(second["one_time_keys"], json!({}), "{second}");
}

/// There is no list for users who are not here, and none for who does not say who asks.
/// spec: server-server-api/#device-management
/// covers: GET /_matrix/federation/v1/user/devices/{userId}
#[tokio::test]
async fn there_are_no_lists_of_strangers() {
    let (server, fake) = with_fake().await;
    let devices = |user: &str| path!("/_matrix/federation/v1/user/devices/{}", user);

    let nobody = devices(&format!("@nobody:{}", server.name()));
    fake.get(server.name(), &nobody).await.expect_err(404, "M_NOT_FOUND");
    fake.get(server.name(), &devices(&fake.user("bob"))).await.expect_err(400, "M_INVALID_PARAM");
    fake.get(server.name(), &nobody).anonymous().await.expect_err(401, "M_UNAUTHORIZED");
    let path = "/_matrix/federation/v1/user/keys/query";
    for body in [json!({}), json!({"device_keys": []}), json!({"device_keys": {"x": []}})] {
        fake.post(server.name(), path, body).await.expect_refused();
    }
}

/// New devices here are told to the servers in a shared room, and follow the list that they fetch.
/// spec: server-server-api/#device-management
/// covers: GET /_matrix/federation/v1/user/devices/{userId}
#[tokio::test]
async fn new_devices_here_are_told() {
    let shared = Shared::start().await;
    upload(&shared.alice).await;
    let first =
        shared.fake.wait_for_edu(UPDATE, |content| content["device_id"] == shared.alice.device_id).await;
    let path = path!("/_matrix/federation/v1/user/devices/{}", shared.alice.id);
    let list = shared.fake.get(shared.server.name(), &path).await.expect_ok();
    assert_eq!(list["stream_id"], first["stream_id"], "{list}");

    let laptop = shared.alice.login().await;
    upload(&laptop).await;

    let second = shared.fake.wait_for_edu(UPDATE, |content| content["device_id"] == laptop.device_id).await;
    assert_eq!(second["prev_id"], json!([list["stream_id"]]), "{second}");
    assert_eq!(second["keys"]["device_id"], laptop.device_id, "{second}");
}
