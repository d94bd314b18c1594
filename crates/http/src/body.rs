//! Reading a request body, bounded in size, time and depth.

use std::{
    pin::Pin,
    task::{Context, Poll},
    time::Duration,
};

use axum::{
    body::{Body, HttpBody},
    extract::Request,
    middleware::Next,
    response::Response,
};
use bytes::Bytes;
use http::{HeaderValue, Version, header};
use http_body::{Frame, SizeHint};
use http_body_util::{BodyExt, LengthLimitError, Limited};
use serde::de::IgnoredAny;
use tokio::sync::oneshot;

use crate::{ApiError, RouteOptions};

/// How long a client may take to send its body. Generous for a slow phone, too short to hold many requests open.
const BODY_TIMEOUT: Duration = Duration::from_mins(1);

/// How deep JSON may nest. serde_json stops at 128; a body is later read again inside an event inside a response, so
/// the limit here leaves room for the layers around it.
const MAX_JSON_DEPTH: usize = 100;

/// How much of a body that nobody has read is received before the answer, and for how long.
const DRAINED_BYTES: u64 = 16 * 1024 * 1024;
const DRAIN_TIMEOUT: Duration = Duration::from_secs(10);

/// Receives what a handler has left of its request's body.
///
/// A connection whose request was answered without reading its body has to be closed, and a client that is still
/// writing, or sends its next request at that moment, sees it fail instead of the answer. Where the rest of the body is too
/// long to wait for, the client is told that the connection ends.
pub async fn drain_layer(request: Request, next: Next) -> Response {
    if request.body().is_end_stream() {
        return next.run(request).await;
    }
    let version = request.version();
    let (parts, body) = request.into_parts();
    let (lent, rest) = lend(body);
    let mut response = next.run(Request::from_parts(parts, Body::new(lent))).await;
    if !rest.drain().await && version < Version::HTTP_2 {
        response.headers_mut().insert(header::CONNECTION, HeaderValue::from_static("close"));
    }
    response
}

/// A body that comes back when its reader drops it.
struct Lent {
    body: Option<Body>,
    back: Option<oneshot::Sender<Body>>,
}

struct Rest(oneshot::Receiver<Body>);

fn lend(body: Body) -> (Lent, Rest) {
    let (back, rest) = oneshot::channel();
    (Lent { body: Some(body), back: Some(back) }, Rest(rest))
}

impl Drop for Lent {
    fn drop(&mut self) {
        if let (Some(body), Some(back)) = (self.body.take(), self.back.take()) {
            // Nobody waits for it any longer when the whole request was dropped.
            let _ = back.send(body);
        }
    }
}

impl HttpBody for Lent {
    type Data = Bytes;
    type Error = axum::Error;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, axum::Error>>> {
        match &mut self.body {
            Some(body) => Pin::new(body).poll_frame(context),
            None => Poll::Ready(None),
        }
    }

    fn is_end_stream(&self) -> bool {
        self.body.as_ref().is_none_or(HttpBody::is_end_stream)
    }

    fn size_hint(&self) -> SizeHint {
        self.body.as_ref().map_or_else(|| SizeHint::with_exact(0), HttpBody::size_hint)
    }
}

impl Rest {
    /// Reads to the end, and says whether it got there.
    async fn drain(mut self) -> bool {
        // Whoever still has the body reads it.
        let Ok(mut body) = self.0.try_recv() else { return true };
        if body.is_end_stream() {
            return true;
        }
        if body.size_hint().lower() > DRAINED_BYTES {
            return false;
        }
        let drained = async {
            let mut left = DRAINED_BYTES;
            while let Some(frame) = body.frame().await {
                let Ok(frame) = frame else { return false };
                let length = frame.data_ref().map_or(0, Bytes::len) as u64;
                let Some(less) = left.checked_sub(length) else { return false };
                left = less;
            }
            true
        };
        tokio::time::timeout(DRAIN_TIMEOUT, drained).await.unwrap_or(false)
    }
}

/// Reads a body of at most `max_bytes`.
pub(crate) async fn read(body: Body, max_bytes: usize) -> Result<Bytes, ApiError> {
    if body.size_hint().lower() > max_bytes as u64 {
        return Err(ApiError::too_large(format!("The request body is larger than {max_bytes} bytes")));
    }
    let collected = tokio::time::timeout(BODY_TIMEOUT, Limited::new(body, max_bytes).collect()).await;
    match collected {
        Ok(Ok(collected)) => Ok(collected.to_bytes()),
        Ok(Err(error)) if error.is::<LengthLimitError>() => {
            Err(ApiError::too_large(format!("The request body is larger than {max_bytes} bytes")))
        }
        Ok(Err(_)) => Err(ApiError::not_json("The request body ended early")),
        Err(_) => Err(ApiError::new(
            http::StatusCode::REQUEST_TIMEOUT,
            "M_UNKNOWN",
            "The request body took too long to arrive",
        )),
    }
}

/// What no body at all stands for.
pub(crate) const EMPTY_OBJECT: Bytes = Bytes::from_static(b"{}");

/// Reads a body that is one JSON object; `{}` where there is none.
pub(crate) async fn read_json(body: Body, options: RouteOptions) -> Result<Bytes, ApiError> {
    let body = read(body, options.max_body_bytes).await?;
    if body.trim_ascii().is_empty() {
        if options.requires_body {
            return Err(ApiError::not_json("The request has no body: it must be a JSON object"));
        }
        return Ok(EMPTY_OBJECT);
    }
    let nul = if options.allow_nul { Nul::Allowed } else { Nul::Refused };
    check_json_object(&body, nul)?;
    Ok(body)
}

/// Whether a JSON body may hold U+0000, which a Postgres `TEXT` column cannot.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Nul {
    Refused,
    Allowed,
}

/// Checks that `body` is one JSON object within limits, so that what fails after this is the shape of the object.
pub(crate) fn check_json_object(body: &[u8], nul: Nul) -> Result<(), ApiError> {
    let text =
        std::str::from_utf8(body).map_err(|_| ApiError::not_json("The request body is not valid UTF-8"))?;
    serde_json::from_str::<IgnoredAny>(text)
        .map_err(|error| ApiError::not_json(format!("The request body is not JSON: {error}")))?;
    if !text.trim_ascii_start().starts_with('{') {
        return Err(ApiError::bad_json("The request body must be a JSON object"));
    }
    check_depth(body)?;
    check_escapes(body, nul)
}

fn check_depth(body: &[u8]) -> Result<(), ApiError> {
    let (mut depth, mut in_string, mut escaped) = (0_usize, false, false);
    for byte in body {
        match byte {
            _ if escaped => escaped = false,
            b'\\' if in_string => escaped = true,
            b'"' => in_string = !in_string,
            b'{' | b'[' if !in_string => {
                depth += 1;
                if depth > MAX_JSON_DEPTH {
                    return Err(ApiError::bad_json(format!(
                        "The request body nests deeper than {MAX_JSON_DEPTH} levels"
                    )));
                }
            }
            b'}' | b']' if !in_string => depth -= 1,
            _ => {}
        }
    }
    Ok(())
}

/// Refuses lone surrogates, which are no Unicode text, and U+0000 where it may not be. `body` is valid JSON, in which
/// a backslash always starts an escape.
fn check_escapes(body: &[u8], nul: Nul) -> Result<(), ApiError> {
    let mut rest = body;
    while let Some(at) = rest.iter().position(|byte| *byte == b'\\') {
        let escape = &rest[at..];
        let Some(unit) = unicode_escape(escape) else {
            rest = &escape[2..];
            continue;
        };
        rest = &escape[6..];
        match unit {
            0 if nul == Nul::Refused => {
                return Err(ApiError::bad_json("The request body holds the character U+0000"));
            }
            0xD800..=0xDBFF if unicode_escape(rest).is_some_and(|low| (0xDC00..=0xDFFF).contains(&low)) => {
                rest = &rest[6..];
            }
            0xD800..=0xDFFF => {
                return Err(ApiError::bad_json("The request body holds half of a surrogate pair"));
            }
            _ => {}
        }
    }
    Ok(())
}

/// The UTF-16 unit of an escape at the start of `text`: `\u` and four hexadecimal digits.
fn unicode_escape(text: &[u8]) -> Option<u16> {
    let digits = text.strip_prefix(b"\\u")?.get(..4)?;
    u16::from_str_radix(std::str::from_utf8(digits).ok()?, 16).ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn errcode(body: &[u8]) -> String {
        match check_json_object(body, Nul::Refused) {
            Ok(()) => "ok".to_owned(),
            Err(error) => error.errcode.into_owned(),
        }
    }

    #[test]
    fn object_is_accepted() {
        assert_eq!(errcode(br#" {"a": [1, "\\u0000 \ud83d\ude00"]} "#), "ok");
    }

    #[test]
    fn what_is_not_json_is_told_apart_from_what_is_not_an_object() {
        assert_eq!(errcode(b"{"), "M_NOT_JSON");
        assert_eq!(errcode(b"{} x"), "M_NOT_JSON");
        assert_eq!(errcode(b"{\"a\": \"\xff\"}"), "M_NOT_JSON");
        assert_eq!(errcode(b"[]"), "M_BAD_JSON");
        assert_eq!(errcode(b"null"), "M_BAD_JSON");
    }

    #[test]
    fn deep_nesting_is_refused_and_brackets_in_strings_do_not_count() {
        let nested = |depth: usize| format!("{{\"a\":{}{}}}", "[".repeat(depth - 1), "]".repeat(depth - 1));

        assert_eq!(errcode(nested(MAX_JSON_DEPTH).as_bytes()), "ok");
        assert_eq!(errcode(nested(MAX_JSON_DEPTH + 1).as_bytes()), "M_BAD_JSON");
        assert_eq!(errcode(format!("{{\"a\": \"\\\"{}\"}}", "[".repeat(500)).as_bytes()), "ok");
    }

    #[test]
    fn nul_is_refused_unless_allowed() {
        let body = br#"{"a": "x\u0000"}"#;

        assert_eq!(errcode(body), "M_BAD_JSON");
        assert!(check_json_object(body, Nul::Allowed).is_ok());
    }

    #[test]
    fn lone_surrogates_are_refused() {
        assert_eq!(errcode(br#"{"a": "\ud800"}"#), "M_BAD_JSON");
        assert_eq!(errcode(br#"{"a": "\udc00"}"#), "M_BAD_JSON");
        assert_eq!(errcode(br#"{"a": "\ud800\n"}"#), "M_BAD_JSON");
        assert_eq!(errcode(br#"{"a": "\ud800\ud800"}"#), "M_BAD_JSON");
    }
}
