//! Media of other servers.

use super::ground::{admin_of, download, download_path, expect_file, id_of, of, upload, upload_request};
use http::Method;
use sytest_like::fake::Reply;
use sytest_like::{FakeServer, Pair, Server, User, json};

const DOWNLOAD: &str = "media/download";

async fn with_fake() -> (User, FakeServer) {
    let (server, fake) = tokio::join!(Server::federated().start(), FakeServer::start());
    (server.register("alice").await, fake)
}

fn parts(content: &str) -> Reply {
    let body = format!(
        "--part\r\nContent-Type: application/json\r\n\r\n{{}}\r\n--part\r\nContent-Type: text/plain\r\n\
         Content-Disposition: inline; filename=\"far.txt\"\r\n\r\n{content}\r\n--part--\r\n"
    );
    Reply::bytes(200, "multipart/mixed; boundary=part", body)
}

/// Files of one server are read at another, with type and name, and again when the first is gone.
/// spec: server-server-api/#content-repository
/// covers: GET /_matrix/federation/v1/media/download/{mediaId}
/// covers: GET /_matrix/client/v1/media/download/{serverName}/{mediaId}
#[tokio::test]
async fn files_of_another_server() {
    files_reach(&Pair::start().await).await;
}

/// A file of the far server is read at the near one.
pub(crate) async fn reach(pair: &Pair) -> (User, String, Vec<u8>) {
    let (alice, bob) = (pair.near.register("alice").await, pair.far.register("bob").await);
    let content: Vec<u8> = (0..900_000_u32).map(|at| (at * 7 % 255) as u8).collect();
    let request = upload_request(&bob, content.clone(), "application/octet-stream");
    let uri = request.query("filename", "file.bin").await.expect_ok().str("content_uri").to_owned();

    let answer = expect_file(download(&alice, &uri).await, &content, "application/octet-stream");
    assert!(answer.header("content-disposition").contains("file.bin"), "{answer}");
    (alice, uri, content)
}

async fn files_reach(pair: &Pair) {
    let (alice, uri, content) = reach(pair).await;
    pair.far.stop().await;
    expect_file(download(&alice, &uri).await, &content, "application/octet-stream");
}

/// Many who ask for one file at once cost one request.
/// spec: server-server-api/#get_matrixfederationv1mediadownloadmediaid
/// covers: GET /_matrix/client/v1/media/download/{serverName}/{mediaId}
#[tokio::test]
async fn one_fetch_for_all() {
    let (alice, fake) = with_fake().await;
    let uri = format!("mxc://{}/wanted", fake.name());
    fake.always(DOWNLOAD, parts("for all"));

    let asking: Vec<_> = (0..12).map(|_| tokio::spawn(download(&alice, &uri).into_future())).collect();
    for asked in asking {
        let answer = expect_file(asked.await.expect("an answer"), b"for all", "text/plain");
        assert!(answer.header("content-disposition").contains("far.txt"), "{answer}");
    }

    assert_eq!(fake.received(DOWNLOAD).len(), 1);
}

/// An old server is asked in the old way.
/// spec: client-server-api/#content-repo-client-behaviour
/// covers: GET /_matrix/client/v1/media/download/{serverName}/{mediaId}
#[tokio::test]
async fn old_servers_are_asked_in_the_old_way() {
    let (alice, fake) = with_fake().await;
    fake.always(DOWNLOAD, Reply::error(404, "M_UNRECOGNIZED"));
    fake.always("media/v3/download", Reply::bytes(200, "text/plain", "old way"));

    let answer = download(&alice, &format!("mxc://{}/old", fake.name())).await;

    expect_file(answer, b"old way", "text/plain");
}

/// What another server does not have, or does not have yet, or gives nonsense for.
/// spec: server-server-api/#get_matrixfederationv1mediadownloadmediaid
/// covers: GET /_matrix/client/v1/media/download/{serverName}/{mediaId}
#[tokio::test]
async fn refusals_of_other_servers() {
    let (alice, fake) = with_fake().await;
    let ask = async |id: &str| download(&alice, &format!("mxc://{}/{id}", fake.name())).await;

    fake.always(DOWNLOAD, Reply::error(404, "M_NOT_FOUND"));
    ask("none").await.expect_err(404, "M_NOT_FOUND");
    fake.always(DOWNLOAD, Reply::error(504, "M_NOT_YET_UPLOADED"));
    ask("later").await.expect_err(504, "M_NOT_YET_UPLOADED");
    fake.always(DOWNLOAD, Reply::error(502, "M_TOO_LARGE"));
    ask("large").await.expect_err(502, "M_TOO_LARGE");
    for nonsense in [
        Reply::bytes(200, "text/plain", "not in parts"),
        Reply::bytes(200, "multipart/mixed; boundary=part", "--part\r\n\r\n{}\r\n--part--\r\n"),
        Reply::bytes(200, "multipart/mixed; boundary=part", "--part\r\n\r\n{}\r\n--part\r\n\r\nbroken off"),
        Reply::hang_up(),
    ] {
        fake.always(DOWNLOAD, nonsense);
        ask("nonsense").await.expect_err(502, "M_UNKNOWN");
    }

    // None of that is remembered.
    fake.always(DOWNLOAD, parts("at last"));
    expect_file(ask("nonsense").await, b"at last", "text/plain");
}

/// What is too large is not taken, said to be so or not.
/// spec: client-server-api/#content-repo-security-considerations
/// covers: GET /_matrix/client/v1/media/download/{serverName}/{mediaId}
/// not on synapse: it counts in another way
#[tokio::test]
async fn large_files_are_not_taken() {
    let options = Server::federated().kith("media.max_remote_bytes", "1000");
    let (server, fake) = tokio::join!(options.start(), FakeServer::start());
    let alice = server.register("alice").await;

    fake.always(DOWNLOAD, parts(&"x".repeat(1001)));
    let answer = download(&alice, &format!("mxc://{}/large", fake.name())).await;
    answer.expect_err(502, "M_TOO_LARGE");
}

/// A redirect into the server's own network is not followed.
/// spec: server-server-api/#get_matrixfederationv1mediadownloadmediaid
/// covers: GET /_matrix/client/v1/media/download/{serverName}/{mediaId}
/// not on synapse: it follows wherever
#[tokio::test]
async fn redirects_do_not_lead_inside() {
    let (alice, fake) = with_fake().await;
    for location in ["https://10.1.2.3/secret", "http://127.0.0.1/secret", "file:///etc/passwd", "nonsense"] {
        let body = format!("--p\r\n\r\n{{}}\r\n--p\r\nLocation: {location}\r\n\r\n\r\n--p--\r\n");
        fake.always(DOWNLOAD, Reply::bytes(200, "multipart/mixed; boundary=p", body));

        let answer = download(&alice, &format!("mxc://{}/led", fake.name())).await;

        assert!(answer.status == 404 || answer.status == 502, "{answer}");
    }
}

/// Another server gets files of this one, in two parts, and nothing else.
/// spec: server-server-api/#get_matrixfederationv1mediadownloadmediaid
/// covers: GET /_matrix/federation/v1/media/download/{mediaId}
/// covers: GET /_matrix/federation/v1/media/thumbnail/{mediaId}
#[tokio::test]
async fn another_server_asks() {
    let (server, fake) = tokio::join!(Server::federated().start(), FakeServer::start());
    let alice = server.register("alice").await;
    let uri = upload(&alice, "given away", "text/plain").await;
    let ask = |id: &str| fake.get(server.name(), &format!("/_matrix/federation/v1/media/download/{id}"));

    let answer = ask(id_of(&uri)).await.expect_status(200);
    assert!(answer.header("content-type").starts_with("multipart/mixed"), "{answer}");
    let text = String::from_utf8_lossy(&answer.body).into_owned();
    assert!(text.contains("application/json") && text.contains("given away"), "{text}");

    ask("thereisnosuchid").await.expect_err(404, "M_NOT_FOUND");
    ask(id_of(&uri)).anonymous().await.expect_err(401, "M_UNAUTHORIZED");
    let thumbnail = format!("/_matrix/federation/v1/media/thumbnail/{}", id_of(&uri));
    let answer = fake.get(server.name(), &thumbnail).query("width", "32").query("height", "32").await;
    answer.expect_err(400, "M_UNKNOWN");
}

/// Parts of a file of another server are handed out like those of one's own.
/// spec: client-server-api/#get_matrixclientv1mediadownloadservernamemediaid
/// covers: GET /_matrix/client/v1/media/download/{serverName}/{mediaId}
/// not on synapse: it has no ranges
#[tokio::test]
async fn parts_of_files_of_another_server() {
    let (alice, fake) = with_fake().await;
    let uri = format!("mxc://{}/parts", fake.name());
    fake.always(DOWNLOAD, parts("0123456789"));

    // The whole is fetched, whatever is asked for first.
    let middle = download(&alice, &uri).header("range", "bytes=3-5").await.expect_status(206);
    let whole = expect_file(download(&alice, &uri).await, b"0123456789", "text/plain");

    assert_eq!(middle.body.as_ref(), b"345");
    let tag = whole.header("etag").to_owned();
    download(&alice, &uri).header("if-none-match", &tag).await.expect_status(304);
    assert_eq!(fake.received(DOWNLOAD).len(), 1);
}

/// Pictures of another server have thumbnails here, and that server gives thumbnails of them too, in two parts.
/// spec: server-server-api/#get_matrixfederationv1mediathumbnailmediaid
/// covers: GET /_matrix/client/v1/media/thumbnail/{serverName}/{mediaId}
/// covers: GET /_matrix/federation/v1/media/thumbnail/{mediaId}
#[tokio::test]
async fn thumbnails_of_another_server() {
    let pair = Pair::shared().await;
    let (alice, bob) = (pair.near.register("alice").await, pair.far.register("bob").await);
    let uri = upload(&bob, picture(), "image/png").await;

    let path = download_path(&uri).replace("download", "thumbnail");
    let size = |request: sytest_like::Request| {
        request.query("width", "96").query("height", "96").query("method", "crop")
    };
    let answer = size(alice.get(&path)).await.expect_status(200);
    let read = image::load_from_memory(&answer.body).expect("a thumbnail can be read");
    assert_eq!((read.width(), read.height()), (96, 96));

    let fake = FakeServer::start().await;
    let path = format!("/_matrix/federation/v1/media/thumbnail/{}", id_of(&uri));
    let request = fake.get(pair.far.name(), &path).query("width", "96").query("height", "96");
    let answer = request.query("method", "crop").await.expect_status(200);
    assert!(answer.header("content-type").starts_with("multipart/mixed"), "{answer}");
    let head = String::from_utf8_lossy(&answer.body[..answer.body.len().min(400)]).into_owned();
    assert!(head.contains("application/json") && head.contains("image/"), "{head}");
    let nonsense = fake.get(pair.far.name(), &path).query("width", "0").query("height", "96").await;
    assert_eq!(nonsense.status, 400, "{nonsense}");
}

fn picture() -> Vec<u8> {
    let pixels = image::RgbImage::from_fn(300, 200, |x, y| image::Rgb([x as u8, y as u8, 40]));
    let mut file = std::io::Cursor::new(Vec::new());
    pixels.write_to(&mut file, image::ImageFormat::Png).expect("a picture can be written");
    file.into_inner()
}

/// A file that lies elsewhere is fetched from there, whichever way its server says so.
/// spec: server-server-api/#get_matrixfederationv1mediadownloadmediaid
/// covers: GET /_matrix/client/v1/media/download/{serverName}/{mediaId}
#[tokio::test]
async fn redirects_are_followed() {
    let (alice, fake) = with_fake().await;
    fake.always("storage/file", Reply::bytes(200, "text/plain", "lies there"));
    let there = format!("https://{}/_matrix/storage/file", fake.name());

    let body = format!("--p\r\n\r\n{{}}\r\n--p\r\nLocation: {there}\r\n\r\n\r\n--p--\r\n");
    fake.always(DOWNLOAD, Reply::bytes(200, "multipart/mixed; boundary=p", body));
    let answer = download(&alice, &format!("mxc://{}/one", fake.name())).await;
    expect_file(answer, b"lies there", "text/plain");

    fake.always(DOWNLOAD, Reply::error(404, "M_UNRECOGNIZED"));
    fake.always("media/v3/download", Reply::bytes(307, "text/plain", "").header("location", &there));
    let answer = download(&alice, &format!("mxc://{}/two", fake.name())).await;
    expect_file(answer, b"lies there", "text/plain");
}

/// Whoever waits for an upload at another server gets it when it comes, or hears that it has not come.
/// spec: server-server-api/#get_matrixfederationv1mediadownloadmediaid
/// covers: GET /_matrix/federation/v1/media/download/{mediaId}
/// covers: GET /_matrix/client/v1/media/download/{serverName}/{mediaId}
#[tokio::test]
async fn uploads_elsewhere_are_waited_for() {
    let pair = Pair::shared().await;
    let (alice, bob) = (pair.near.register("alice").await, pair.far.register("bob").await);
    let created = bob.request(Method::POST, "/_matrix/media/v1/create").await.expect_ok();
    let uri = created.str("content_uri").to_owned();

    download(&alice, &uri).query("timeout_ms", "50").await.expect_err(504, "M_NOT_YET_UPLOADED");

    let waiting = tokio::spawn(download(&alice, &uri).query("timeout_ms", "60000").into_future());
    let path = format!("/_matrix/media/v3/upload/{}", of(&uri));
    bob.request(Method::PUT, &path).body("here").header("content-type", "text/plain").await.expect_ok();
    expect_file(waiting.await.expect("an answer"), b"here", "text/plain");
}

/// Copies are deleted on demand, and fetched again when somebody wants them.
/// spec: client-server-api/#content-repo
/// covers: GET /_matrix/client/v1/media/download/{serverName}/{mediaId}
#[tokio::test]
async fn copies_are_deleted_on_demand() {
    let (server, fake) =
        tokio::join!(Server::federated().shared_secret("a secret").start(), FakeServer::start());
    let (admin, alice) = (admin_of(&server).await, server.register("alice").await);
    let own = upload(&alice, "own", "text/plain").await;
    let uri = format!("mxc://{}/copied", fake.name());
    fake.always(DOWNLOAD, parts("a copy"));
    expect_file(download(&alice, &uri).await, b"a copy", "text/plain");
    let purge = |before: &str| {
        admin.post("/_synapse/admin/v1/purge_media_cache", json!({})).query("before_ts", before)
    };

    purge("soon").await.expect_refused();
    purge("1500000000000").await.expect_ok().has("deleted", 0);
    expect_file(download(&alice, &uri).await, b"a copy", "text/plain");
    assert_eq!(fake.received(DOWNLOAD).len(), 1);
    purge("4000000000000").await.expect_ok().has("deleted", 1);
    expect_file(download(&alice, &uri).await, b"a copy", "text/plain");
    assert_eq!(fake.received(DOWNLOAD).len(), 2);
    expect_file(download(&alice, &own).await, b"own", "text/plain");
}

/// What is withheld of another server stays withheld, and blocked content is not taken from one.
/// spec: client-server-api/#content-repo-security-considerations
/// covers: GET /_matrix/client/v1/media/download/{serverName}/{mediaId}
/// not on synapse: it has no list of blocked contents
#[tokio::test]
async fn withheld_copies_do_not_come_back() {
    let (server, fake) =
        tokio::join!(Server::federated().shared_secret("a secret").start(), FakeServer::start());
    let (admin, alice) = (admin_of(&server).await, server.register("alice").await);
    fake.always(DOWNLOAD, parts("unwanted"));
    let uri = |id: &str| format!("mxc://{}/{id}", fake.name());
    expect_file(download(&alice, &uri("one")).await, b"unwanted", "text/plain");

    let path = format!("/_synapse/admin/v1/media/quarantine/{}", of(&uri("one")));
    admin.post(&path, json!({})).await.expect_ok();
    let purge = admin.post("/_synapse/admin/v1/purge_media_cache", json!({}));
    purge.query("before_ts", "4000000000000").await.expect_ok();
    download(&alice, &uri("one")).await.expect_err(404, "M_NOT_FOUND");
    assert_eq!(fake.received(DOWNLOAD).len(), 1);

    let info = format!("/_kith/admin/v1/media/info/{}", of(&uri("one")));
    let info = admin.get(&info).await.expect_ok();
    let block = format!("/_kith/admin/v1/media/blocked/{}", info.str("sha256"));
    admin.put(&block, json!({})).await.expect_ok();
    download(&alice, &uri("two")).await.expect_err(404, "M_NOT_FOUND");
}

/// Without a token nothing is fetched from other servers, unless media are still open; nor is it for those who do not want it.
/// spec: client-server-api/#get_matrixmediav3downloadservernamemediaid
/// covers: GET /_matrix/media/v3/download/{serverName}/{mediaId}
/// not on synapse: it has its own day
#[tokio::test]
async fn open_requests_for_files_of_another_server() {
    let open = Server::federated().kith("media.unauthenticated_before", "\"2999-01-01\"");
    let (closed, open, fake) = tokio::join!(Server::federated().start(), open.start(), FakeServer::start());
    fake.always(DOWNLOAD, parts("far away"));
    let path = format!("/_matrix/media/v3/download/{}/afar", fake.name());

    closed.get(&path).await.expect_err(404, "M_NOT_FOUND");
    open.get(&path).query("allow_remote", "false").await.expect_err(404, "M_NOT_FOUND");
    assert!(fake.received(DOWNLOAD).is_empty());
    expect_file(open.get(&path).await, b"far away", "text/plain");
    // It is here by now.
    expect_file(open.get(&path).query("allow_remote", "false").await, b"far away", "text/plain");
}
