//! Clients that are slow, go away, or do not speak HTTP.

use std::time::Duration;

use sytest_like::{Server, ServerOptions, User, json};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::time::timeout;

/// A server that is not held up answers within this even on a busy machine.
const PROMPT: Duration = Duration::from_secs(10);

async fn connect(server: &Server) -> TcpStream {
    let stream = TcpStream::connect(server.address()).await.expect("the server listens");
    stream.set_nodelay(true).expect("a socket takes options");
    stream
}

/// The status of the next answer; `None` when the server closed the connection instead.
async fn status(stream: &mut TcpStream) -> Option<u16> {
    let mut head = Vec::new();
    let mut byte = [0];
    while !head.ends_with(b"\r\n\r\n") {
        match timeout(PROMPT, stream.read(&mut byte)).await.expect("the server answers or hangs up") {
            Ok(1) => head.push(byte[0]),
            _ => return None,
        }
    }
    let head = String::from_utf8_lossy(&head);
    head.split(' ').nth(1).and_then(|status| status.parse().ok())
}

/// Writes what the server is willing to read; it may hang up in the middle.
async fn write(stream: &mut TcpStream, bytes: &[u8]) {
    stream.write_all(bytes).await.ok();
}

fn whoami(user: &User) -> String {
    format!(
        "GET /_matrix/client/v3/account/whoami HTTP/1.1\r\nHost: {}\r\nAuthorization: Bearer {}\r\n\r\n",
        user.server.address(),
        user.access_token
    )
}

fn sync(user: &User, since: &str) -> String {
    format!(
        "GET /_matrix/client/v3/sync?timeout=30000&since={since} HTTP/1.1\r\nHost: {}\r\nAuthorization: Bearer {}\r\n\r\n",
        user.server.address(),
        user.access_token
    )
}

async fn assert_healthy(user: &User) {
    let answer =
        timeout(PROMPT, user.get("/v3/account/whoami").try_send()).await.expect("the server is prompt");
    answer.expect("the server answers").expect_ok();
}

/// A request that comes byte by byte is a request.
/// spec: client-server-api/#api-standards
/// covers: GET /_matrix/client/v3/account/whoami
#[tokio::test]
async fn dribbled_request_is_answered() {
    let server = Server::shared().await;
    let alice = server.register("alice").await;
    let mut stream = connect(&server).await;
    for byte in whoami(&alice).as_bytes() {
        stream.write_all(&[*byte]).await.expect("the server reads");
        stream.flush().await.expect("the server reads");
        tokio::task::yield_now().await;
    }
    assert_eq!(status(&mut stream).await, Some(200));
}

/// Many clients that never finish their request do not hold up the others.
/// spec: client-server-api/#api-standards
/// covers: GET /_matrix/client/v3/account/whoami
#[tokio::test]
async fn unfinished_requests_do_not_hold_up_others() {
    const MANY: usize = 300;
    let server = Server::shared().await;
    let alice = server.register("alice").await;
    let mut streams = Vec::new();
    for number in 0..MANY {
        let mut stream = connect(&server).await;
        let start = match number % 3 {
            0 => "GET /_matrix/client/versions HTT",
            1 => "GET /_matrix/client/versions HTTP/1.1\r\nHost: x\r\nX-Slow: ",
            _ => {
                "POST /_matrix/client/v3/login HTTP/1.1\r\nHost: x\r\nContent-Length: 1000\r\n\r\n{\"type\":"
            }
        };
        write(&mut stream, start.as_bytes()).await;
        streams.push(stream);
    }
    assert_healthy(&alice).await;
    drop(streams);
    assert_healthy(&alice).await;
}

/// A client that closes its half after asking does no harm.
/// spec: client-server-api/#api-standards
/// covers: GET /_matrix/client/v3/account/whoami
/// covers: GET /_matrix/client/v3/sync
#[tokio::test]
async fn half_closed_connections_do_no_harm() {
    let server = Server::shared().await;
    let alice = server.register("alice").await;
    let since = alice.sync().await.str("next_batch").to_owned();
    for request in [whoami(&alice), sync(&alice, &since), "GET /".to_owned(), String::new()] {
        let mut stream = connect(&server).await;
        write(&mut stream, request.as_bytes()).await;
        stream.shutdown().await.ok();
        if request.contains("whoami") {
            assert!(matches!(status(&mut stream).await, Some(200) | None));
        }
    }
    assert_healthy(&alice).await;
}

/// Clients that go away in the middle of a long poll leave nothing behind.
/// spec: client-server-api/#syncing
/// covers: GET /_matrix/client/v3/sync
#[tokio::test]
async fn abandoned_long_polls_do_no_harm() {
    const MANY: usize = 200;
    let server = Server::shared().await;
    let alice = server.register("alice").await;
    let since = alice.sync().await.str("next_batch").to_owned();
    for _ in 0..MANY {
        let mut stream = connect(&server).await;
        write(&mut stream, sync(&alice, &since).as_bytes()).await;
    }
    assert_healthy(&alice).await;
    let room = alice.create_public_room().await;
    let event = alice.send_text(&room, "still here").await;
    let answer = alice.sync().since(&since).await;
    assert!(sytest_like::timeline_ids(&answer, &room).contains(&event), "{answer}");
}

/// A client that promises more than it sends and goes away does no harm.
/// spec: client-server-api/#api-standards
/// covers: POST /_matrix/client/v3/login
#[tokio::test]
async fn bodies_cut_short_do_no_harm() {
    let server = Server::shared().await;
    let alice = server.register("alice").await;
    for head in ["Content-Length: 50\r\n\r\n{\"type\":", "Transfer-Encoding: chunked\r\n\r\n20\r\n{\"type\":"]
    {
        for half in [false, true] {
            let mut stream = connect(&server).await;
            let request = format!("POST /_matrix/client/v3/login HTTP/1.1\r\nHost: x\r\n{head}");
            write(&mut stream, request.as_bytes()).await;
            if half {
                stream.shutdown().await.ok();
                let status = status(&mut stream).await;
                assert!(status.is_none_or(|status| (400..500).contains(&status)), "{head}: {status:?}");
            }
        }
    }
    assert_healthy(&alice).await;
}

/// Requests whose length can be read in two ways are refused, or the connection is closed after them.
/// spec: client-server-api/#api-standards
/// covers: POST /_matrix/client/v3/login
#[tokio::test]
async fn ambiguous_lengths_are_refused() {
    let server = Server::shared().await;
    let alice = server.register("alice").await;
    let heads = [
        "Content-Length: 2\r\nContent-Length: 3\r\n\r\n{}",
        "Content-Length: -1\r\n\r\n{}",
        "Content-Length: 0x2\r\n\r\n{}",
        "Content-Length: 99999999999999999999\r\n\r\n{}",
        "Transfer-Encoding: chunked\r\n\r\nzz\r\n{}\r\n0\r\n\r\n",
        "Transfer-Encoding: chunked\r\n\r\nffffffffffffffffff\r\n{}",
        "Transfer-Encoding: gzip, identity\r\n\r\n{}",
    ];
    for head in heads {
        let mut stream = connect(&server).await;
        let request = format!("POST /_matrix/client/v3/login HTTP/1.1\r\nHost: x\r\n{head}");
        write(&mut stream, request.as_bytes()).await;
        let status = status(&mut stream).await;
        // 501 is what RFC 9112 wants for a transfer coding that the server does not know.
        let is_fine = status.is_none_or(|status| (400..500).contains(&status) || status == 501);
        assert!(is_fine, "{head:?}: {status:?}");
    }
    assert_healthy(&alice).await;
}

/// Bytes that are no HTTP are refused or hung up on.
/// spec: client-server-api/#api-standards
/// covers: GET /_matrix/client/versions
#[tokio::test]
async fn other_protocols_are_turned_away() {
    let server = Server::shared().await;
    let alice = server.register("alice").await;
    let openings: [&[u8]; 7] = [
        b"\x16\x03\x01\x00\xa5\x01\x00\x00\xa1\x03\x03 not a real handshake\r\n\r\n",
        b"SSH-2.0-OpenSSH_9.2\r\n\r\n",
        b"\0\0\0\0\0\0\0\0\0\0\0\0\r\n\r\n",
        b"GET\r\n\r\n",
        b"GET / HTTP/9.9\r\n\r\n",
        b"\xff\xfe\xfd / HTTP/1.1\r\n\r\n",
        b"GET /\x00 HTTP/1.1\r\nHost: x\r\n\r\n",
    ];
    for opening in openings {
        let mut stream = connect(&server).await;
        write(&mut stream, opening).await;
        stream.shutdown().await.ok();
        let status = status(&mut stream).await;
        let is_fine = status.is_none_or(|status| (400..500).contains(&status) || status == 505);
        assert!(is_fine, "{:?}: {status:?}", String::from_utf8_lossy(opening));
    }
    assert_healthy(&alice).await;
}

/// Heads beyond reason are refused or hung up on, long before memory runs out.
/// spec: client-server-api/#api-standards
/// covers: GET /_matrix/client/versions
#[tokio::test]
async fn enormous_heads_are_refused() {
    let server = Server::shared().await;
    let alice = server.register("alice").await;
    let many: String = (0..20_000).map(|number| ["X-", &number.to_string(), ": y\r\n"].concat()).collect();
    let heads = [
        format!(
            "GET /_matrix/client/versions HTTP/1.1\r\nHost: x\r\nX-Long: {}\r\n\r\n",
            "y".repeat(4_000_000)
        ),
        format!("GET /_matrix/client/versions?{} HTTP/1.1\r\nHost: x\r\n\r\n", "y".repeat(4_000_000)),
        format!("GET /_matrix/client/versions HTTP/1.1\r\nHost: x\r\n{many}\r\n"),
    ];
    for head in heads {
        let mut stream = connect(&server).await;
        write(&mut stream, head.as_bytes()).await;
        let status = status(&mut stream).await;
        assert!(status.is_none_or(|status| (400..500).contains(&status)), "{status:?}");
    }
    assert_healthy(&alice).await;
}

/// A body that is announced as enormous is not waited for.
/// spec: client-server-api/#common-error-codes
/// covers: POST /_matrix/client/v3/login
/// not on synapse: it reads what it will refuse
#[tokio::test]
async fn announced_enormous_body_is_refused_at_once() {
    let server = Server::shared().await;
    let mut stream = connect(&server).await;
    let request = "POST /_matrix/client/v3/login HTTP/1.1\r\nHost: x\r\nContent-Length: 10000000000\r\n\r\n{";
    write(&mut stream, request.as_bytes()).await;
    assert!(matches!(status(&mut stream).await, Some(413) | None));
}

/// Requests one after the other on a connection, without waiting, are answered in their order.
/// spec: client-server-api/#api-standards
/// covers: GET /_matrix/client/v3/account/whoami
/// covers: GET /_matrix/client/versions
#[tokio::test]
async fn pipelined_requests_are_answered_in_order() {
    let server = Server::shared().await;
    let alice = server.register("alice").await;
    let mut stream = connect(&server).await;
    let last = "GET /_matrix/client/versions HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n";
    write(&mut stream, [whoami(&alice).as_str(), whoami(&alice).as_str(), last].concat().as_bytes()).await;
    let mut text = String::new();
    timeout(PROMPT, stream.read_to_string(&mut text))
        .await
        .expect("the server is prompt")
        .expect("it is text");
    assert_eq!(text.matches("HTTP/1.1 200").count(), 3, "{text}");
    assert!(text.find("user_id") < text.find("versions"), "{text}");
}

/// HTTP/1.0, as old health checks speak it, is answered.
/// spec: client-server-api/#api-standards
/// covers: GET /_matrix/client/versions
#[tokio::test]
async fn http_1_0_is_answered() {
    let server = Server::shared().await;
    let mut stream = connect(&server).await;
    write(&mut stream, b"GET /_matrix/client/versions HTTP/1.0\r\n\r\n").await;
    assert_eq!(status(&mut stream).await, Some(200));
}

/// Nobody escapes a limit by naming another address: only configured proxies are believed.
/// spec: client-server-api/#rate-limiting
/// covers: POST /_matrix/client/v3/login
/// not on synapse: it has no list of trusted proxies
#[tokio::test]
async fn forged_addresses_do_not_escape_limits() {
    const MANY: usize = 200;
    let server = ServerOptions::default().with_rate_limits().start().await;
    for number in 0..MANY {
        let body = json!({"type": "m.login.password", "user": sytest_like::unique("x"), "password": "x"});
        let forged = format!("203.0.113.{number}");
        let answer = server.post("/v3/login", body).header("x-forwarded-for", &forged).await;
        if answer.status == 429 {
            return;
        }
    }
    panic!("{MANY} attempts from one address were let through");
}
