//! Media ids that something is uploaded under later.

use super::ground::{download, download_path, expect_file, upload};
use http::Method;
use sytest_like::{Request, Server, ServerOptions, User, against_synapse};

async fn create(user: &User) -> String {
    let answer = user.request(Method::POST, "/_matrix/media/v1/create").await.expect_ok();
    answer.str("content_uri").to_owned()
}

fn put(user: &User, uri: &str, content: &str) -> Request {
    let path = format!("/_matrix/media/v3/upload/{}", uri.strip_prefix("mxc://").expect("an mxc URI"));
    user.request(Method::PUT, &path).body(content.to_owned()).header("content-type", "text/plain")
}

/// An id is made, and used later.
/// spec: client-server-api/#post_matrixmediav1create
/// covers: POST /_matrix/media/v1/create
/// covers: PUT /_matrix/media/v3/upload/{serverName}/{mediaId}
#[tokio::test]
async fn id_comes_first() {
    let alice = Server::shared().await.register("alice").await;
    let answer = alice.request(Method::POST, "/_matrix/media/v1/create").await.expect_ok();
    assert!(answer.int("unused_expires_at") > 1_600_000_000_000);
    let uri = answer.str("content_uri");

    put(&alice, uri, "later").query("filename", "later.txt").await.expect_ok();

    let answer = expect_file(download(&alice, uri).await, b"later", "text/plain");
    assert!(answer.header("content-disposition").contains("later.txt"), "{answer}");
}

/// Who asks for what is not there yet is told so, in time.
/// spec: client-server-api/#get_matrixclientv1mediadownloadservernamemediaid
/// covers: GET /_matrix/client/v1/media/download/{serverName}/{mediaId}
#[tokio::test]
async fn not_yet_uploaded() {
    let alice = Server::shared().await.register("alice").await;
    let uri = create(&alice).await;

    let answer = download(&alice, &uri).query("timeout_ms", "50").await;

    answer.expect_err(504, "M_NOT_YET_UPLOADED");
}

/// Who waits gets the file when it comes, also through another process.
/// spec: client-server-api/#get_matrixclientv1mediadownloadservernamemediaid
/// covers: GET /_matrix/client/v1/media/download/{serverName}/{mediaId}
/// covers: PUT /_matrix/media/v3/upload/{serverName}/{mediaId}
#[tokio::test]
async fn waiting_ends_with_the_upload() {
    let servers = if against_synapse() {
        vec![Server::start().await]
    } else {
        let directory = std::env::temp_dir().join(sytest_like::unique("kith-media"));
        let options = ServerOptions::default()
            .kith("media.directory", &format!("{:?}", directory.display().to_string()));
        options.start_replicas(2).await
    };
    let alice = servers[0].register("alice").await;
    let elsewhere = servers[servers.len() - 1].as_seen_here(&alice);
    let uri = create(&alice).await;

    let waiting = [&alice, &elsewhere]
        .map(|user| tokio::spawn(download(user, &uri).query("timeout_ms", "60000").into_future()));
    put(&alice, &uri, "here").await.expect_ok();

    for waiting in waiting {
        expect_file(waiting.await.expect("an answer"), b"here", "text/plain");
    }
}

/// What is there is not written over.
/// spec: client-server-api/#put_matrixmediav3uploadservernamemediaid
/// covers: PUT /_matrix/media/v3/upload/{serverName}/{mediaId}
#[tokio::test]
async fn nothing_is_overwritten() {
    let alice = Server::shared().await.register("alice").await;
    let uri = create(&alice).await;
    put(&alice, &uri, "first").await.expect_ok();
    let other = upload(&alice, "whole", "text/plain").await;

    put(&alice, &uri, "second").await.expect_err(409, "M_CANNOT_OVERWRITE_MEDIA");
    put(&alice, &other, "second").await.expect_err(409, "M_CANNOT_OVERWRITE_MEDIA");

    expect_file(download(&alice, &uri).await, b"first", "text/plain");
}

/// An id belongs to who made it.
/// spec: client-server-api/#put_matrixmediav3uploadservernamemediaid
/// covers: PUT /_matrix/media/v3/upload/{serverName}/{mediaId}
#[tokio::test]
async fn id_belongs_to_its_maker() {
    let server = Server::shared().await;
    let (alice, bob) = (server.register("alice").await, server.register("bob").await);
    let uri = create(&alice).await;

    put(&bob, &uri, "mine").await.expect_err(403, "M_FORBIDDEN");

    put(&alice, &uri, "mine").await.expect_ok();
}

/// Nobody makes an id up.
/// spec: client-server-api/#put_matrixmediav3uploadservernamemediaid
/// covers: PUT /_matrix/media/v3/upload/{serverName}/{mediaId}
#[tokio::test]
async fn ids_are_not_made_up() {
    let server = Server::shared().await;
    let alice = server.register("alice").await;

    put(&alice, &format!("mxc://{}/thereisnosuchid", server.name()), "x")
        .await
        .expect_err(404, "M_NOT_FOUND");
    if !against_synapse() {
        put(&alice, "mxc://other.example.org/thereisnosuchid", "x").await.expect_err(404, "M_NOT_FOUND");
        put(&alice, &format!("mxc://{}/..%2f..", server.name()), "x").await.expect_err(404, "M_NOT_FOUND");
    }
}

/// Nobody collects ids.
/// spec: client-server-api/#post_matrixmediav1create
/// covers: POST /_matrix/media/v1/create
#[tokio::test]
async fn unused_ids_are_few() {
    let options = ServerOptions::default().kith("media.max_pending_uploads", "2");
    let server = options.synapse("max_pending_media_uploads", 2.into()).start().await;
    let alice = server.register("alice").await;
    let first = create(&alice).await;
    create(&alice).await;

    let answer = alice.request(Method::POST, "/_matrix/media/v1/create").await;
    answer.expect_err(429, "M_LIMIT_EXCEEDED");

    put(&alice, &first, "used").await.expect_ok();
    create(&alice).await;
}

/// An id that was never made is nothing to wait for.
/// spec: client-server-api/#get_matrixclientv1mediadownloadservernamemediaid
/// covers: GET /_matrix/client/v1/media/download/{serverName}/{mediaId}
#[tokio::test]
async fn unknown_ids_are_not_found() {
    let server = Server::shared().await;
    let alice = server.register("alice").await;
    let path = download_path(&format!("mxc://{}/thereisnosuchid", server.name()));

    alice.get(&path).await.expect_err(404, "M_NOT_FOUND");
}

/// An id that nothing was uploaded under in time is as if it had never been.
/// spec: client-server-api/#post_matrixmediav1create
/// covers: PUT /_matrix/media/v3/upload/{serverName}/{mediaId}
#[tokio::test]
async fn ids_expire() {
    let options = ServerOptions::default().kith("media.pending_upload_hours", "0");
    let server = options.synapse("unused_expiration_time", 0.into()).start().await;
    let alice = server.register("alice").await;
    let uri = create(&alice).await;

    put(&alice, &uri, "too late").await.expect_err(404, "M_NOT_FOUND");
    download(&alice, &uri).await.expect_err(404, "M_NOT_FOUND");
    // Neither do they count against the limit.
    for _ in 0..25 {
        create(&alice).await;
    }
}

/// What is put under an id keeps to the same limits as other uploads.
/// spec: client-server-api/#put_matrixmediav3uploadservernamemediaid
/// covers: PUT /_matrix/media/v3/upload/{serverName}/{mediaId}
#[tokio::test]
async fn limits_hold_for_ids_too() {
    let options = ServerOptions::default().kith("media.max_upload_bytes", "10");
    let server = options.synapse("max_upload_size", 10.into()).start().await;
    let alice = server.register("alice").await;
    let uri = create(&alice).await;

    put(&alice, &uri, "more than ten bytes").await.expect_err(413, "M_TOO_LARGE");
    put(&alice, &uri, "x").anonymous().await.expect_err(401, "M_MISSING_TOKEN");
    put(&alice, &uri, "ten bytes.").await.expect_ok();
}
