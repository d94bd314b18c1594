//! Reading the parts of a request that ruma has no fitting type for.

use axum::{
    Extension,
    extract::{FromRequest, FromRequestParts, Path, Query, Request},
};
use http::request::Parts;
use serde::de::DeserializeOwned;

use crate::{ApiError, ClientIp, RouteOptions, body, request::check_path_arg};

/// A JSON object of the body, read as any type. The last argument of a handler. Limits are those of the route
/// ([`RouteOptions`]); an empty body counts as `{}` unless the route says otherwise.
#[derive(Clone, Debug)]
pub struct JsonBody<T>(pub T);

impl<T: DeserializeOwned, S: Send + Sync> FromRequest<S> for JsonBody<T> {
    type Rejection = ApiError;

    async fn from_request(request: Request, _: &S) -> Result<Self, ApiError> {
        let (parts, body) = request.into_parts();
        let options = parts.extensions.get::<RouteOptions>().copied().unwrap_or_default();
        let body = body::read_json(body, options).await?;
        serde_json::from_slice(&body).map(Self).map_err(|error| ApiError::bad_json(error.to_string()))
    }
}

/// The parameters of the path, read as any type.
#[derive(Clone, Debug)]
pub struct PathArgs<T>(pub T);

impl<T: DeserializeOwned + Send, S: Send + Sync> FromRequestParts<S> for PathArgs<T> {
    type Rejection = ApiError;

    async fn from_request_parts(parts: &mut Parts, state: &S) -> Result<Self, ApiError> {
        let raw = axum::extract::RawPathParams::from_request_parts(parts, state)
            .await
            .map_err(|_| ApiError::invalid_param("The path is not valid UTF-8"))?;
        raw.iter().try_for_each(|(_, value)| check_path_arg(value))?;
        Path::from_request_parts(parts, state)
            .await
            .map(|Path(args)| Self(args))
            .map_err(|error| ApiError::invalid_param(error.body_text()))
    }
}

/// The query, read as any type.
#[derive(Clone, Debug)]
pub struct QueryArgs<T>(pub T);

impl<T: DeserializeOwned, S: Send + Sync> FromRequestParts<S> for QueryArgs<T> {
    type Rejection = ApiError;

    async fn from_request_parts(parts: &mut Parts, _: &S) -> Result<Self, ApiError> {
        crate::request::check_query(&parts.uri)?;
        Query::try_from_uri(&parts.uri)
            .map(|Query(args)| Self(args))
            .map_err(|error| ApiError::invalid_param(error.body_text()))
    }
}

impl<S: Send + Sync> FromRequestParts<S> for ClientIp {
    type Rejection = ApiError;

    async fn from_request_parts(parts: &mut Parts, state: &S) -> Result<Self, ApiError> {
        // The listener's layer puts it there; without one nobody can be told from anybody.
        Extension::<Self>::from_request_parts(parts, state)
            .await
            .map(|Extension(ip)| ip)
            .map_err(ApiError::internal)
    }
}
