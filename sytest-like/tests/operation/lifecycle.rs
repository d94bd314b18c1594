//! Start, stop and health of a server as a process.

use std::time::{Duration, Instant};

use sytest_like::{Client, Registration, Server, ServerOptions, json, unique};

/// The server says that it lives and that it serves.
/// spec: none (operation)
/// covers: GET /health/live
/// covers: GET /health/ready
/// not on synapse: its health check has another address
#[tokio::test]
async fn health_is_told() {
    let server = Server::shared().await;
    server.get("/health/live").await.expect_status(200);
    server.get("/health/ready").await.expect_status(200);
}

/// Figures are on a listener of their own and not on the clients'.
/// spec: none (operation)
/// not on synapse: its figures have another address
#[tokio::test]
async fn metrics_are_apart_from_clients() {
    let server = Server::shared().await;
    server.get("/versions").await.expect_ok();
    server.get("/metrics").await.expect_status(404);
    let host = server.address().split(':').next().expect("an address has a host");
    let metrics = Client::new(&format!("http://{host}:9008"));
    metrics.request(http::Method::GET, "/versions").await.expect_status(404);
    let answer = metrics.request(http::Method::GET, "/metrics").await.expect_status(200);
    let text = String::from_utf8_lossy(&answer.body);
    assert!(text.lines().any(|line| line.starts_with("# TYPE ")), "{answer}");
}

/// SIGTERM answers long polls that wait, and ends with success soon.
/// spec: none (operation)
/// covers: GET /_matrix/client/v3/sync
/// not on synapse: it cuts them off
#[tokio::test]
async fn stopping_ends_long_polls_cleanly() {
    const SOON: Duration = Duration::from_secs(10);
    let server = Server::start().await;
    let alice = server.register("alice").await;
    let since = alice.sync().await.str("next_batch").to_owned();
    let waiting = tokio::spawn(alice.sync().since(&since).timeout(60_000).request().try_send());
    // The poll is on its way once another request behind it has been answered.
    alice.get("/v3/account/whoami").await.expect_ok();
    let before = Instant::now();
    server.stop().await;
    assert!(before.elapsed() < SOON, "stopping took {:?}", before.elapsed());
    let answer = waiting.await.expect("the request ends");
    if let Ok(answer) = answer {
        assert!(answer.status == 200 || answer.status == 503, "{answer}");
    }
}

/// A server with its own database comes back after both were killed.
/// spec: none (operation)
/// covers: GET /_matrix/client/v3/account/whoami
/// not on synapse: it does not supervise a database
#[tokio::test]
async fn embedded_database_is_adopted_after_a_crash() {
    let server = ServerOptions::default().with_embedded_database().start().await;
    server.expect_log("");
    let alice = server.register("alice").await;
    let first = server.postgres_process_id().expect("Postgres runs");
    server.kill9();
    server.start_again().await;
    alice.get("/v3/account/whoami").await.expect_ok();
    server.kill9_postgres();
    server.kill9();
    server.start_again().await;
    alice.get("/v3/account/whoami").await.expect_ok();
    assert_ne!(server.postgres_process_id(), Some(first));
}

/// The server starts its database again when only that was killed.
/// spec: none (operation)
/// covers: GET /_matrix/client/v3/account/whoami
/// not on synapse: it does not supervise a database
#[tokio::test]
async fn killed_database_is_started_again() {
    const BACK_WITHIN: Duration = Duration::from_mins(1);
    let server = ServerOptions::default().with_embedded_database().start().await;
    server.expect_log("");
    let alice = server.register("alice").await;
    let room = alice.create_public_room().await;
    server.kill9_postgres();
    let deadline = Instant::now() + BACK_WITHIN;
    let path = format!("/v3/rooms/{}/send/m.room.message/{}", sytest_like::encode(&room), unique("txn"));
    loop {
        let answer = alice.put(&path, json!({"msgtype": "m.text", "body": "after"})).await;
        if answer.status == 200 {
            break;
        }
        assert!(
            answer.status >= 500,
            "while the database is gone, that is nobody's fault but ours: {answer}"
        );
        assert!(Instant::now() < deadline, "{answer}");
        // A client does not hammer a server that is in trouble.
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
}

/// With a clean stop the database stops too, and nothing of it is left.
/// spec: none (operation)
/// not on synapse: it does not supervise a database
#[tokio::test]
async fn embedded_database_stops_with_the_server() {
    let server = ServerOptions::default().with_embedded_database().start().await;
    let id = server.postgres_process_id().expect("Postgres runs");
    server.stop().await;
    assert_eq!(server.postgres_process_id(), None);
    assert!(!std::path::Path::new(&format!("/proc/{id}")).exists(), "Postgres {id} is still there");
}

/// A closed server without users prints a token for its first account, which is the administrator's; then it is closed.
/// spec: client-server-api/#token-authenticated-registration
/// covers: POST /_matrix/client/v3/register
/// not on synapse: it has no such token
#[tokio::test]
async fn first_account_is_made_with_the_printed_token() {
    let server = ServerOptions::default().registration(Registration::Closed).start().await;
    let token = printed_token(&server.log()).expect("the log has a registration token");
    let name = unique("admin");
    let register = |name: String, session: serde_json::Value| {
        let auth = json!({"type": "m.login.registration_token", "token": token, "session": session});
        server.post("/v3/register", json!({"username": name, "password": "secret words", "auth": auth}))
    };
    let challenge = server.post("/v3/register", json!({})).await.expect_status(401);
    let mut answer = register(name.clone(), challenge["session"].clone()).await;
    if answer.status == 401 {
        // The flow may go on with the dummy stage.
        let auth = json!({"type": "m.login.dummy", "session": challenge["session"]});
        let body = json!({"username": name, "password": "secret words", "auth": auth});
        answer = server.post("/v3/register", body).await;
    }
    answer.expect_ok();

    let second =
        server.post("/v3/register", json!({"username": unique("second"), "password": "secret words"})).await;
    second.expect_err(403, "M_FORBIDDEN");
}

/// The token is the one long word of small letters and digits in a line that speaks of registration and a token.
fn printed_token(log: &str) -> Option<String> {
    const SHORTEST: usize = 16;
    let is_token = |word: &&str| {
        word.len() >= SHORTEST
            && word.chars().all(|letter| letter.is_ascii_lowercase() || letter.is_ascii_digit())
    };
    let lines = log.lines().filter(|line| line.contains("token") && line.contains("regist"));
    lines
        .flat_map(|line| line.split(|letter: char| !letter.is_ascii_alphanumeric()))
        .find(is_token)
        .map(str::to_owned)
}

/// Nothing secret is in the log.
/// spec: none (operation)
/// covers: POST /_matrix/client/v3/login
/// not on synapse: its log is its own affair
#[tokio::test]
async fn log_holds_no_secrets() {
    let server = ServerOptions::default().kith("logging.filter", "\"debug\"").start().await;
    let alice = server.register("alice").await;
    let again = alice.login().await;
    server.get("/v3/account/whoami").query("access_token", &again.access_token).await.expect_ok();
    let mut wrong = alice.password_login();
    wrong["password"] = json!("a wrong guess at it");
    server.post("/v3/login", wrong).await.expect_err(403, "M_FORBIDDEN");
    alice.create_public_room().await;
    let log = server.log();
    for secret in [alice.password.as_str(), &alice.access_token, &again.access_token, "a wrong guess at it"] {
        assert!(!log.contains(secret), "the log holds {secret}");
    }
}

/// Every log line is JSON with a level, and requests carry an id that errors name too.
/// spec: none (operation)
/// not on synapse: its log is its own affair
#[tokio::test]
async fn log_lines_are_json() {
    let server = Server::start().await;
    server.register("alice").await;
    server.stop().await;
    for line in server.log().lines() {
        let entry: serde_json::Value =
            serde_json::from_str(line).unwrap_or_else(|_| panic!("not JSON: {line}"));
        assert!(entry["level"].is_string(), "{line}");
    }
}
