//! Answers that are files.

use std::{convert::Infallible, ops::Range};

use axum::{
    body::Body,
    extract::FromRequestParts,
    response::{IntoResponse as _, Response},
};
use hs_http::ApiError;
use hs_storage::media::BlobRecord;
use http::{HeaderMap, HeaderName, HeaderValue, Method, StatusCode, header, request::Parts};
use media_repo::{
    FindError, Repository,
    content::{CACHE_PRIVATE, CACHE_PUBLIC, Ranged, SECURITY_HEADERS, etag, if_none_match, if_range, range},
    ports::FetchError,
    store::Link,
};

/// What a request wants of a file.
#[derive(Debug)]
pub(crate) struct Wanted {
    headers: HeaderMap,
    is_head: bool,
}

impl<S: Send + Sync> FromRequestParts<S> for Wanted {
    type Rejection = Infallible;

    async fn from_request_parts(parts: &mut Parts, _: &S) -> Result<Self, Infallible> {
        Ok(Self { headers: parts.headers.clone(), is_head: parts.method == Method::HEAD })
    }
}

/// A file to be handed out.
#[derive(Clone, Copy, Debug)]
pub(crate) struct FileAnswer<'a> {
    /// Its content.
    pub(crate) blob: &'a BlobRecord,
    /// Its type.
    pub(crate) content_type: &'a str,
    /// Its `Content-Disposition`.
    pub(crate) disposition: &'a str,
    /// Whether anybody may have it, and caches between may keep it.
    pub(crate) is_public: bool,
    /// Whether the client can be sent to where the file lies.
    pub(crate) may_redirect: bool,
}

impl FileAnswer<'_> {
    /// Hands out what a request wants of it.
    pub(crate) async fn respond(
        self,
        repository: &Repository,
        Wanted { headers, is_head }: &Wanted,
    ) -> Result<Response, ApiError> {
        let tag = etag(&self.blob.hash);
        let size = self.blob.size;
        if if_none_match(text(headers, header::IF_NONE_MATCH), &tag) {
            return Ok(self.headed(StatusCode::NOT_MODIFIED, &tag, Body::empty()));
        }
        // A link is good for one method.
        if self.may_redirect
            && !is_head
            && let Some(response) = self.redirect(repository).await?
        {
            return Ok(response);
        }
        let wanted = text(headers, header::RANGE).filter(|_| if_range(text(headers, header::IF_RANGE), &tag));
        let (status, part, content_range) = match range(wanted, size) {
            Ranged::Whole => (StatusCode::OK, 0..size, None),
            Ranged::Part(part) => {
                (StatusCode::PARTIAL_CONTENT, part.start..part.end, Some(part.content_range(size)))
            }
            Ranged::Unsatisfiable => {
                let mut response = self.headed(StatusCode::RANGE_NOT_SATISFIABLE, &tag, Body::empty());
                put(&mut response, header::CONTENT_RANGE, &format!("bytes */{size}"));
                return Ok(response);
            }
        };
        let length = part.end - part.start;
        let body = if *is_head { Body::empty() } else { self.body(repository, part).await? };
        let mut response = self.headed(status, &tag, body);
        put(&mut response, header::CONTENT_LENGTH, &length.to_string());
        if let Some(content_range) = content_range {
            put(&mut response, header::CONTENT_RANGE, &content_range);
        }
        Ok(response)
    }

    async fn redirect(&self, repository: &Repository) -> Result<Option<Response>, ApiError> {
        let link = Link {
            content_type: self.content_type,
            disposition: self.disposition,
            cache_control: self.cache_control(),
        };
        let link = repository.files().link(self.blob, link).await.map_err(ApiError::internal)?;
        Ok(link.map(|link| {
            // The link ends sooner than what it leads to.
            let headers = [(header::LOCATION, link.as_str()), (header::CACHE_CONTROL, "no-store")];
            (StatusCode::TEMPORARY_REDIRECT, headers).into_response()
        }))
    }

    fn cache_control(&self) -> &'static str {
        if self.is_public { CACHE_PUBLIC } else { CACHE_PRIVATE }
    }

    async fn body(&self, repository: &Repository, part: Range<u64>) -> Result<Body, ApiError> {
        let stream = repository.read(self.blob, part).await.map_err(find_error)?;
        Ok(Body::from_stream(stream))
    }

    fn headed(&self, status: StatusCode, tag: &str, body: Body) -> Response {
        let mut response = (status, body).into_response();
        put(&mut response, header::CONTENT_TYPE, self.content_type);
        put(&mut response, header::CONTENT_DISPOSITION, self.disposition);
        put(&mut response, header::CACHE_CONTROL, self.cache_control());
        put(&mut response, header::ETAG, tag);
        put(&mut response, header::ACCEPT_RANGES, "bytes");
        for (name, value) in SECURITY_HEADERS {
            put(&mut response, HeaderName::from_static(name), value);
        }
        response
    }
}

fn put(response: &mut Response, name: HeaderName, value: &str) {
    // What stands in these headers was made to fit; a value that does not is left out.
    if let Ok(value) = HeaderValue::from_str(value) {
        response.headers_mut().insert(name, value);
    }
}

fn text(headers: &HeaderMap, name: HeaderName) -> Option<&str> {
    headers.get(name)?.to_str().ok()
}

/// Why media are not handed out, as clients and servers are told.
pub(crate) fn find_error(error: FindError) -> ApiError {
    let message = error.to_string();
    match error {
        FindError::NotFound | FindError::Remote(FetchError::NotFound | FetchError::Denied) => {
            ApiError::not_found(message)
        }
        FindError::NotYetUploaded | FindError::Remote(FetchError::NotYetUploaded) => {
            ApiError::new(StatusCode::GATEWAY_TIMEOUT, "M_NOT_YET_UPLOADED", message)
        }
        FindError::Remote(FetchError::TooLarge) => {
            ApiError::new(StatusCode::BAD_GATEWAY, "M_TOO_LARGE", message)
        }
        FindError::Remote(FetchError::LimitExceeded(after)) => {
            ApiError::limit_exceeded(after.unwrap_or(std::time::Duration::from_secs(1)))
        }
        FindError::Remote(FetchError::Failed(why)) => {
            tracing::debug!(why, "media could not be fetched");
            ApiError::new(
                StatusCode::BAD_GATEWAY,
                "M_UNKNOWN",
                "The server that the file comes from does not give it",
            )
        }
        FindError::Failure(failure) => ApiError::internal(failure),
    }
}
