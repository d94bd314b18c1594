use axum::{Router, body::Body, extract::State, middleware};
use http::{Request, StatusCode, header};
use http_body_util::BodyExt;
use ruma::api::client::{
    membership::{join_room_by_id, leave_room},
    message::get_message_events,
    profile::get_display_name,
    state::get_state_event_for_key,
};
use serde_json::Value;
use tower::ServiceExt;

use super::*;
use crate::{Reply, RouterExt, fallback};

async fn join(Args(request): Args<join_room_by_id::v3::Request>) -> Reply<join_room_by_id::v3::Response> {
    Reply(join_room_by_id::v3::Response::new(request.room_id))
}

async fn leave(
    State(()): State<()>,
    Args(request): Args<leave_room::v3::Request>,
) -> Result<Reply<leave_room::v3::Response>, ApiError> {
    Err(ApiError::forbidden(request.reason.unwrap_or_default()))
}

async fn messages(Args(request): Args<get_message_events::v3::Request>) -> ApiError {
    ApiError::not_found(request.room_id)
}

async fn state(Args(request): Args<get_state_event_for_key::v3::Request>) -> ApiError {
    ApiError::not_found(format!("{}|{}", request.event_type, request.state_key))
}

async fn display_name(Args(_): Args<get_display_name::v3::Request>) -> ApiError {
    panic!("a bug");
}

fn router() -> Router {
    Router::new()
        .ruma_route(join)
        .ruma_route_with(RouteOptions { max_body_bytes: 100, ..RouteOptions::default() }, leave)
        .ruma_route(messages)
        .ruma_route_at(
            [
                "/_matrix/client/v3/rooms/{room_id}/state/{event_type}",
                "/_matrix/client/v3/rooms/{room_id}/state/{event_type}/",
                "/_matrix/client/v3/rooms/{room_id}/state/{event_type}/{state_key}",
            ],
            RouteOptions::default(),
            state,
        )
        .ruma_route(display_name)
        .fallback(fallback::unknown_route)
        .method_not_allowed_fallback(fallback::wrong_method)
        .layer(middleware::from_fn(fallback::catch_panic))
        .layer(middleware::from_fn(crate::cors::layer))
        .layer(middleware::from_fn(crate::request_id::layer))
}

async fn call(method: &str, path: &str, body: impl Into<Body>) -> (StatusCode, Value) {
    let request = Request::builder().method(method).uri(path).body(body.into()).unwrap();
    let response = router().oneshot(request).await.unwrap();
    assert!(response.headers().contains_key(header::ACCESS_CONTROL_ALLOW_ORIGIN));
    assert!(response.headers().contains_key(crate::request_id::X_REQUEST_ID));
    let status = response.status();
    let bytes = response.into_body().collect().await.unwrap().to_bytes();
    (status, serde_json::from_slice(&bytes).unwrap_or_default())
}

async fn errcode(method: &str, path: &str, body: impl Into<Body>) -> (u16, String) {
    let (status, body) = call(method, path, body).await;
    (status.as_u16(), body["errcode"].as_str().unwrap_or_default().to_owned())
}

fn code(status: u16, errcode: &str) -> (u16, String) {
    (status, errcode.to_owned())
}

#[tokio::test]
async fn handler_is_reached_under_stable_and_old_paths() {
    for version in ["v3", "r0"] {
        let (status, body) =
            call("POST", &format!("/_matrix/client/{version}/rooms/!a:b.c/join"), r#"{"x":1}"#).await;

        assert_eq!(status, StatusCode::OK);
        assert_eq!(body["room_id"], "!a:b.c");
    }
}

#[tokio::test]
async fn empty_body_counts_as_an_empty_object() {
    assert_eq!(call("POST", "/_matrix/client/v3/rooms/!a:b.c/join", "").await.0, StatusCode::OK);
}

#[tokio::test]
async fn bad_bodies_have_their_codes() {
    let path = "/_matrix/client/v3/rooms/!a:b.c/leave";

    assert_eq!(errcode("POST", path, "nope").await, code(400, "M_NOT_JSON"));
    assert_eq!(errcode("POST", path, &b"{\"reason\": \"\xff\"}"[..]).await, code(400, "M_NOT_JSON"));
    assert_eq!(errcode("POST", path, "[]").await, code(400, "M_BAD_JSON"));
    assert_eq!(errcode("POST", path, r#"{"reason": 5}"#).await, code(400, "M_BAD_JSON"));
    assert_eq!(errcode("POST", path, r#"{"reason": "\u0000"}"#).await, code(400, "M_BAD_JSON"));
    assert_eq!(errcode("POST", path, " ".repeat(101)).await, code(413, "M_TOO_LARGE"));
    assert_eq!(errcode("POST", path, r#"{"reason": "ok"}"#).await, code(403, "M_FORBIDDEN"));
}

#[tokio::test]
async fn bad_paths_and_queries_have_their_codes() {
    let messages = |query: &str| format!("/_matrix/client/v3/rooms/!a:b.c/messages?{query}");

    assert_eq!(errcode("POST", "/_matrix/client/v3/rooms/x/join", "").await, code(400, "M_INVALID_PARAM"));
    assert_eq!(
        errcode("POST", "/_matrix/client/v3/rooms/!a%00:b.c/join", "").await,
        code(400, "M_INVALID_PARAM")
    );
    assert_eq!(
        errcode("POST", "/_matrix/client/v3/rooms/!%ff:b.c/join", "").await,
        code(400, "M_INVALID_PARAM")
    );
    assert_eq!(
        errcode("POST", &format!("/_matrix/client/v3/rooms/!{}:b.c/join", "a".repeat(3000)), "").await,
        code(413, "M_TOO_LARGE")
    );
    assert_eq!(errcode("GET", &messages("dir=b"), "").await, code(404, "M_NOT_FOUND"));
    assert_eq!(errcode("GET", &messages("from=1"), "").await, code(400, "M_MISSING_PARAM"));
    assert_eq!(errcode("GET", &messages("dir=x"), "").await, code(400, "M_INVALID_PARAM"));
    assert_eq!(errcode("GET", &messages("dir=b&limit=x"), "").await, code(400, "M_INVALID_PARAM"));
    assert_eq!(errcode("GET", &messages("dir=b&from=%00"), "").await, code(400, "M_INVALID_PARAM"));
}

#[tokio::test]
async fn missing_last_parameter_is_empty() {
    let path = "/_matrix/client/v3/rooms/!a:b.c/state/m.room.name";

    for (path, expected) in [
        (path.to_owned(), "m.room.name|"),
        (format!("{path}/"), "m.room.name|"),
        (format!("{path}/a%2Fb"), "m.room.name|a/b"),
    ] {
        assert_eq!(call("GET", &path, "").await.1["error"], expected);
    }
}

#[tokio::test]
async fn unknown_routes_and_methods_are_unrecognized() {
    assert_eq!(errcode("GET", "/_matrix/client/v3/nothing", "").await, code(404, "M_UNRECOGNIZED"));
    assert_eq!(
        errcode("PATCH", "/_matrix/client/v3/rooms/!a:b.c/join", "").await,
        code(405, "M_UNRECOGNIZED")
    );
}

#[tokio::test]
async fn preflight_reaches_no_handler() {
    assert_eq!(
        call("OPTIONS", "/_matrix/client/v3/profile/@a:b.c/displayname", "").await.0,
        StatusCode::NO_CONTENT
    );
}

#[tokio::test]
async fn panic_is_an_internal_error_with_the_request_id() {
    let (status, body) = call("GET", "/_matrix/client/v3/profile/@a:b.c/displayname", "").await;

    assert_eq!(status, StatusCode::INTERNAL_SERVER_ERROR);
    assert_eq!(body["errcode"], "M_UNKNOWN");
    assert_eq!(body["request_id"].as_str().unwrap().len(), 16);
}
