//! Uploading.

use super::ground::{
    admin_of, broken_upload, download, expect_file, figure, files_below, id_of, of, raw_upload, upload,
    upload_request,
};
use http::Method;
use sytest_like::{Server, ServerOptions, User, json};

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

/// What is longer than allowed is refused while it comes, although nobody has said how long it would be.
/// spec: client-server-api/#post_matrixmediav3upload
/// covers: POST /_matrix/media/v3/upload
#[tokio::test]
async fn limit_is_kept_while_reading() {
    let server = ServerOptions::default()
        .kith("media.max_upload_bytes", "1000")
        .synapse("max_upload_size", 1000.into());
    let server = server.start().await;
    let alice = server.register("alice").await;
    let chunks =
        |count: usize| format!("{}0\r\n\r\n", format!("64\r\n{}\r\n", "x".repeat(100)).repeat(count));

    let fits = raw_upload(&alice, "Transfer-Encoding: chunked", chunks(10).as_bytes()).await;
    assert!(fits.starts_with("HTTP/1.1 200"), "{fits}");
    let too_long = raw_upload(&alice, "Transfer-Encoding: chunked", chunks(11).as_bytes()).await;
    assert!(too_long.starts_with("HTTP/1.1 413") && too_long.contains("M_TOO_LARGE"), "{too_long}");
}

/// A file that does not come whole is not kept, and what has come of it does not stay.
/// spec: client-server-api/#post_matrixmediav3upload
/// covers: POST /_matrix/media/v3/upload
/// not on synapse: it has no list of this kind
#[tokio::test]
async fn files_that_break_off_are_not_kept() {
    let server = ServerOptions::default().shared_secret("a secret").start().await;
    let (admin, alice) = (admin_of(&server).await, server.register("alice").await);

    let answer = broken_upload(&alice, "Content-Length: 900000", &vec![7; 600_000]).await;

    assert!(!answer.starts_with("HTTP/1.1 200"), "{answer}");
    let usage = admin.get("/_synapse/admin/v1/statistics/users/media").await.expect_ok();
    assert_eq!(usage.int("total"), 0);
    assert!(files_below(&server.data_directory().join("media/files")).is_empty());
    // It is deleted when the server notices, which may be after the connection is gone.
    while !files_below(&server.data_directory().join("media/incoming")).is_empty() {
        tokio::task::yield_now().await;
    }
}

/// Whoever uploads too often has to wait.
/// spec: client-server-api/#rate-limiting
/// covers: POST /_matrix/media/v3/upload
/// covers: POST /_matrix/media/v1/create
/// not on synapse: it counts in another way
#[tokio::test]
async fn uploads_are_limited() {
    let options = ServerOptions::default().with_rate_limits();
    let server = options.kith("rate_limits.uploads", "{ per_second = 0.01, burst = 3 }").start().await;
    let (alice, bob) = (server.register("alice").await, server.register("bob").await);
    upload(&alice, "one", "text/plain").await;
    upload(&alice, "two", "text/plain").await;
    alice.request(Method::POST, "/_matrix/media/v1/create").await.expect_ok();

    let answer = upload_request(&alice, b"three".to_vec(), "text/plain").await;
    assert!(answer.expect_err(429, "M_LIMIT_EXCEEDED").int("retry_after_ms") > 0);
    alice.request(Method::POST, "/_matrix/media/v1/create").await.expect_err(429, "M_LIMIT_EXCEEDED");
    upload(&bob, "one", "text/plain").await;
}

/// Guests look at files and upload none.
/// spec: client-server-api/#guest-access
/// covers: POST /_matrix/media/v3/upload
/// covers: POST /_matrix/media/v1/create
#[tokio::test]
async fn guests_do_not_upload() {
    let options = ServerOptions::default().kith("registration.guests", "true");
    let server = options.synapse("allow_guest_access", true.into()).start().await;
    let alice = server.register("alice").await;
    let uri = upload(&alice, "for all", "text/plain").await;
    let answer = server.post("/v3/register", json!({})).query("kind", "guest").await.expect_ok();
    let guest = User::from_login(&server, &answer, "");

    expect_file(download(&guest, &uri).await, b"for all", "text/plain");
    upload_request(&guest, b"mine".to_vec(), "text/plain").await.expect_refused();
    guest.request(Method::POST, "/_matrix/media/v1/create").await.expect_refused();
}

/// Names that no file can have are no failure.
/// spec: client-server-api/#post_matrixmediav3upload
/// covers: POST /_matrix/media/v3/upload
#[tokio::test]
async fn strange_names_do_no_harm() {
    let alice = Server::shared().await.register("alice").await;
    for name in
        ["a\0b.txt", "../../etc/passwd", "\u{202e}gpj.exe", &"long".repeat(2000), "", ".", "\u{7f}\u{1}"]
    {
        let answer = upload_request(&alice, b"x".to_vec(), "text/plain").query("filename", name).await;
        if answer.status == 200 {
            download(&alice, answer.str("content_uri")).await.expect_status(200);
        } else {
            assert!((400..500).contains(&answer.status), "{answer}");
        }
    }
}

/// The same content lies in the store once, whoever uploads it, and for as long as anybody has it.
/// spec: none (operation)
/// covers: POST /_matrix/media/v3/upload
/// not on synapse: it keeps each upload
#[tokio::test]
async fn same_content_is_kept_once() {
    let server = ServerOptions::default().shared_secret("a secret").start().await;
    let (admin, alice) = (admin_of(&server).await, server.register("alice").await);
    let count = || files_below(&server.data_directory().join("media/files")).len();
    let uris = [
        upload(&alice, "the same", "text/plain").await,
        upload(&admin, "the same", "text/html").await,
        upload(&alice, "the same", "text/plain").await,
    ];
    assert_eq!(count(), 1);
    upload(&alice, "another", "text/plain").await;
    assert_eq!(count(), 2);

    for (uri, left) in uris.iter().zip([2, 2, 1]) {
        admin.delete(&format!("/_synapse/admin/v1/media/{}", of(uri))).await.expect_ok();
        assert_eq!(count(), left);
    }
}

/// Uploads and downloads are counted, and so are their bytes.
/// spec: none (operation)
/// covers: POST /_matrix/media/v3/upload
/// not on synapse: its figures have other names
#[tokio::test]
async fn files_are_counted() {
    let server = Server::start().await;
    let alice = server.register("alice").await;
    let uri = upload(&alice, vec![1; 500], "image/png").await;
    raw_upload(&alice, "Transfer-Encoding: chunked", b"5\r\nhello\r\n0\r\n\r\n").await;
    download(&alice, &uri).await.expect_status(200);
    let thumbnail = alice.get(&format!("/v1/media/thumbnail/{}", of(&uri)));
    thumbnail.query("width", "32").query("height", "32").await.expect_err(400, "M_UNKNOWN");

    assert_eq!(figure(&server, "kith_media_uploads_total{outcome=\"ok\"}").await, "2");
    assert_eq!(figure(&server, "kith_media_uploaded_bytes_total").await, "505");
    assert_eq!(figure(&server, "kith_media_downloads_total{origin=\"local\"}").await, "2");
    assert_eq!(figure(&server, "kith_media_thumbnails_total{outcome=\"unsupported\"}").await, "1");
    assert_eq!(figure(&server, "kith_media_thumbnails_in_line").await, "0");
}

/// Replicas share files, and what is done to them at one holds at the other at once.
/// spec: none (operation)
/// covers: POST /_matrix/media/v3/upload
/// covers: GET /_matrix/client/v1/media/download/{serverName}/{mediaId}
/// not on synapse: it has workers instead
#[tokio::test]
async fn replicas_share_files() {
    let replicas = ServerOptions::default().shared_secret("a secret").start_replicas(2).await;
    let alice = replicas[0].register("alice").await;
    let there = replicas[1].as_seen_here(&alice);
    let admin = replicas[1].as_seen_here(&admin_of(&replicas[0]).await);

    let uri = upload(&alice, vec![5; 700_000], "image/png").await;

    expect_file(download(&there, &uri).await, &vec![5; 700_000], "image/png");
    admin.post(&format!("/_synapse/admin/v1/media/quarantine/{}", of(&uri)), json!({})).await.expect_ok();
    download(&alice, &uri).await.expect_err(404, "M_NOT_FOUND");
}
