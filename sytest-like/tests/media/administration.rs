//! What administrators do to media.

use super::ground::{admin_of, download, expect_file, id_of, of, upload, upload_request};
use http::Method;
use sytest_like::{Server, ServerOptions, User, json, path, unique};

async fn scene() -> (Server, User, User) {
    let server = Server::shared().await;
    let (admin, alice) = (admin_of(&server).await, server.register("alice").await);
    (server, admin, alice)
}

/// What is in quarantine is there for nobody, until it is let out.
/// spec: client-server-api/#content-repo-security-considerations
/// covers: GET /_matrix/client/v1/media/download/{serverName}/{mediaId}
#[tokio::test]
async fn quarantine() {
    let (_, admin, alice) = scene().await;
    let uri = upload(&alice, "not for you", "text/plain").await;

    let path = format!("/_synapse/admin/v1/media/quarantine/{}", of(&uri));
    alice.post(&path, json!({})).await.expect_err(403, "M_FORBIDDEN");
    admin.post(&path, json!({})).await.expect_ok();

    download(&alice, &uri).await.expect_err(404, "M_NOT_FOUND");
    let path = format!("/_synapse/admin/v1/media/unquarantine/{}", of(&uri));
    admin.post(&path, json!({})).await.expect_ok();
    expect_file(download(&alice, &uri).await, b"not for you", "text/plain");
}

/// All that a user has uploaded is put into quarantine, but for what is protected.
/// spec: client-server-api/#content-repo-security-considerations
/// covers: GET /_matrix/client/v1/media/download/{serverName}/{mediaId}
#[tokio::test]
async fn quarantine_of_a_user_spares_what_is_protected() {
    let (_, admin, alice) = scene().await;
    let gone = upload(&alice, "one", "text/plain").await;
    let kept = upload(&alice, "two", "text/plain").await;
    admin.post(&format!("/_synapse/admin/v1/media/protect/{}", id_of(&kept)), json!({})).await.expect_ok();

    let answer =
        admin.post(&path!("/_synapse/admin/v1/user/{}/media/quarantine", &alice.id), json!({})).await;

    assert_eq!(answer.expect_ok().int("num_quarantined"), 1);
    download(&alice, &gone).await.expect_err(404, "M_NOT_FOUND");
    expect_file(download(&alice, &kept).await, b"two", "text/plain");
}

/// The media of a room are known by its events, and put into quarantine together.
/// spec: client-server-api/#content-repo-security-considerations
/// covers: GET /_matrix/client/v1/media/download/{serverName}/{mediaId}
#[tokio::test]
async fn media_of_a_room() {
    let (_, admin, alice) = scene().await;
    let (here, other) =
        (upload(&alice, "here", "text/plain").await, upload(&alice, "other", "text/plain").await);
    let room = alice.create_public_room().await;
    let content = json!({"msgtype": "m.file", "body": "a file", "url": here, "info": {"x": "mxc://elsewhere.example/a"}});
    alice.send(&room, "m.room.message", content).await;

    let listed = admin.get(&path!("/_synapse/admin/v1/room/{}/media", &room)).await.expect_ok();
    assert_eq!(listed.at("local"), &json!([here]));
    let answer = admin.post(&path!("/_synapse/admin/v1/room/{}/media/quarantine", &room), json!({})).await;

    assert_eq!(answer.expect_ok().int("num_quarantined"), 1);
    download(&alice, &here).await.expect_err(404, "M_NOT_FOUND");
    expect_file(download(&alice, &other).await, b"other", "text/plain");
}

/// Administrators see what a user has stored, and who has how much, and delete it.
/// spec: client-server-api/#content-repo-security-considerations
/// covers: POST /_matrix/media/v3/upload
#[tokio::test]
async fn lists_and_deletions() {
    let server = ServerOptions::default().shared_secret("a secret").start().await;
    let (admin, alice) = (admin_of(&server).await, server.register("alice").await);
    let one = upload(&alice, vec![1; 100], "image/png").await;
    let two = upload(&alice, vec![2; 50], "image/png").await;
    let of_alice = path!("/_synapse/admin/v1/users/{}/media", &alice.id);

    let listed = admin.get(&of_alice).query("dir", "f").await.expect_ok();
    assert_eq!(listed.column("media", "media_id"), [id_of(&one), id_of(&two)]);
    assert_eq!((listed.int("total"), listed.at("media")[0]["media_length"].as_i64()), (2, Some(100)));
    let usage = admin.get("/_synapse/admin/v1/statistics/users/media").await.expect_ok();
    assert_eq!((usage.at("users")[0]["media_length"].as_i64(), usage.int("total")), (Some(150), 1));

    admin.delete(&format!("/_synapse/admin/v1/media/{}", of(&one))).await.expect_ok();
    download(&alice, &one).await.expect_err(404, "M_NOT_FOUND");
    admin.delete(&format!("/_synapse/admin/v1/media/{}", of(&one))).await.expect_err(404, "M_NOT_FOUND");
    admin.delete(&of_alice).await.expect_ok();
    download(&alice, &two).await.expect_err(404, "M_NOT_FOUND");
    let usage = admin.get("/_synapse/admin/v1/statistics/users/media").await.expect_ok();
    assert_eq!(usage.int("total"), 0);
    alice.get(&of_alice).await.expect_err(403, "M_FORBIDDEN");
}

/// What is deleted under one id stays under the other with the same content.
/// spec: client-server-api/#content-repo
/// covers: GET /_matrix/client/v1/media/download/{serverName}/{mediaId}
#[tokio::test]
async fn same_content_outlives_one_of_its_ids() {
    let (_, admin, alice) = scene().await;
    let content = unique("shared content");
    let (one, two) =
        (upload(&alice, &*content, "text/plain").await, upload(&alice, &*content, "text/plain").await);

    admin.delete(&format!("/_synapse/admin/v1/media/{}", of(&one))).await.expect_ok();

    expect_file(download(&alice, &two).await, content.as_bytes(), "text/plain");
}

/// Blocked content is neither handed out nor taken.
/// spec: client-server-api/#content-repo-security-considerations
/// covers: POST /_matrix/media/v3/upload
/// not on synapse: it has no such list
#[tokio::test]
async fn blocked_content() {
    let (_, admin, alice) = scene().await;
    let content = unique("blocked content");
    let uri = upload(&alice, &*content, "text/plain").await;
    let info = admin.get(&format!("/_kith/admin/v1/media/info/{}", of(&uri))).await.expect_ok();
    let path = format!("/_kith/admin/v1/media/blocked/{}", info.str("sha256"));

    alice.put(&path, json!({})).await.expect_err(403, "M_FORBIDDEN");
    admin.put(&path, json!({"reason": "a test"})).await.expect_ok();

    download(&alice, &uri).await.expect_err(404, "M_NOT_FOUND");
    upload_request(&alice, content.clone().into(), "text/plain").await.expect_err(403, "M_FORBIDDEN");
    let listed = admin.get("/_kith/admin/v1/media/blocked").await.expect_ok();
    assert!(listed.column("blocked", "sha256").contains(&info.str("sha256").to_owned()), "{listed}");
    admin.request(Method::DELETE, &path).await.expect_ok();
    expect_file(download(&alice, &uri).await, content.as_bytes(), "text/plain");
    admin.put("/_kith/admin/v1/media/blocked/nonsense", json!({})).await.expect_err(400, "M_INVALID_PARAM");
}

/// A file goes with the only message that shows it, if so configured; one that another message shows stays.
/// spec: client-server-api/#redactions
/// covers: GET /_matrix/client/v1/media/download/{serverName}/{mediaId}
/// not on synapse: it keeps them
#[tokio::test]
async fn files_go_with_their_message() {
    let options = ServerOptions::default().shared_secret("a secret").kith("media.delete_redacted", "true");
    let server = options.start().await;
    let (admin, alice) = (admin_of(&server).await, server.register("alice").await);
    let (alone, shown) =
        (upload(&alice, "alone", "text/plain").await, upload(&alice, "shown", "text/plain").await);
    let room = alice.create_public_room().await;
    let show = async |uri: &str| {
        let content = json!({"msgtype": "m.file", "body": "a file", "url": uri});
        alice.send(&room, "m.room.message", content).await
    };
    let (first, second) = (show(&alone).await, show(&shown).await);
    show(&shown).await;
    for event in [&first, &second] {
        alice
            .put(&path!("/v3/rooms/{}/redact/{}/{}", &room, event, &unique("txn")), json!({}))
            .await
            .expect_ok();
    }

    // Whoever asks for the list has the log read up to here.
    admin.get(&path!("/_synapse/admin/v1/room/{}/media", &room)).await.expect_ok();

    download(&alice, &alone).await.expect_err(404, "M_NOT_FOUND");
    expect_file(download(&alice, &shown).await, b"shown", "text/plain");
}

/// A file that somebody reports with its message is found, with who uploaded it and where it is used, and withheld.
/// spec: client-server-api/#reporting-content
/// covers: POST /_matrix/client/v3/rooms/{roomId}/report/{eventId}
/// covers: GET /_matrix/client/v1/media/download/{serverName}/{mediaId}
/// not on synapse: it does not say where media are used
#[tokio::test]
async fn reported_files_are_found_and_withheld() {
    let (server, admin, alice) = scene().await;
    let bob = server.register("bob").await;
    let uri = upload(&bob, unique("something bad"), "text/plain").await;
    let room = bob.create_public_room().await;
    alice.join(&room).await;
    let content = json!({"msgtype": "m.file", "body": "look", "url": uri});
    let event = bob.send(&room, "m.room.message", content).await;
    alice.post(&path!("/v3/rooms/{}/report/{}", room, event), json!({"reason": "bad"})).await.expect_ok();

    let reports = admin.get("/_synapse/admin/v1/event_reports").query("room_id", &room).await.expect_ok();
    let report = format!("/_synapse/admin/v1/event_reports/{}", reports.at("event_reports")[0]["id"]);
    let report = admin.get(&report).await.expect_ok();
    let reported = report.at("event_json")["content"]["url"].as_str().expect("a URI").to_owned();
    let info = admin.get(&format!("/_kith/admin/v1/media/info/{}", of(&reported))).await.expect_ok();
    let info = info.has("uploader", bob.id.as_str()).has("media_type", "text/plain");
    assert_eq!(info.at("used_by"), &json!([{"room_id": room, "event_id": event}]));
    let path = format!("/_synapse/admin/v1/media/quarantine/{}", of(&reported));
    admin.post(&path, json!({})).await.expect_ok();

    download(&alice, &uri).await.expect_err(404, "M_NOT_FOUND");
    let info = admin.get(&format!("/_kith/admin/v1/media/info/{}", of(&uri))).await.expect_ok();
    info.has("quarantined_by", admin.id.as_str());
}

/// Old files are deleted on demand: those that are large enough, and that are nobody's picture unless that is wanted too.
/// spec: client-server-api/#content-repo
/// covers: GET /_matrix/client/v1/media/download/{serverName}/{mediaId}
#[tokio::test]
async fn old_files_are_deleted_on_demand() {
    let server = ServerOptions::default().shared_secret("a secret").start().await;
    let (admin, alice) = (admin_of(&server).await, server.register("alice").await);
    let (small, large, picture) = (
        upload(&alice, vec![1; 100], "image/png").await,
        upload(&alice, vec![2; 2000], "image/png").await,
        upload(&alice, vec![3; 2000], "image/png").await,
    );
    let profile = path!("/v3/profile/{}/avatar_url", &alice.id);
    alice.put(&profile, json!({"avatar_url": picture})).await.expect_ok();
    let delete = |before: &str| {
        let request = admin.post("/_synapse/admin/v1/media/delete", json!({}));
        request.query("before_ts", before).query("size_gt", "1000")
    };

    delete("1000").await.expect_refused();
    delete("1500000000000").await.expect_ok().has("total", 0);
    let deleted = delete("4000000000000").await.expect_ok();
    assert_eq!(deleted.at("deleted_media"), &json!([id_of(&large)]));
    download(&alice, &large).await.expect_err(404, "M_NOT_FOUND");
    download(&alice, &small).await.expect_status(200);
    download(&alice, &picture).await.expect_status(200);
    delete("4000000000000").query("keep_profiles", "false").await.expect_ok().has("total", 1);
    download(&alice, &picture).await.expect_err(404, "M_NOT_FOUND");
}

/// All of this is for administrators.
/// spec: client-server-api/#content-repo-security-considerations
/// covers: GET /_matrix/client/v1/media/download/{serverName}/{mediaId}
/// not on synapse: it does not have all of these
#[tokio::test]
async fn administration_is_for_administrators() {
    let (server, _, alice) = scene().await;
    let uri = upload(&alice, "mine", "text/plain").await;
    let hash = "ab".repeat(32);
    let requests = [
        (Method::DELETE, format!("/_synapse/admin/v1/media/{}", of(&uri))),
        (Method::POST, "/_synapse/admin/v1/media/delete?before_ts=4000000000000".to_owned()),
        (Method::POST, "/_synapse/admin/v1/purge_media_cache?before_ts=4000000000000".to_owned()),
        (Method::POST, format!("/_synapse/admin/v1/media/unquarantine/{}", of(&uri))),
        (Method::POST, format!("/_synapse/admin/v1/media/protect/{}", id_of(&uri))),
        (Method::POST, format!("/_synapse/admin/v1/media/unprotect/{}", id_of(&uri))),
        (Method::POST, path!("/_synapse/admin/v1/user/{}/media/quarantine", &alice.id)),
        (Method::POST, "/_synapse/admin/v1/room/!a:b.example/media/quarantine".to_owned()),
        (Method::GET, "/_synapse/admin/v1/room/!a:b.example/media".to_owned()),
        (Method::DELETE, path!("/_synapse/admin/v1/users/{}/media", &alice.id)),
        (Method::GET, "/_synapse/admin/v1/statistics/users/media".to_owned()),
        (Method::GET, format!("/_kith/admin/v1/media/info/{}", of(&uri))),
        (Method::GET, "/_kith/admin/v1/media/blocked".to_owned()),
        (Method::DELETE, format!("/_kith/admin/v1/media/blocked/{hash}")),
    ];
    for (method, path) in requests {
        let request = alice.request(method.clone(), &path);
        let request = if method == Method::POST { request.json(&json!({})) } else { request };
        request.await.expect_err(403, "M_FORBIDDEN");
        server.request(method, &path).await.expect_err(401, "M_MISSING_TOKEN");
    }
    expect_file(download(&alice, &uri).await, b"mine", "text/plain");
}

/// What administrators name wrongly is not found, or refused.
/// spec: client-server-api/#content-repo-security-considerations
/// covers: GET /_matrix/client/v1/media/download/{serverName}/{mediaId}
/// not on synapse: some of its errors differ
#[tokio::test]
async fn nonsense_of_administrators() {
    let (server, admin, alice) = scene().await;
    let nowhere = format!("{}/thereisnosuchid", server.name());
    for path in [
        format!("/_synapse/admin/v1/media/quarantine/{nowhere}"),
        format!("/_synapse/admin/v1/media/unquarantine/{nowhere}"),
        "/_synapse/admin/v1/media/protect/thereisnosuchid".to_owned(),
        "/_synapse/admin/v1/media/protect/a%00b".to_owned(),
        "/_synapse/admin/v1/room/!nowhere:b.example/media/quarantine".to_owned(),
        "/_synapse/admin/v1/user/@nobody:b.example/media/quarantine".to_owned(),
    ] {
        let answer = admin.post(&path, json!({})).await;
        assert!(answer.status == 404 || answer.status == 400, "{answer}");
    }
    admin.get(&format!("/_kith/admin/v1/media/info/{nowhere}")).await.expect_err(404, "M_NOT_FOUND");
    let unblocked = admin.delete(&format!("/_kith/admin/v1/media/blocked/{}", "cd".repeat(32))).await;
    unblocked.expect_err(404, "M_NOT_FOUND");
    let listed = admin.get(&path!("/_synapse/admin/v1/users/{}/media", &alice.id)).query("dir", "x").await;
    listed.expect_err(400, "M_INVALID_PARAM");
    let blocked = format!("/_kith/admin/v1/media/blocked/{}", "ef".repeat(32));
    let answer = admin.put(&blocked, json!({"reason": "nul \u{0} byte"})).await;
    assert!(answer.status < 500, "{answer}");
}
