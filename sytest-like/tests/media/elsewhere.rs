//! Media of other servers.

use super::ground::{download, expect_file, id_of, upload, upload_request};
use sytest_like::fake::Reply;
use sytest_like::{FakeServer, Pair, Server, User};

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
