//! Every operation, with every field, path segment and query parameter turned into something else.

use http::Method;
use sytest_like::hostile::{
    WRONG_QUERIES, WRONG_SEGMENTS, extreme_values, fields, sample, wrong_bodies, wrong_values,
};
use sytest_like::operations::{self, Body, Operation};
use sytest_like::{Request, Server, Value};

use super::ground::{Ground, keeps_countenance, method, parameter_count, send_all};

fn client_operations() -> impl Iterator<Item = Operation> {
    operations::all().into_iter().filter(|operation| operation.api == "client-server" && is_safe(operation))
}

fn client_bodies() -> impl Iterator<Item = Body> {
    operations::bodies()
        .into_iter()
        .filter(|body| body.operation.api == "client-server" && is_safe(&body.operation))
}

/// Leaves out what would end the session that the rest is sent with.
fn is_safe(operation: &Operation) -> bool {
    !operation.path.contains("/logout")
}

fn request(ground: &Ground, operation: &Operation) -> Request {
    ground.user.request(method(operation), &ground.path(operation))
}

/// One field of a sample body replaced by raw JSON.
fn body_with(shape: &Value, pointer: &str, raw: &str) -> String {
    const MARK: &str = "\u{E000}here\u{E000}";
    let mut body = sample(shape);
    if let Some(field) = body.pointer_mut(pointer) {
        *field = Value::from(MARK);
    }
    body.to_string().replacen(&format!("\"{MARK}\""), raw, 1)
}

/// A value of another type in each field of each body.
/// spec: client-server-api/#standard-error-response
/// not on synapse: it answers some of these with 500
#[tokio::test]
async fn wrong_types_in_every_field() {
    let server = Server::shared().await;
    let ground = Ground::new(&server).await;
    let requests = client_bodies().flat_map(|body| {
        let ground = &ground;
        fields(&body.shape).into_iter().flat_map(move |(pointer, field)| {
            let body = body.clone();
            wrong_values(&field).into_iter().map(move |value| {
                let text = body_with(&body.shape, &pointer, &value.to_string());
                let what = format!("{} {pointer} = {value}", body.operation.name());
                (what, request(ground, &body.operation).body(text))
            })
        })
    });
    send_all(requests, keeps_countenance).await;
}

/// A value of extreme size, range, depth or encoding in each field of each body.
/// spec: client-server-api/#standard-error-response
/// not on synapse: it answers some of these with 500
#[tokio::test]
async fn extreme_values_in_every_field() {
    let server = Server::shared().await;
    let ground = Ground::new(&server).await;
    let requests = client_bodies().flat_map(|body| {
        let ground = &ground;
        fields(&body.shape).into_iter().flat_map(move |(pointer, _)| {
            let body = body.clone();
            extreme_values().into_iter().map(move |value| {
                let text = body_with(&body.shape, &pointer, &value);
                let what = format!("{} {pointer} = {value}", body.operation.name());
                (what, request(ground, &body.operation).body(text))
            })
        })
    });
    send_all(requests, keeps_countenance).await;
}

/// Bodies that are no JSON object, or no JSON, or no text.
/// spec: client-server-api/#standard-error-response
/// not on synapse: it answers some of these with 500
#[tokio::test]
async fn wrong_bodies_everywhere() {
    let server = Server::shared().await;
    let ground = Ground::new(&server).await;
    let requests = client_bodies().flat_map(|body| {
        let ground = &ground;
        wrong_bodies().into_iter().map(move |bytes| {
            let what = format!("{} {}", body.operation.name(), String::from_utf8_lossy(&bytes));
            (what, request(ground, &body.operation).body(bytes))
        })
    });
    send_all(requests, keeps_countenance).await;
}

/// Paths whose segments are no identifiers, no text, or numbers out of range.
/// spec: client-server-api/#common-error-codes
/// not on synapse: it answers some of these with 500
#[tokio::test]
async fn wrong_segments_in_every_path() {
    let server = Server::shared().await;
    let ground = Ground::new(&server).await;
    let requests = client_operations().flat_map(|operation| {
        let ground = &ground;
        (0..parameter_count(&operation)).flat_map(move |parameter| {
            let operation = operation.clone();
            WRONG_SEGMENTS.iter().map(move |raw| {
                let path = ground.path_with(&operation, Some(parameter), raw);
                let request = ground.user.request(method(&operation), &path);
                let has_body = !matches!(method(&operation), Method::GET | Method::DELETE);
                let request = if has_body { request.body("{}") } else { request };
                (format!("{} {path}", operation.method), request)
            })
        })
    });
    send_all(requests, keeps_countenance).await;
}

/// Very long identifiers.
/// spec: appendices/#identifier-grammar
/// not on synapse: it answers some of these with 500
#[tokio::test]
async fn long_segments_in_every_path() {
    let server = Server::shared().await;
    let ground = Ground::new(&server).await;
    let long =
        ["x".repeat(300), format!("%21{}", "x".repeat(3_000)), format!("%40{}%3Ax", "y".repeat(3_000))];
    let requests = client_operations().flat_map(|operation| {
        let (ground, long) = (&ground, &long);
        (0..parameter_count(&operation)).flat_map(move |parameter| {
            let operation = operation.clone();
            long.iter().map(move |raw| {
                let path = ground.path_with(&operation, Some(parameter), raw);
                let request = ground.user.request(method(&operation), &path);
                let has_body = !matches!(method(&operation), Method::GET | Method::DELETE);
                let request = if has_body { request.body("{}") } else { request };
                (format!("{} {path}", operation.method), request)
            })
        })
    });
    send_all(requests, keeps_countenance).await;
}

/// Query parameters that are no numbers, no tokens, no text.
/// spec: client-server-api/#standard-error-response
/// not on synapse: it answers some of these with 500
#[tokio::test]
async fn wrong_values_in_every_query() {
    let server = Server::shared().await;
    let ground = Ground::new(&server).await;
    let queries = operations::queries().into_iter().filter(|(operation, _)| operation.api == "client-server");
    let requests = queries.flat_map(|(operation, names)| {
        let ground = &ground;
        names.into_iter().flat_map(move |name| {
            let operation = operation.clone();
            WRONG_QUERIES.iter().map(move |raw| {
                let path = format!("{}?{name}={raw}", ground.path(&operation));
                let request = ground.user.request(method(&operation), &path);
                let request = if method(&operation) == Method::GET { request } else { request.body("{}") };
                (format!("{} {path}", operation.method), request)
            })
        })
    });
    send_all(requests, keeps_countenance).await;
}

/// The same parameter twice, empty names, and a query without end.
/// spec: client-server-api/#standard-error-response
/// covers: GET /_matrix/client/v3/sync
#[tokio::test]
async fn malformed_query_strings() {
    let server = Server::shared().await;
    let ground = Ground::new(&server).await;
    let long = format!("filter={}", "x".repeat(6_000));
    let queries = ["&&&", "=", "=x", "timeout", "timeout=0&timeout=1", "%", "?", "a=b=c", "%00=%00", &long];
    let requests = queries.iter().map(|query| {
        let path = format!("/v3/sync?{query}");
        (path.clone(), ground.user.get(&path))
    });
    send_all(requests, |answer| match answer.status {
        // Too long an address may be refused before it is anybody's request.
        414 | 431 => Ok(()),
        _ => keeps_countenance(answer),
    })
    .await;
}
