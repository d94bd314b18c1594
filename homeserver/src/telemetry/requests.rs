//! Counts and times requests by route.

use std::time::Instant;

use axum::{
    extract::{MatchedPath, Request},
    middleware::Next,
    response::Response,
};
use http::Method;
use metrics::{counter, gauge, histogram};

/// Middleware that counts and times requests. Below the router, so that the route is known: its pattern is a label,
/// while paths would be without end.
pub async fn measure(request: Request, next: Next) -> Response {
    let method = method_label(request.method());
    let route = request
        .extensions()
        .get::<MatchedPath>()
        .map_or_else(|| "unmatched".to_owned(), |path| path.as_str().to_owned());
    let in_flight = InFlight::begin();
    let started_at = Instant::now();
    let response = next.run(request).await;
    drop(in_flight);
    let elapsed = started_at.elapsed();
    let status = response.status();
    histogram!("kith_http_request_duration_seconds", "method" => method, "route" => route.clone())
        .record(elapsed.as_secs_f64());
    counter!(
        "kith_http_requests_total",
        "method" => method, "route" => route, "status" => status.as_str().to_owned(),
    )
    .increment(1);
    tracing::debug!(status = status.as_u16(), elapsed_ms = elapsed.as_millis() as u64, "answered");
    response
}

/// Methods are free text to a client, and labels must not be.
fn method_label(method: &Method) -> &'static str {
    match *method {
        Method::GET => "GET",
        Method::HEAD => "HEAD",
        Method::POST => "POST",
        Method::PUT => "PUT",
        Method::DELETE => "DELETE",
        Method::OPTIONS => "OPTIONS",
        _ => "other",
    }
}

/// Counts a request for as long as it is being answered, also when the client leaves and the handler is dropped.
struct InFlight;

impl InFlight {
    fn begin() -> Self {
        gauge!("kith_http_requests_in_flight").increment(1.0);
        Self
    }
}

impl Drop for InFlight {
    fn drop(&mut self) {
        gauge!("kith_http_requests_in_flight").decrement(1.0);
    }
}
