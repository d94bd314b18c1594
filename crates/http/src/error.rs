//! The standard error response.

use std::{borrow::Cow, error::Error as StdError, fmt, time::Duration};

use axum::response::{IntoResponse, Response};
use http::{HeaderValue, StatusCode, header};
use serde_json::{Map, Value};

use crate::request_id;

/// The key of the body (and the source of the `Retry-After` header) that tells a client when to come back.
const RETRY_AFTER_MS: &str = "retry_after_ms";

/// An error as a client sees it: a status, an `errcode`, and a sentence for people.
#[derive(Debug)]
pub struct ApiError {
    /// The HTTP status.
    pub status: StatusCode,
    /// The `errcode` of the body. Empty for answers that are not errors in the usual sense, such as the 401 that asks
    /// for another stage of user-interactive authentication.
    pub errcode: Cow<'static, str>,
    /// The `error` of the body: what went wrong, for people.
    pub message: String,
    /// Further keys of the body.
    pub extra: Option<Map<String, Value>>,
}

impl ApiError {
    /// An error with any status and code.
    pub fn new(
        status: StatusCode,
        errcode: impl Into<Cow<'static, str>>,
        message: impl Into<String>,
    ) -> Self {
        Self { status, errcode: errcode.into(), message: message.into(), extra: None }
    }

    /// 403 `M_FORBIDDEN`: the user may not do this.
    pub fn forbidden(message: impl Into<String>) -> Self {
        Self::new(StatusCode::FORBIDDEN, "M_FORBIDDEN", message)
    }

    /// 404 `M_NOT_FOUND`: there is no such thing, or the user may not know of it.
    pub fn not_found(message: impl Into<String>) -> Self {
        Self::new(StatusCode::NOT_FOUND, "M_NOT_FOUND", message)
    }

    /// 400 `M_BAD_JSON`: JSON, but not what the endpoint expects.
    pub fn bad_json(message: impl Into<String>) -> Self {
        Self::new(StatusCode::BAD_REQUEST, "M_BAD_JSON", message)
    }

    /// 400 `M_NOT_JSON`: the body is not JSON.
    pub fn not_json(message: impl Into<String>) -> Self {
        Self::new(StatusCode::BAD_REQUEST, "M_NOT_JSON", message)
    }

    /// 400 `M_INVALID_PARAM`: a parameter has a value that cannot be used.
    pub fn invalid_param(message: impl Into<String>) -> Self {
        Self::new(StatusCode::BAD_REQUEST, "M_INVALID_PARAM", message)
    }

    /// 400 `M_MISSING_PARAM`: a required parameter is absent.
    pub fn missing_param(message: impl Into<String>) -> Self {
        Self::new(StatusCode::BAD_REQUEST, "M_MISSING_PARAM", message)
    }

    /// 404 `M_UNRECOGNIZED`: no such endpoint here.
    pub fn unrecognized() -> Self {
        Self::new(StatusCode::NOT_FOUND, "M_UNRECOGNIZED", "Unrecognized request")
    }

    /// 413 `M_TOO_LARGE`: the body, an event or a field is too big.
    pub fn too_large(message: impl Into<String>) -> Self {
        Self::new(StatusCode::PAYLOAD_TOO_LARGE, "M_TOO_LARGE", message)
    }

    /// 401 `M_MISSING_TOKEN`: the endpoint needs an access token and the request has none.
    pub fn missing_token() -> Self {
        Self::new(StatusCode::UNAUTHORIZED, "M_MISSING_TOKEN", "Missing access token")
    }

    /// 401 `M_UNKNOWN_TOKEN`. `soft_logout` tells the client to keep its session data and log in or refresh again.
    pub fn unknown_token(message: impl Into<String>, soft_logout: bool) -> Self {
        Self::new(StatusCode::UNAUTHORIZED, "M_UNKNOWN_TOKEN", message).with("soft_logout", soft_logout)
    }

    /// 429 `M_LIMIT_EXCEEDED`, with `retry_after_ms` and the `Retry-After` header.
    pub fn limit_exceeded(retry_after: Duration) -> Self {
        let retry_after_ms = u64::try_from(retry_after.as_millis()).unwrap_or(u64::MAX).max(1);
        Self::new(StatusCode::TOO_MANY_REQUESTS, "M_LIMIT_EXCEEDED", "Too many requests")
            .with(RETRY_AFTER_MS, retry_after_ms)
    }

    /// 500 `M_UNKNOWN`: our fault. The cause and what caused it are logged here, once; the client learns only the
    /// request id to report.
    pub fn internal(cause: impl Into<Box<dyn StdError + Send + Sync>>) -> Self {
        let cause = cause.into();
        tracing::error!(error = %Chain(cause.as_ref()), "request failed");
        Self::internal_unlogged()
    }

    /// As [`ApiError::internal`], for a failure that the caller has logged itself (a panic, for example).
    pub fn internal_unlogged() -> Self {
        Self::new(StatusCode::INTERNAL_SERVER_ERROR, "M_UNKNOWN", internal_message())
    }

    /// An answer whose body is exactly `body`: the 401 of user-interactive authentication.
    pub fn from_body(status: StatusCode, body: Map<String, Value>) -> Self {
        Self { status, errcode: Cow::Borrowed(""), message: String::new(), extra: Some(body) }
    }

    /// Adds a key to the body.
    #[must_use]
    pub fn with(mut self, key: impl Into<String>, value: impl Into<Value>) -> Self {
        self.extra.get_or_insert_default().insert(key.into(), value.into());
        self
    }

    /// The same error with another status.
    #[must_use]
    pub fn with_status(mut self, status: StatusCode) -> Self {
        self.status = status;
        self
    }

    /// The body of the response.
    pub fn body(&self) -> Value {
        let mut body = self.extra.clone().unwrap_or_default();
        if !self.errcode.is_empty() {
            body.insert("errcode".to_owned(), self.errcode.as_ref().into());
            body.insert("error".to_owned(), self.message.as_str().into());
        }
        if self.status.is_server_error()
            && let Some(id) = request_id::current()
        {
            body.insert("request_id".to_owned(), id.to_string().into());
        }
        Value::Object(body)
    }
}

fn internal_message() -> String {
    match request_id::current() {
        Some(id) => format!("Internal server error (request {id})"),
        None => "Internal server error".to_owned(),
    }
}

impl fmt::Display for ApiError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} {}: {}", self.status.as_u16(), self.errcode, self.message)
    }
}

impl StdError for ApiError {}

impl IntoResponse for ApiError {
    fn into_response(self) -> Response {
        let mut response = json_response(self.status, &self.body());
        if let Some(retry_after_ms) =
            self.extra.as_ref().and_then(|extra| extra.get(RETRY_AFTER_MS)).and_then(Value::as_u64)
        {
            response
                .headers_mut()
                .insert(header::RETRY_AFTER, HeaderValue::from(retry_after_ms.div_ceil(1000)));
        }
        response
    }
}

/// A JSON response that no cache may keep.
pub fn json_response(status: StatusCode, body: &Value) -> Response {
    let headers = [
        (header::CONTENT_TYPE, HeaderValue::from_static("application/json")),
        (header::CACHE_CONTROL, HeaderValue::from_static("no-store")),
    ];
    (status, headers, body.to_string()).into_response()
}

/// Shows an error followed by its causes.
pub struct Chain<'a>(pub &'a (dyn StdError + 'static));

impl fmt::Display for Chain<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}", self.0)?;
        let mut cause = self.0.source();
        while let Some(error) = cause {
            write!(f, ": {error}")?;
            cause = error.source();
        }
        Ok(())
    }
}

impl fmt::Debug for Chain<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

#[cfg(test)]
mod tests {
    use http_body_util::BodyExt;

    use super::*;

    async fn body_of(error: ApiError) -> Value {
        let bytes = error.into_response().into_body().collect().await.unwrap().to_bytes();
        serde_json::from_slice(&bytes).unwrap()
    }

    #[tokio::test]
    async fn error_body_has_code_message_and_extra_keys() {
        let body = body_of(ApiError::unknown_token("Token expired", true)).await;

        assert_eq!(
            body,
            serde_json::json!({ "errcode": "M_UNKNOWN_TOKEN", "error": "Token expired", "soft_logout": true })
        );
    }

    #[tokio::test]
    async fn uia_body_is_left_as_it_is() {
        let challenge = serde_json::json!({ "session": "abc", "flows": [] });
        let Value::Object(map) = challenge.clone() else { unreachable!() };

        assert_eq!(body_of(ApiError::from_body(StatusCode::UNAUTHORIZED, map)).await, challenge);
    }

    #[test]
    fn limit_exceeded_rounds_the_header_up_to_whole_seconds() {
        let response = ApiError::limit_exceeded(Duration::from_millis(1_200)).into_response();

        assert_eq!(response.status(), StatusCode::TOO_MANY_REQUESTS);
        assert_eq!(response.headers()[header::RETRY_AFTER], "2");
    }

    #[tokio::test]
    async fn internal_error_names_the_request_and_hides_the_cause() {
        let id = crate::RequestId::generate();

        let body =
            request_id::scope(id, async { body_of(ApiError::internal("the disk is full")).await }).await;

        assert_eq!(body["request_id"], id.to_string());
        assert!(!body.to_string().contains("disk"));
    }

    #[test]
    fn chain_lists_causes_in_order() {
        #[derive(Debug, thiserror::Error)]
        #[error("cannot save")]
        struct Outer(#[source] std::io::Error);

        let error = Outer(std::io::Error::other("disk full"));

        assert_eq!(Chain(&error).to_string(), "cannot save: disk full");
    }
}
