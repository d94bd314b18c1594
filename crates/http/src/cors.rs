//! Cross-origin headers, so that web clients served from anywhere can talk to the server.
//!
//! <https://spec.matrix.org/v1.19/client-server-api/#web-browser-clients>

use axum::{
    extract::Request,
    middleware::Next,
    response::{IntoResponse, Response},
};
use http::{HeaderName, HeaderValue, Method, StatusCode, header};

const HEADERS: [(HeaderName, &str); 5] = [
    (header::ACCESS_CONTROL_ALLOW_ORIGIN, "*"),
    (header::ACCESS_CONTROL_ALLOW_METHODS, "GET, HEAD, POST, PUT, DELETE, PATCH, OPTIONS"),
    (header::ACCESS_CONTROL_ALLOW_HEADERS, "X-Requested-With, Content-Type, Authorization, Date"),
    // Scripts see only a few headers of an answer unless told; these two are what a client can act on or report.
    (header::ACCESS_CONTROL_EXPOSE_HEADERS, "Retry-After, X-Request-Id"),
    (header::ACCESS_CONTROL_MAX_AGE, "86400"),
];

/// Middleware that answers every `OPTIONS` request itself and puts the headers on every other answer.
pub async fn layer(request: Request, next: Next) -> Response {
    let mut response = if request.method() == Method::OPTIONS {
        StatusCode::NO_CONTENT.into_response()
    } else {
        next.run(request).await
    };
    for (name, value) in HEADERS {
        response.headers_mut().entry(name).or_insert(HeaderValue::from_static(value));
    }
    response
}
