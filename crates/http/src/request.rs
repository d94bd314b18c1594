//! Reading a request as one of ruma's types.

use axum::{
    body::Body,
    extract::{FromRequest, FromRequestParts, RawPathParams, Request},
};
use bytes::Bytes;
use http::{Method, header::CONTENT_TYPE, request::Parts};
use ruma::api::{
    IncomingRequest, IncomingRequestExt, Metadata,
    error::{DeserializationError, FromHttpRequestError},
    path_builder::PathBuilder,
};

use crate::{ApiError, body};

/// The default limit for a body: larger than any event, small enough to buffer for every connection.
const DEFAULT_MAX_BODY_BYTES: usize = 1024 * 1024;

/// No id in Matrix is longer than 255 bytes. Some parameters (transaction ids) have no limit of their own; beyond this
/// one they could not be indexed.
const MAX_PATH_ARG_BYTES: usize = 2048;

/// What a route expects of its bodies. Set with `RouterExt::ruma_route_with`, read by [`Args`].
#[derive(Clone, Copy, Debug)]
pub struct RouteOptions {
    /// A larger body is answered with 413 `M_TOO_LARGE`.
    pub max_body_bytes: usize,
    /// Whether strings of the body may hold U+0000. Only for routes that keep the body as opaque JSON text, since
    /// Postgres stores no such string.
    pub allow_nul: bool,
    /// Whether no body at all is refused rather than taken for `{}`.
    pub requires_body: bool,
}

impl Default for RouteOptions {
    fn default() -> Self {
        Self { max_body_bytes: DEFAULT_MAX_BODY_BYTES, allow_nul: false, requires_body: false }
    }
}

impl RouteOptions {
    /// For content that is kept as JSON text: events, account data.
    pub const OPAQUE_JSON: Self =
        Self { max_body_bytes: DEFAULT_MAX_BODY_BYTES, allow_nul: true, requires_body: true };
}

/// A request of ruma's type `T`. The last argument of a handler, since it takes the body.
///
/// An empty body counts as `{}` unless the route says otherwise: many clients send none where the specification has an object without required keys.
#[derive(Clone, Debug)]
pub struct Args<T>(pub T);

impl<T, S> FromRequest<S> for Args<T>
where
    T: IncomingRequest,
    S: Send + Sync,
{
    type Rejection = ApiError;

    async fn from_request(request: Request, state: &S) -> Result<Self, ApiError> {
        RawArgs::read::<T, S>(request, state).await?.parse().map(Self)
    }
}

/// A request with its body, before it becomes one of ruma's types: for extractors that check what was sent as it was sent.
#[derive(Clone, Debug)]
pub struct RawArgs {
    /// Everything but the body.
    pub parts: Parts,
    /// The body; `{}` where there is none.
    pub body: Bytes,
    /// Whether there was a body.
    pub has_body: bool,
    path_args: Vec<String>,
}

impl RawArgs {
    /// Reads the body of a request that is to become a `T`, within the limits of its route.
    pub async fn read<T: Metadata, S: Send + Sync>(request: Request, state: &S) -> Result<Self, ApiError> {
        let (mut parts, body) = request.into_parts();
        let options = parts.extensions.get::<RouteOptions>().copied().unwrap_or_default();
        let params = RawPathParams::from_request_parts(&mut parts, state)
            .await
            .map_err(|_| ApiError::invalid_param("The path is not valid UTF-8"))?;
        let path_args = path_args::<T>(&params)?;
        check_query(&parts.uri)?;
        let (body, has_body) = read_body::<T>(body, options).await?;
        Ok(Self { parts, body, has_body, path_args })
    }

    /// Makes it a `T`.
    pub fn parse<T: IncomingRequest>(mut self) -> Result<T, ApiError> {
        // Content types are not checked: clients send all sorts, and every body of these endpoints is JSON.
        self.parts.headers.remove(CONTENT_TYPE);
        let request = http::Request::from_parts(self.parts, self.body.as_ref());
        let path_args: Vec<&str> = self.path_args.iter().map(String::as_str).collect();
        T::try_from_http_request(request, &path_args).map_err(rejection)
    }
}

/// An extractor of one of ruma's requests, which takes the body: the last argument of a handler.
pub trait RequestArgs {
    /// The type of the request.
    type Request: IncomingRequest;
}

impl<T: IncomingRequest> RequestArgs for Args<T> {
    type Request = T;
}

/// The body as JSON text, and whether there is one; `{}` where there is none.
async fn read_body<T: Metadata>(body: Body, options: RouteOptions) -> Result<(Bytes, bool), ApiError> {
    if matches!(T::METHOD, Method::GET) {
        return Ok((body::EMPTY_OBJECT, false));
    }
    let body = body::read_json(body, options).await?;
    // An empty body comes back as that very text.
    let has_body = body.as_ptr() != body::EMPTY_OBJECT.as_ptr();
    Ok((body, has_body))
}

/// Refuses what a Postgres `TEXT` column cannot hold.
pub(crate) fn check_query(uri: &http::Uri) -> Result<(), ApiError> {
    if uri.query().is_some_and(|query| query.contains("%00")) {
        return Err(ApiError::invalid_param("The query holds the character U+0000"));
    }
    Ok(())
}

/// Refuses what a Postgres `TEXT` column or an index cannot hold.
pub(crate) fn check_path_arg(arg: &str) -> Result<(), ApiError> {
    if arg.contains('\0') {
        return Err(ApiError::invalid_param("The path holds the character U+0000"));
    }
    if arg.len() > MAX_PATH_ARG_BYTES {
        return Err(ApiError::too_large("A parameter in the path is too long"));
    }
    Ok(())
}

/// The arguments of the path, in order. A route registered under a path that leaves the last one off (an empty state
/// key) gets it as an empty string.
fn path_args<T: Metadata>(params: &RawPathParams) -> Result<Vec<String>, ApiError> {
    let expected = T::PATH_BUILDER.all_paths().next().map_or(0, |path| path.matches('{').count());
    let mut args: Vec<String> = params.iter().map(|(_, value)| value.to_owned()).collect();
    args.iter().try_for_each(|arg| check_path_arg(arg))?;
    while args.len() < expected {
        args.push(String::new());
    }
    Ok(args)
}

fn rejection(error: FromHttpRequestError) -> ApiError {
    let FromHttpRequestError::Deserialization(error) = error else {
        return ApiError::unrecognized().with_status(http::StatusCode::METHOD_NOT_ALLOWED);
    };
    match error {
        DeserializationError::Utf8(error) => ApiError::not_json(error.to_string()),
        DeserializationError::Json(error) => ApiError::bad_json(error.to_string()),
        DeserializationError::Query(error) => {
            let message = error.to_string();
            if message.starts_with("missing field") {
                ApiError::missing_param(message)
            } else {
                ApiError::invalid_param(message)
            }
        }
        other => ApiError::invalid_param(other.to_string()),
    }
}

#[cfg(test)]
mod tests;
