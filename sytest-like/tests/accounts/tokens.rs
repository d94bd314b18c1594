//! How an access token is given, and `whoami`.

use sytest_like::Server;

const WHOAMI: &str = "/v3/account/whoami";

/// The token is taken from the header.
/// spec: client-server-api/#using-access-tokens
/// covers: GET /_matrix/client/v3/account/whoami
#[tokio::test]
async fn whoami_names_user_and_device() {
    let server = Server::shared().await;
    let alice = server.register("alice").await;
    let answer = alice.get(WHOAMI).await.expect_ok();
    assert_eq!(answer.str("user_id"), alice.id);
    assert_eq!(answer.str("device_id"), alice.device_id);
    assert!(answer.get("is_guest").is_none_or(|guest| guest == false));
}

/// Old clients give the token in the query.
/// spec: client-server-api/#using-access-tokens
/// covers: GET /_matrix/client/v3/account/whoami
#[tokio::test]
async fn token_is_taken_from_the_query() {
    let server = Server::shared().await;
    let alice = server.register("alice").await;
    let request = server.get(WHOAMI).query("access_token", &alice.access_token);
    request.await.expect_ok().has("user_id", alice.id.as_str());
}

/// A request without a token is told so.
/// spec: client-server-api/#using-access-tokens
/// covers: GET /_matrix/client/v3/account/whoami
#[tokio::test]
async fn missing_token_is_told() {
    let server = Server::shared().await;
    server.get(WHOAMI).await.expect_err(401, "M_MISSING_TOKEN");
}

/// An unknown token is told apart from a missing one, and is no soft logout.
/// spec: client-server-api/#soft-logout
/// covers: GET /_matrix/client/v3/account/whoami
#[tokio::test]
async fn unknown_token_is_told() {
    let server = Server::shared().await;
    let answer = server.get(WHOAMI).token("made-up").await.expect_err(401, "M_UNKNOWN_TOKEN");
    assert!(answer.get("soft_logout").is_none_or(|soft| soft == false), "{answer}");
    server.get(WHOAMI).query("access_token", "made-up").await.expect_err(401, "M_UNKNOWN_TOKEN");
}

/// Headers that are no bearer token do not crash anything and do not authorise.
/// spec: client-server-api/#using-access-tokens
/// covers: GET /_matrix/client/v3/account/whoami
#[tokio::test]
async fn odd_authorization_headers_do_not_authorise() {
    let server = Server::shared().await;
    for header in ["", "Bearer", "Bearer ", "Basic YTpi", "Bearer a b c", "bearer", "X-Matrix origin=a"] {
        let answer = server.get(WHOAMI).header("authorization", header).await;
        assert_eq!(answer.status, 401, "{header:?}: {answer}");
    }
}

/// An empty or repeated query token does not authorise.
/// spec: client-server-api/#using-access-tokens
/// covers: GET /_matrix/client/v3/account/whoami
#[tokio::test]
async fn empty_query_token_does_not_authorise() {
    let server = Server::shared().await;
    let answer = server.get(WHOAMI).query("access_token", "").await;
    assert_eq!(answer.status, 401, "{answer}");
}

/// A token that is a prefix or an extension of a good one is not good.
/// spec: client-server-api/#using-access-tokens
/// covers: GET /_matrix/client/v3/account/whoami
#[tokio::test]
async fn almost_right_tokens_do_not_authorise() {
    let server = Server::shared().await;
    let alice = server.register("alice").await;
    let token = alice.access_token.as_str();
    for almost in [token[..token.len() - 1].to_owned(), format!("{token}x"), token.to_lowercase()] {
        if almost != token {
            server.get(WHOAMI).token(&almost).await.expect_err(401, "M_UNKNOWN_TOKEN");
        }
    }
}

/// Sessions of one user stand side by side, each with its own token.
/// spec: client-server-api/#using-access-tokens
/// covers: GET /_matrix/client/v3/account/whoami
#[tokio::test]
async fn every_session_has_its_own_token() {
    let server = Server::shared().await;
    let alice = server.register("alice").await;
    let others = [alice.login().await, alice.login().await];
    for device in others.iter().chain([&alice]) {
        device.get(WHOAMI).await.expect_ok().has("device_id", device.device_id.as_str());
    }
}
