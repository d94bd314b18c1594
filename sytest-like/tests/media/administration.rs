//! What administrators do to media.

use super::ground::{download, expect_file, id_of, upload, upload_request};
use http::Method;
use sytest_like::{Server, ServerOptions, User, json, path, unique};

async fn admin_of(server: &Server) -> User {
    let answer = crate::accounts::shared_secret::register(server, &unique("admin"), true).await.expect_ok();
    User::from_login(server, &answer, "secret words")
}

async fn scene() -> (Server, User, User) {
    let server = Server::shared().await;
    let (admin, alice) = (admin_of(&server).await, server.register("alice").await);
    (server, admin, alice)
}

fn of(uri: &str) -> &str {
    uri.strip_prefix("mxc://").expect("an mxc URI")
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
