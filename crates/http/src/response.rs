//! Writing one of ruma's types, or any JSON, as a response.

use axum::{
    body::Body,
    response::{IntoResponse, Response},
};
use bytes::BytesMut;
use http::{HeaderValue, header};
use ruma::api::{OutgoingResponse, OutgoingResponseExt};
use serde::Serialize;

use crate::ApiError;

/// A response of ruma's type `T`.
#[derive(Clone, Debug)]
pub struct Reply<T>(pub T);

impl<T: OutgoingResponse> IntoResponse for Reply<T> {
    fn into_response(self) -> Response {
        match self.0.try_into_http_response::<BytesMut>() {
            Ok(response) => {
                let mut response = response.map(|body| Body::from(body.freeze()));
                // Answers are about one user at one moment, and some proxies cache whatever does not forbid it.
                response
                    .headers_mut()
                    .entry(header::CACHE_CONTROL)
                    .or_insert(HeaderValue::from_static("no-store"));
                response
            }
            Err(error) => ApiError::internal(error).into_response(),
        }
    }
}

/// A response with any JSON, where ruma has no fitting type.
#[derive(Clone, Debug)]
pub struct JsonReply<T>(pub T);

impl<T: Serialize> IntoResponse for JsonReply<T> {
    fn into_response(self) -> Response {
        match serde_json::to_string(&self.0) {
            Ok(json) => RawJson(json).into_response(),
            Err(error) => ApiError::internal(error).into_response(),
        }
    }
}

/// A response whose JSON is written already.
#[derive(Clone, Debug)]
pub struct RawJson(pub String);

impl IntoResponse for RawJson {
    fn into_response(self) -> Response {
        let headers = [
            (header::CONTENT_TYPE, HeaderValue::from_static("application/json")),
            (header::CACHE_CONTROL, HeaderValue::from_static("no-store")),
        ];
        (headers, self.0).into_response()
    }
}
