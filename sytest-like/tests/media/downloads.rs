//! Downloading.

use super::ground::{download, download_path, expect_file, upload, upload_request};
use http::Method;
use sytest_like::{Server, ServerOptions, against_synapse};

/// The name in the path goes before that of the upload, whatever script it is in.
/// spec: client-server-api/#get_matrixclientv1mediadownloadservernamemediaidfilename
/// covers: GET /_matrix/client/v1/media/download/{serverName}/{mediaId}/{fileName}
#[tokio::test]
async fn name_of_the_path_counts() {
    let alice = Server::shared().await.register("alice").await;
    let answer = upload_request(&alice, b"x".to_vec(), "text/plain").query("filename", "old.txt").await;
    let uri = answer.expect_ok().str("content_uri").to_owned();

    let plain = alice.get(&format!("{}/new.txt", download_path(&uri))).await.expect_status(200);
    let other =
        alice.get(&format!("{}/%E5%90%8D%E5%89%8D.txt", download_path(&uri))).await.expect_status(200);

    assert!(plain.header("content-disposition").contains("new.txt"), "{plain}");
    assert!(
        other.header("content-disposition").contains("filename*=utf-8''%E5%90%8D%E5%89%8D.txt"),
        "{other}"
    );
}

/// What a browser could run is never shown in place, and nothing that is shown can do anything.
/// spec: client-server-api/#serving-inline-content
/// covers: GET /_matrix/client/v1/media/download/{serverName}/{mediaId}
#[tokio::test]
async fn nothing_runs() {
    let alice = Server::shared().await.register("alice").await;
    let page = b"<script>alert(1)</script>";

    for content_type in ["text/html", "image/svg+xml", "application/xhtml+xml", "application/javascript"] {
        let uri = upload(&alice, page, content_type).await;
        let answer = download(&alice, &uri).await.expect_status(200);
        assert!(answer.header("content-disposition").starts_with("attachment"), "{answer}");
    }
    let uri = upload(&alice, page, "image/png").await;
    let answer = expect_file(download(&alice, &uri).await, page, "image/png");
    assert!(answer.header("content-security-policy").contains("sandbox"), "{answer}");
    assert_eq!(answer.header("x-content-type-options"), "nosniff");
    assert_eq!(answer.header("cross-origin-resource-policy"), "cross-origin");
}

/// A part of a file, its end, and what is beyond it.
/// spec: client-server-api/#get_matrixclientv1mediadownloadservernamemediaid
/// covers: GET /_matrix/client/v1/media/download/{serverName}/{mediaId}
/// not on synapse: it has no ranges
#[tokio::test]
async fn ranges() {
    let alice = Server::shared().await.register("alice").await;
    let content: Vec<u8> = (0..700_000_u32).map(|at| (at % 253) as u8).collect();
    let uri = upload(&alice, content.clone(), "video/mp4").await;
    let part = async |range: &str| download(&alice, &uri).header("range", range).await;

    let middle = part("bytes=299990-300009").await.expect_status(206);
    assert_eq!(middle.body, content[299_990..300_010]);
    assert_eq!(middle.header("content-range"), "bytes 299990-300009/700000");
    let last = part("bytes=-5").await.expect_status(206);
    assert_eq!(last.body, content[699_995..]);
    let rest = part("bytes=699000-").await.expect_status(206);
    assert_eq!(rest.body, content[699_000..]);
    let beyond = part("bytes=700000-").await.expect_status(416);
    assert_eq!(beyond.header("content-range"), "bytes */700000");
    for whole in ["bytes=9-3", "pages=1-2", "nonsense"] {
        expect_file(part(whole).await, &content, "video/mp4");
    }
}

/// What a client has is not sent again.
/// spec: client-server-api/#content-repo
/// covers: GET /_matrix/client/v1/media/download/{serverName}/{mediaId}
/// not on synapse: it has other conditions
#[tokio::test]
async fn what_is_known_is_not_sent_again() {
    let alice = Server::shared().await.register("alice").await;
    let uri = upload(&alice, "known", "text/plain").await;
    let tag = download(&alice, &uri).await.expect_status(200).header("etag").to_owned();

    let known = download(&alice, &uri).header("if-none-match", &tag).await.expect_status(304);
    let other = download(&alice, &uri).header("if-none-match", "\"other\"").await;
    let part = download(&alice, &uri).header("range", "bytes=1-2").header("if-range", "\"other\"").await;

    assert!(known.body.is_empty());
    assert!(known.header("cache-control").contains("immutable"), "{known}");
    expect_file(other, b"known", "text/plain");
    expect_file(part, b"known", "text/plain");
}

/// HEAD tells of a file without sending it.
/// spec: client-server-api/#content-repo
/// covers: GET /_matrix/client/v1/media/download/{serverName}/{mediaId}
/// not on synapse: it does not know the method here
#[tokio::test]
async fn head() {
    let alice = Server::shared().await.register("alice").await;
    let uri = upload(&alice, "some content", "text/plain").await;

    let answer = alice.request(Method::HEAD, &download_path(&uri)).await.expect_status(200);

    assert_eq!((answer.header("content-length"), answer.body.len()), ("12", 0));
}

/// Downloads need a token, and those without one end where tokens begin.
/// spec: client-server-api/#content-repo-client-behaviour
/// covers: GET /_matrix/client/v1/media/download/{serverName}/{mediaId}
/// covers: GET /_matrix/media/v3/download/{serverName}/{mediaId}
/// covers: GET /_matrix/media/v3/download/{serverName}/{mediaId}/{fileName}
/// covers: GET /_matrix/media/v3/thumbnail/{serverName}/{mediaId}
#[tokio::test]
async fn downloads_need_a_token() {
    let server = Server::shared().await;
    let alice = server.register("alice").await;
    let uri = upload(&alice, "new", "text/plain").await;
    let path = uri.strip_prefix("mxc://").expect("an mxc URI");

    server.get(&download_path(&uri)).await.expect_err(401, "M_MISSING_TOKEN");
    for endpoint in ["download", "thumbnail"] {
        let request = server.get(&format!("/_matrix/media/v3/{endpoint}/{path}"));
        request.query("width", "32").query("height", "32").await.expect_err(404, "M_NOT_FOUND");
    }
    server.get(&format!("/_matrix/media/v3/download/{path}/a.txt")).await.expect_err(404, "M_NOT_FOUND");
}

/// What was here before the day that is configured can be had without a token.
/// spec: client-server-api/#content-repo-client-behaviour
/// covers: GET /_matrix/media/v3/download/{serverName}/{mediaId}
/// covers: GET /_matrix/media/v3/download/{serverName}/{mediaId}/{fileName}
#[tokio::test]
async fn old_media_are_open() {
    let options = ServerOptions::default().kith("media.unauthenticated_before", "\"2999-01-01\"");
    let server = options.synapse("enable_authenticated_media", false.into()).start().await;
    let alice = server.register("alice").await;
    let uri = upload(&alice, "old", "text/plain").await;
    let path = uri.strip_prefix("mxc://").expect("an mxc URI");

    expect_file(server.get(&format!("/_matrix/media/v3/download/{path}")).await, b"old", "text/plain");
    let named = server.get(&format!("/_matrix/media/v3/download/{path}/name.txt")).await;
    assert!(named.expect_status(200).header("content-disposition").contains("name.txt"));
    expect_file(server.get(&format!("/_matrix/media/r0/download/{path}")).await, b"old", "text/plain");
    expect_file(download(&alice, &uri).await, b"old", "text/plain");
}

/// Paths that lead out of the store lead nowhere.
/// spec: client-server-api/#content-repo-security-considerations
/// covers: GET /_matrix/client/v1/media/download/{serverName}/{mediaId}
#[tokio::test]
async fn no_way_out_of_the_store() {
    let server = Server::shared().await;
    let alice = server.register("alice").await;

    for id in ["..%2f..%2fetc%2fpasswd", "..", "%2e%2e", "a%00b", "a%20b", "%c3%a4"] {
        let answer = alice.get(&format!("/v1/media/download/{}/{id}", server.name())).await;
        assert!((400..500).contains(&answer.status), "{answer}");
    }
    if !against_synapse() {
        let answer = alice.get("/v1/media/download/..%2f../abc").await;
        answer.expect_err(404, "M_NOT_FOUND");
    }
}

/// Numbers and switches that are none are refused.
/// spec: client-server-api/#get_matrixclientv1mediadownloadservernamemediaid
/// covers: GET /_matrix/client/v1/media/download/{serverName}/{mediaId}
/// covers: GET /_matrix/client/v1/media/thumbnail/{serverName}/{mediaId}
#[tokio::test]
async fn nonsense_is_refused() {
    let alice = Server::shared().await.register("alice").await;
    let uri = upload(&alice, "x", "text/plain").await;
    let thumbnail = download_path(&uri).replace("download", "thumbnail");

    let answer = download(&alice, &uri).query("timeout_ms", "soon").await;
    assert_eq!(answer.status, 400, "{answer}");
    for (width, height) in [("", "10"), ("x", "10"), ("-1", "10"), ("10", "1.5")] {
        let answer = alice.get(&thumbnail).query("width", width).query("height", height).await;
        assert_eq!(answer.status, 400, "{answer}");
    }
    let answer = alice.get(&thumbnail).query("width", "32").query("height", "32").await;
    answer.expect_err(400, "M_UNKNOWN");
}
