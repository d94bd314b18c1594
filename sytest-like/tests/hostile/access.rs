//! Every operation without a token, with a bad one, and in rooms and accounts of others.

use http::Method;
use sytest_like::hostile::sample;
use sytest_like::operations::{self, Operation};
use sytest_like::{Request, Response, Server, User, Value};

use super::ground::{Ground, keeps_countenance, method, refuses, send_all};

fn with_sample(request: Request, operation: &Operation) -> Request {
    if matches!(method(operation), Method::GET | Method::DELETE) {
        return request;
    }
    let body = operations::bodies().into_iter().find(|body| body.operation.name() == operation.name());
    request.json(&body.map_or_else(|| Value::Object(serde_json::Map::new()), |body| sample(&body.shape)))
}

fn client_operations() -> Vec<Operation> {
    operations::all().into_iter().filter(|operation| operation.api == "client-server").collect()
}

fn is_not_built(answer: &Response) -> bool {
    answer.json["errcode"] == "M_UNRECOGNIZED"
}

/// Every operation that wants a token says so to who has none.
/// spec: client-server-api/#using-access-tokens
#[tokio::test]
async fn no_token_no_answer() {
    let server = Server::shared().await;
    let ground = Ground::new(&server).await;
    let operations = client_operations()
        .into_iter()
        .filter(|operation| operation.needs_token && !is_open_to_all(operation));
    let requests = operations.map(|operation| {
        let request = server.request(method(&operation), &ground.path(&operation));
        (operation.name(), with_sample(request, &operation))
    });
    send_all(requests, |answer| match (answer.status, answer.json["errcode"].as_str()) {
        (401, Some("M_MISSING_TOKEN")) => Ok(()),
        _ if is_not_built(answer) => Ok(()),
        _ => Err("not asked for a token"),
    })
    .await;
}

/// A server may tell everybody about rooms that everybody may join.
fn is_open_to_all(operation: &Operation) -> bool {
    operation.path.contains("/room_summary/")
}

/// Every operation that wants a token tells an unknown one.
/// spec: client-server-api/#using-access-tokens
#[tokio::test]
async fn unknown_token_no_answer() {
    let server = Server::shared().await;
    let ground = Ground::new(&server).await;
    let operations = client_operations().into_iter().filter(|operation| operation.needs_token);
    let requests = operations.map(|operation| {
        let request = server.request(method(&operation), &ground.path(&operation)).token("made-up");
        (operation.name(), with_sample(request, &operation))
    });
    send_all(requests, |answer| match (answer.status, answer.json["errcode"].as_str()) {
        (401, Some("M_UNKNOWN_TOKEN")) => Ok(()),
        _ if is_not_built(answer) => Ok(()),
        _ => Err("the token is not refused"),
    })
    .await;
}

/// What a stranger may do with the id of a room that is not theirs: keep notes of their own about it, and ask whether
/// it is listed.
fn concerns_own_data(operation: &Operation) -> bool {
    operation.path.contains("/user/{userId}/")
        || operation.path.contains("/room_keys/")
        || operation.path.contains("/directory/")
        || operation.path.contains("/forget")
        || operation.path.contains("/report")
}

/// A stranger gets nowhere in a private room, whatever they try.
/// spec: client-server-api/#room-membership
#[tokio::test]
async fn strangers_get_nowhere_in_a_private_room() {
    let server = Server::shared().await;
    let ground = Ground::new(&server).await;
    let mallory = server.register("mallory").await;
    let operations = client_operations()
        .into_iter()
        .filter(|operation| operation.path.contains("{roomId") && !concerns_own_data(operation));
    let requests = operations.map(|operation| {
        let request = mallory.request(method(&operation), &as_oneself(&ground, &operation, &mallory));
        (operation.name(), with_sample(request, &operation))
    });
    send_all(requests, refuses).await;
    let members =
        ground.user.get(&sytest_like::path!("/v3/rooms/{}/joined_members", ground.room)).await.expect_ok();
    assert_eq!(members["joined"].as_object().map(serde_json::Map::len), Some(1), "{members}");
}

/// Somebody who was banned gets nowhere either, but for leaving the room behind.
/// spec: client-server-api/#banning-users-in-a-room
#[tokio::test]
async fn banned_users_change_nothing_in_a_room() {
    let server = Server::shared().await;
    let ground = Ground::new(&server).await;
    let mallory = server.register("mallory").await;
    ground.user.membership(&ground.room, "ban", &mallory.id).await.expect_ok();
    let operations = client_operations().into_iter().filter(|operation| {
        operation.path.contains("{roomId")
            && !concerns_own_data(operation)
            && !operation.path.ends_with("/leave")
            && operation.method != "GET"
    });
    let requests = operations.map(|operation| {
        let request = mallory.request(method(&operation), &as_oneself(&ground, &operation, &mallory));
        (operation.name(), with_sample(request, &operation))
    });
    send_all(requests, refuses).await;
}

fn as_oneself(ground: &Ground, operation: &Operation, user: &User) -> String {
    let path = ground.path(operation);
    path.replace(&sytest_like::encode(&ground.user.id), &sytest_like::encode(&user.id))
}

/// A room that does not exist is not found or forbidden, for whatever is asked of it.
/// spec: client-server-api/#common-error-codes
#[tokio::test]
async fn unknown_rooms_are_refused() {
    let server = Server::shared().await;
    let mut ground = Ground::new(&server).await;
    ground.room = format!("!nosuchroom:{}", server.name());
    let operations = client_operations()
        .into_iter()
        .filter(|operation| operation.path.contains("{roomId") && !concerns_own_data(operation));
    let requests = operations.map(|operation| {
        let request = ground.user.request(method(&operation), &ground.path(&operation));
        (operation.name(), with_sample(request, &operation))
    });
    send_all(requests, refuses).await;
}

/// An event that does not exist is not found, for whatever is asked of it.
/// spec: client-server-api/#common-error-codes
#[tokio::test]
async fn unknown_events_are_no_server_errors() {
    let server = Server::shared().await;
    let mut ground = Ground::new(&server).await;
    ground.event = "$nosuchevent".to_owned();
    let operations = client_operations().into_iter().filter(|operation| operation.path.contains("{eventId}"));
    let requests = operations.map(|operation| {
        let request = ground.user.request(method(&operation), &ground.path(&operation));
        (operation.name(), with_sample(request, &operation))
    });
    send_all(requests, keeps_countenance).await;
}

/// Nobody acts under another user's id.
/// spec: client-server-api/#client-authentication
#[tokio::test]
async fn nobody_acts_for_another_user() {
    let server = Server::shared().await;
    let ground = Ground::new(&server).await;
    let mallory = server.register("mallory").await;
    ground.user.invite(&ground.room, &mallory).await;
    mallory.join(&ground.room).await;
    let may_be_asked = |operation: &Operation| {
        // What everybody may know or say of another user.
        operation.method == "GET"
            && (operation.path.contains("/profile/") || operation.path.contains("/presence/"))
            || operation.path.contains("/report")
    };
    let operations = client_operations()
        .into_iter()
        .filter(|operation| operation.path.contains("{userId}") && !may_be_asked(operation));
    let requests = operations.map(|operation| {
        let request = mallory.request(method(&operation), &ground.path(&operation));
        (operation.name(), with_sample(request, &operation))
    });
    send_all(requests, refuses).await;
}
