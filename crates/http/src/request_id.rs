//! A random id per request: in the log span, in the `X-Request-Id` header, and in the body of internal errors.
//!
//! Ids sent by clients or proxies are ignored: whoever reads the log must be able to trust that one id is one request.

use std::fmt;

use axum::{extract::Request, middleware::Next, response::Response};
use http::{HeaderName, HeaderValue};
use tracing::Instrument;

/// The response header that carries the id.
pub const X_REQUEST_ID: HeaderName = HeaderName::from_static("x-request-id");

tokio::task_local! {
    static CURRENT: RequestId;
}

/// The id of one request, shown as 16 hexadecimal digits.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct RequestId(u64);

impl RequestId {
    /// A new random id.
    pub fn generate() -> Self {
        Self(rand::random())
    }
}

impl fmt::Display for RequestId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:016x}", self.0)
    }
}

/// The id of the request that the current task is answering, if it is answering one.
pub fn current() -> Option<RequestId> {
    CURRENT.try_with(|id| *id).ok()
}

/// Runs `future` as part of the request `id`, for work that is spawned off the request's own task.
pub async fn scope<F: Future>(id: RequestId, future: F) -> F::Output {
    CURRENT.scope(id, future).await
}

/// Middleware that gives each request an id and a log span. The outermost layer, so that everything below has both.
pub async fn layer(mut request: Request, next: Next) -> Response {
    let id = RequestId::generate();
    // The path can name a room or a user, which operators need; the query can hold an access token, which nobody does.
    let span = tracing::info_span!(
        "request",
        request_id = %id,
        method = %request.method(),
        path = request.uri().path(),
    );
    request.extensions_mut().insert(id);
    let mut response = scope(id, next.run(request)).instrument(span).await;
    if let Ok(value) = HeaderValue::from_str(&id.to_string()) {
        response.headers_mut().insert(X_REQUEST_ID, value);
    }
    response
}
