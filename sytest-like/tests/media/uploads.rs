//! Uploading.

use super::ground::{download, expect_file, id_of, upload, upload_request};
use http::Method;
use sytest_like::{Server, ServerOptions};

/// What was uploaded comes back as it was, with its type and its name.
/// spec: client-server-api/#post_matrixmediav3upload
/// covers: POST /_matrix/media/v3/upload
/// covers: GET /_matrix/client/v1/media/download/{serverName}/{mediaId}
#[tokio::test]
async fn file_comes_back() {
    let server = Server::shared().await;
    let (alice, bob) = (server.register("alice").await, server.register("bob").await);

    let answer =
        upload_request(&alice, b"some text".to_vec(), "text/plain").query("filename", "notes.txt").await;
    let uri = answer.expect_ok().str("content_uri").to_owned();

    assert!(uri.starts_with(&format!("mxc://{}/", server.name())), "{uri}");
    let answer = expect_file(download(&bob, &uri).await, b"some text", "text/plain");
    let disposition = answer.header("content-disposition");
    assert!(disposition.starts_with("inline") && disposition.contains("notes.txt"), "{disposition}");
}

/// Bytes of any kind, and none at all, are files; what has no type is a stream of bytes.
/// spec: client-server-api/#post_matrixmediav3upload
/// covers: POST /_matrix/media/v3/upload
#[tokio::test]
async fn anything_is_a_file() {
    let alice = Server::shared().await.register("alice").await;
    let bytes: Vec<u8> = (0..1_500_000_u32).map(|at| (at * 31 % 251) as u8).collect();

    let encrypted = upload(&alice, bytes.clone(), "application/octet-stream").await;
    let empty = upload(&alice, Vec::new(), "text/plain").await;
    let untyped = upload_request(&alice, b"x".to_vec(), "x/y").without_content_type().await.expect_ok();

    expect_file(download(&alice, &encrypted).await, &bytes, "application/octet-stream");
    expect_file(download(&alice, &empty).await, b"", "text/plain");
    expect_file(download(&alice, untyped.str("content_uri")).await, b"x", "application/octet-stream");
}

/// The same content twice has two ids.
/// spec: client-server-api/#post_matrixmediav3upload
/// covers: POST /_matrix/media/v3/upload
#[tokio::test]
async fn same_content_has_ids_of_its_own() {
    let alice = Server::shared().await.register("alice").await;

    let one = upload(&alice, "twice", "text/plain").await;
    let two = upload(&alice, "twice", "text/csv").await;

    assert_ne!(id_of(&one), id_of(&two));
    expect_file(download(&alice, &one).await, b"twice", "text/plain");
    expect_file(download(&alice, &two).await, b"twice", "text/csv");
}

/// Nobody uploads without a token.
/// spec: client-server-api/#post_matrixmediav3upload
/// covers: POST /_matrix/media/v3/upload
/// covers: POST /_matrix/media/v1/create
#[tokio::test]
async fn uploads_need_a_token() {
    let server = Server::shared().await;
    let alice = server.register("alice").await;

    upload_request(&alice, b"x".to_vec(), "text/plain").anonymous().await.expect_err(401, "M_MISSING_TOKEN");
    server.request(Method::POST, "/_matrix/media/v1/create").await.expect_err(401, "M_MISSING_TOKEN");
}

/// The limit is announced, and what is longer is refused, said to be so long or not.
/// spec: client-server-api/#post_matrixmediav3upload
/// covers: GET /_matrix/client/v1/media/config
/// covers: GET /_matrix/media/v3/config
/// covers: POST /_matrix/media/v3/upload
#[tokio::test]
async fn limit_is_announced_and_kept() {
    let server = ServerOptions::default()
        .kith("media.max_upload_bytes", "1000")
        .synapse("max_upload_size", 1000.into());
    let server = server.start().await;
    let alice = server.register("alice").await;

    let config = alice.get("/v1/media/config").await.expect_ok();
    let old = alice.get("/_matrix/media/v3/config").await.expect_ok();
    assert_eq!((config.int("m.upload.size"), old.int("m.upload.size")), (1000, 1000));
    upload(&alice, vec![1; 1000], "image/png").await;
    upload_request(&alice, vec![1; 1001], "image/png").await.expect_err(413, "M_TOO_LARGE");
}

/// The configuration is for users.
/// spec: client-server-api/#get_matrixclientv1mediaconfig
/// covers: GET /_matrix/client/v1/media/config
#[tokio::test]
async fn config_needs_a_token() {
    let server = Server::shared().await;

    server.get("/v1/media/config").await.expect_err(401, "M_MISSING_TOKEN");
}

/// Who has stored as much as they may stores nothing more, and others do.
/// spec: client-server-api/#content-repo-security-considerations
/// covers: POST /_matrix/media/v3/upload
/// not on synapse: it has no quota
#[tokio::test]
async fn quota_is_kept() {
    let server = ServerOptions::default().kith("media.max_bytes_per_user", "1000").start().await;
    let (alice, bob) = (server.register("alice").await, server.register("bob").await);
    upload(&alice, vec![1; 600], "image/png").await;

    upload_request(&alice, vec![2; 600], "image/png").await.expect_err(403, "M_FORBIDDEN");

    upload(&alice, vec![2; 400], "image/png").await;
    upload(&bob, vec![2; 600], "image/png").await;
}

/// Files are there after a restart.
/// spec: client-server-api/#content-repo
/// covers: GET /_matrix/client/v1/media/download/{serverName}/{mediaId}
#[tokio::test]
async fn files_outlast_a_restart() {
    let server = Server::start().await;
    let alice = server.register("alice").await;
    let content = vec![7; 300_000];
    let uri = upload(&alice, &*content, "image/png").await;

    server.restart().await;

    expect_file(download(&alice, &uri).await, &content, "image/png");
}
