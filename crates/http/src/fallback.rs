//! Answers for what no handler answers: unknown paths, wrong methods, and handlers that panic.

use std::{
    any::Any,
    future::{Ready, ready},
    panic::AssertUnwindSafe,
};

use axum::{
    extract::Request,
    middleware::Next,
    response::{IntoResponse, Response},
};
use futures_util::FutureExt;
use http::StatusCode;

use crate::ApiError;

/// 404 `M_UNRECOGNIZED`, for `Router::fallback`.
pub fn unknown_route() -> Ready<ApiError> {
    ready(ApiError::unrecognized())
}

/// 405 `M_UNRECOGNIZED`, for `Router::method_not_allowed_fallback`.
pub fn wrong_method() -> Ready<ApiError> {
    ready(ApiError::unrecognized().with_status(StatusCode::METHOD_NOT_ALLOWED))
}

/// Middleware that turns a panic below it into a 500 and one line in the log.
pub async fn catch_panic(request: Request, next: Next) -> Response {
    // Whatever the handler left half done is dropped with its future; shared state is behind locks that do not poison.
    match AssertUnwindSafe(next.run(request)).catch_unwind().await {
        Ok(response) => response,
        Err(panic) => {
            tracing::error!(panic = panic_message(panic.as_ref()), "request handler panicked");
            ApiError::internal_unlogged().into_response()
        }
    }
}

fn panic_message(panic: &(dyn Any + Send)) -> &str {
    if let Some(message) = panic.downcast_ref::<String>() {
        message
    } else if let Some(message) = panic.downcast_ref::<&'static str>() {
        message
    } else {
        "(no message)"
    }
}
