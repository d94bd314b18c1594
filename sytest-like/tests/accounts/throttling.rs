//! Rate limits. Every case has a server of its own, since it uses its limits up.

use sytest_like::{Response, Server, ServerOptions, User, json, unique};

async fn limited_server() -> Server {
    ServerOptions::default().with_rate_limits().start().await
}

async fn wrong_login(user: &User) -> Response {
    let mut body = user.password_login();
    body["password"] = json!("a guess");
    user.server.post("/v3/login", body).await
}

/// Tries until the server says stop. More than this many guesses in a row would be no limit.
async fn until_limited(user: &User) -> Option<Response> {
    const MANY: usize = 200;
    for _ in 0..MANY {
        let answer = wrong_login(user).await;
        if answer.status == 429 {
            return Some(answer);
        }
        answer.expect_err(403, "M_FORBIDDEN");
    }
    None
}

/// Guessing passwords is slowed down, with the time to wait in the answer.
/// spec: client-server-api/#rate-limiting
/// covers: POST /_matrix/client/v3/login
#[tokio::test]
async fn guessing_is_limited() {
    let server = limited_server().await;
    let alice = server.register("alice").await;
    let limited = until_limited(&alice).await.expect("the guesses are limited");
    let limited = limited.expect_err(429, "M_LIMIT_EXCEEDED");
    if let Some(wait) = limited.get("retry_after_ms") {
        assert!(wait.as_i64().is_some_and(|wait| wait >= 0), "{limited}");
    }
    let header = limited.header("retry-after");
    assert!(header.parse::<u32>().is_ok(), "Retry-After is {header:?}");
}

/// The right password does not go through either while its account is limited, or a guesser would notice.
/// spec: client-server-api/#rate-limiting
/// covers: POST /_matrix/client/v3/login
#[tokio::test]
async fn limit_holds_for_the_right_password_too() {
    let server = limited_server().await;
    let alice = server.register("alice").await;
    until_limited(&alice).await.expect("the guesses are limited");
    server.post("/v3/login", alice.password_login()).await.expect_err(429, "M_LIMIT_EXCEEDED");
}

/// Sessions that exist go on while logins are limited.
/// spec: client-server-api/#rate-limiting
/// covers: POST /_matrix/client/v3/login
/// covers: GET /_matrix/client/v3/account/whoami
#[tokio::test]
async fn sessions_go_on_while_logins_are_limited() {
    let server = limited_server().await;
    let alice = server.register("alice").await;
    until_limited(&alice).await.expect("the guesses are limited");
    alice.get("/v3/account/whoami").await.expect_ok();
}

/// Registering accounts in bulk is slowed down.
/// spec: client-server-api/#rate-limiting
/// covers: POST /_matrix/client/v3/register
#[tokio::test]
async fn registration_is_limited() {
    const MANY: usize = 100;
    let server = limited_server().await;
    for _ in 0..MANY {
        let auth = json!({"type": "m.login.dummy"});
        let body = json!({"username": unique("bulk"), "password": "secret words", "auth": auth});
        let answer = server.post("/v3/register", body).await;
        if answer.status == 429 {
            answer.expect_err(429, "M_LIMIT_EXCEEDED");
            return;
        }
        answer.expect_ok();
    }
    panic!("{MANY} accounts were made in a row");
}

/// With the limits switched off nothing is limited.
/// spec: client-server-api/#rate-limiting
/// covers: POST /_matrix/client/v3/login
#[tokio::test]
async fn limits_can_be_switched_off() {
    let server = Server::shared().await;
    let alice = server.register("alice").await;
    for _ in 0..30 {
        wrong_login(&alice).await.expect_err(403, "M_FORBIDDEN");
    }
    alice.login().await;
}
