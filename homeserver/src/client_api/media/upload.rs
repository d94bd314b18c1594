//! `POST /_matrix/media/v3/upload`, `POST /_matrix/media/v1/create` and `PUT /_matrix/media/v3/upload/{serverName}/{mediaId}`

use axum::{
    body::Body,
    extract::{Request, State},
};
use hs_http::{ApiError, JsonReply, PathArgs, QueryArgs};
use http::{
    HeaderMap, StatusCode,
    header::{CONTENT_LENGTH, CONTENT_TYPE},
};
use media_repo::{CreateError, MediaUri, Upload, UploadError};
use serde::Deserialize;
use serde_json::{Value, json};

use super::MediaServices;
use crate::client_api::auth::Session;

/// The longest name that is kept.
const MAX_NAME_BYTES: usize = 1024;

#[derive(Debug, Deserialize)]
pub(super) struct Query {
    filename: Option<String>,
}

impl Query {
    fn name(&self) -> Option<&str> {
        let name = self.filename.as_deref().filter(|name| !name.is_empty())?;
        Some(&name[..name.floor_char_boundary(MAX_NAME_BYTES)])
    }
}

/// `POST /_matrix/media/v3/upload`
pub(super) async fn post(
    session: Session,
    State(media): State<MediaServices>,
    QueryArgs(query): QueryArgs<Query>,
    request: Request,
) -> Result<JsonReply<Value>, ApiError> {
    check(&session, &media)?;
    let (parts, body) = request.into_parts();
    let content_type = content_type(&parts.headers);
    let upload = Upload {
        user: session.user,
        content_type: content_type.as_deref(),
        file_name: query.name(),
        length: length(&parts.headers),
    };
    let uri = media.repository.upload(upload, chunks(body)).await.map_err(upload_error)?;
    Ok(JsonReply(json!({ "content_uri": uri.to_string() })))
}

/// `PUT /_matrix/media/v3/upload/{serverName}/{mediaId}`
pub(super) async fn put(
    session: Session,
    State(media): State<MediaServices>,
    PathArgs((server, id)): PathArgs<(String, String)>,
    QueryArgs(query): QueryArgs<Query>,
    request: Request,
) -> Result<JsonReply<Value>, ApiError> {
    check(&session, &media)?;
    let uri = MediaUri::from_parts(&server, &id).ok_or_else(|| upload_error(UploadError::UnknownId))?;
    let (parts, body) = request.into_parts();
    let content_type = content_type(&parts.headers);
    let upload = Upload {
        user: session.user,
        content_type: content_type.as_deref(),
        file_name: query.name(),
        length: length(&parts.headers),
    };
    media.repository.upload_to(&uri, upload, chunks(body)).await.map_err(upload_error)?;
    Ok(JsonReply(json!({})))
}

/// `POST /_matrix/media/v1/create`
pub(super) async fn create(
    session: Session,
    State(media): State<MediaServices>,
) -> Result<JsonReply<Value>, ApiError> {
    check(&session, &media)?;
    let (uri, expires_at) = media.repository.create(session.user).await.map_err(|error| match error {
        CreateError::TooMany { retry_after } => {
            let mut error = ApiError::limit_exceeded(retry_after);
            "You have too many media ids that nothing was uploaded under".clone_into(&mut error.message);
            error
        }
        CreateError::Failure(error) => ApiError::internal(error),
    })?;
    Ok(JsonReply(json!({ "content_uri": uri.to_string(), "unused_expires_at": expires_at })))
}

fn check(session: &Session, media: &MediaServices) -> Result<(), ApiError> {
    session.must_not_be_guest()?;
    session.must_not_be_suspended()?;
    Ok(media.limits.uploads.check(session.user)?)
}

fn chunks(body: Body) -> axum::body::BodyDataStream {
    body.into_data_stream()
}

/// The type of a file. What is no text counts as missing.
fn content_type(headers: &HeaderMap) -> Option<String> {
    headers.get(CONTENT_TYPE)?.to_str().ok().map(str::to_owned)
}

fn length(headers: &HeaderMap) -> Option<u64> {
    headers.get(CONTENT_LENGTH)?.to_str().ok()?.parse().ok()
}

fn upload_error(error: UploadError) -> ApiError {
    let message = error.to_string();
    match error {
        UploadError::TooLarge { .. } => ApiError::too_large(message),
        UploadError::QuotaExceeded | UploadError::Blocked | UploadError::OfAnother => {
            ApiError::forbidden(message)
        }
        UploadError::UnknownId => ApiError::not_found(message),
        UploadError::Taken => ApiError::new(StatusCode::CONFLICT, "M_CANNOT_OVERWRITE_MEDIA", message),
        UploadError::Broken => ApiError::new(StatusCode::BAD_REQUEST, "M_UNKNOWN", message),
        UploadError::Failure(failure) => ApiError::internal(failure),
    }
}
