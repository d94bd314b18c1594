//! `GET /_matrix/client/v1/media/preview_url`, and what was there before it

use axum::extract::State;
use hs_http::{ApiError, JsonReply, QueryArgs};
use http::{HeaderMap, StatusCode, header};
use media_repo::preview::{Preview, PreviewError};
use serde::Deserialize;

use super::MediaServices;
use crate::client_api::auth::Session;

#[derive(Debug, Deserialize)]
pub(super) struct Query {
    url: String,
    ts: Option<i64>,
}

pub(super) async fn get(
    session: Session,
    State(media): State<MediaServices>,
    QueryArgs(query): QueryArgs<Query>,
    headers: HeaderMap,
) -> Result<JsonReply<Preview>, ApiError> {
    let previewer = media.previewer.as_ref().ok_or_else(ApiError::unrecognized)?;
    session.must_not_be_guest()?;
    media.limits.fetches.check(session.user)?;
    let languages = headers.get(header::ACCEPT_LANGUAGE).and_then(|value| value.to_str().ok());
    let preview = previewer.preview(&query.url, query.ts, languages).await.map_err(api_error)?;
    Ok(JsonReply(preview))
}

fn api_error(error: PreviewError) -> ApiError {
    let message = error.to_string();
    match error {
        PreviewError::InvalidUrl => ApiError::invalid_param(message),
        PreviewError::Forbidden => ApiError::forbidden(message),
        PreviewError::Unreachable(why) => {
            tracing::debug!(why, "a preview could not be made");
            ApiError::new(StatusCode::BAD_GATEWAY, "M_UNKNOWN", "The page cannot be read")
        }
        PreviewError::Storage(error) => ApiError::internal(error),
    }
}
