//! `GET /_matrix/client/v1/media/download/…` and `…/thumbnail/…`, and the same without a token under `/_matrix/media`.

use std::time::Duration;

use axum::{extract::State, response::Response};
use hs_http::{ApiError, PathArgs, QueryArgs};
use http::StatusCode;
use media_repo::{
    Asker, Find, MediaUri, Picture, PictureError, Repository,
    content::{disposition, served_type, thumbnail_disposition},
    thumbnail::{Method, Spec, ThumbnailError},
};
use serde::Deserialize;

use super::{
    MediaServices,
    answer::{FileAnswer, Wanted, find_error},
};
use crate::client_api::auth::Session;

/// How long to wait for an upload when nobody says how long, and at most.
const DEFAULT_PATIENCE_MS: u64 = 20_000;
const MAX_PATIENCE_MS: u64 = 60_000;
/// The longest side of a thumbnail that anybody can mean.
const MAX_SIDE: u32 = 10_000;

#[derive(Debug, Deserialize)]
pub(super) struct Query {
    timeout_ms: Option<u64>,
    allow_remote: Option<bool>,
    /// For clients from before tokens were needed, which expect no redirect unless they say so.
    allow_redirect: Option<bool>,
}

impl Query {
    fn find(&self, asker: Asker) -> Find {
        Find { asker, patience: patience(self.timeout_ms), may_fetch: self.allow_remote.unwrap_or(true) }
    }

    fn may_redirect(&self, asker: Asker) -> bool {
        asker == Asker::User || self.allow_redirect == Some(true)
    }
}

/// How long to wait for an upload.
pub(crate) fn patience(timeout_ms: Option<u64>) -> Duration {
    Duration::from_millis(timeout_ms.unwrap_or(DEFAULT_PATIENCE_MS).min(MAX_PATIENCE_MS))
}

pub(super) async fn get(
    session: Session,
    State(media): State<MediaServices>,
    PathArgs((server, id)): PathArgs<(String, String)>,
    QueryArgs(query): QueryArgs<Query>,
    wanted: Wanted,
) -> Result<Response, ApiError> {
    limit_fetches(&media, &session, &server)?;
    download(&media.repository, (&server, &id, None), (&query, Asker::User), &wanted).await
}

pub(super) async fn get_named(
    session: Session,
    State(media): State<MediaServices>,
    PathArgs((server, id, name)): PathArgs<(String, String, String)>,
    QueryArgs(query): QueryArgs<Query>,
    wanted: Wanted,
) -> Result<Response, ApiError> {
    limit_fetches(&media, &session, &server)?;
    download(&media.repository, (&server, &id, Some(&name)), (&query, Asker::User), &wanted).await
}

pub(super) async fn get_openly(
    State(media): State<MediaServices>,
    PathArgs((server, id)): PathArgs<(String, String)>,
    QueryArgs(query): QueryArgs<Query>,
    wanted: Wanted,
) -> Result<Response, ApiError> {
    download(&media.repository, (&server, &id, None), (&query, Asker::Anybody), &wanted).await
}

pub(super) async fn get_named_openly(
    State(media): State<MediaServices>,
    PathArgs((server, id, name)): PathArgs<(String, String, String)>,
    QueryArgs(query): QueryArgs<Query>,
    wanted: Wanted,
) -> Result<Response, ApiError> {
    download(&media.repository, (&server, &id, Some(&name)), (&query, Asker::Anybody), &wanted).await
}

/// Media of other servers cost more than those of this one.
fn limit_fetches(media: &MediaServices, session: &Session, server: &str) -> Result<(), ApiError> {
    if server != media.repository.options().server_name {
        media.limits.fetches.check(session.user)?;
    }
    Ok(())
}

async fn download(
    repository: &Repository,
    (server, id, name): (&str, &str, Option<&str>),
    (query, asker): (&Query, Asker),
    wanted: &Wanted,
) -> Result<Response, ApiError> {
    let uri = uri(server, id)?;
    let media = repository.find(&uri, query.find(asker)).await.map_err(find_error)?;
    let content_type = served_type(media.record.content_type.as_deref());
    let name = name.or(media.record.file_name.as_deref());
    let answer = FileAnswer {
        blob: &media.blob,
        content_type,
        disposition: &disposition(content_type, name),
        is_public: asker == Asker::Anybody,
        may_redirect: query.may_redirect(asker),
    };
    answer.respond(repository, wanted).await
}

/// What cannot name media names none.
fn uri(server: &str, id: &str) -> Result<MediaUri, ApiError> {
    MediaUri::from_parts(server, id).ok_or_else(|| ApiError::not_found("There is no such file"))
}

#[derive(Debug, Deserialize)]
pub(crate) struct ThumbnailQuery {
    width: u32,
    height: u32,
    method: Option<String>,
    animated: Option<bool>,
    timeout_ms: Option<u64>,
    allow_remote: Option<bool>,
    allow_redirect: Option<bool>,
}

impl ThumbnailQuery {
    fn of_file(&self) -> Query {
        Query {
            timeout_ms: self.timeout_ms,
            allow_remote: self.allow_remote,
            allow_redirect: self.allow_redirect,
        }
    }

    fn spec(&self) -> Result<Spec, ApiError> {
        let method = self.method.as_deref().map_or(Ok(Method::Scale), str::parse);
        let method = method.map_err(|_| ApiError::invalid_param("`method` is `crop` or `scale`"))?;
        if !(1..=MAX_SIDE).contains(&self.width) || !(1..=MAX_SIDE).contains(&self.height) {
            return Err(ApiError::invalid_param("`width` and `height` are from 1 to 10000"));
        }
        Ok(Spec { width: self.width, height: self.height, method, animated: self.animated.unwrap_or(false) })
    }
}

pub(super) async fn get_thumbnail(
    session: Session,
    State(media): State<MediaServices>,
    PathArgs((server, id)): PathArgs<(String, String)>,
    QueryArgs(query): QueryArgs<ThumbnailQuery>,
    wanted: Wanted,
) -> Result<Response, ApiError> {
    limit_fetches(&media, &session, &server)?;
    thumbnail(&media.repository, (&server, &id), &query, (Asker::User, &wanted)).await
}

pub(super) async fn get_thumbnail_openly(
    State(media): State<MediaServices>,
    PathArgs((server, id)): PathArgs<(String, String)>,
    QueryArgs(query): QueryArgs<ThumbnailQuery>,
    wanted: Wanted,
) -> Result<Response, ApiError> {
    thumbnail(&media.repository, (&server, &id), &query, (Asker::Anybody, &wanted)).await
}

async fn thumbnail(
    repository: &Repository,
    (server, id): (&str, &str),
    query: &ThumbnailQuery,
    (asker, wanted): (Asker, &Wanted),
) -> Result<Response, ApiError> {
    let spec = query.spec()?;
    let uri = uri(server, id)?;
    let of_file = query.of_file();
    let media = repository.find(&uri, of_file.find(asker)).await.map_err(find_error)?;
    let Picture { blob, content_type } = repository
        .thumbnail(&media, spec)
        .await
        .map_err(|error| picture_error(error, repository.is_local(&uri.server)))?;
    let answer = FileAnswer {
        blob: &blob,
        content_type: &content_type,
        disposition: thumbnail_disposition(&content_type),
        is_public: asker == Asker::Anybody,
        may_redirect: of_file.may_redirect(asker),
    };
    answer.respond(repository, wanted).await
}

/// Why there is no thumbnail, as clients and servers are told.
pub(crate) fn picture_error(error: PictureError, is_local: bool) -> ApiError {
    const NONE: &str = "Cannot generate thumbnails for the requested content";
    match error {
        PictureError::Made(ThumbnailError::Unsupported | ThumbnailError::Unreadable(_)) => {
            ApiError::new(StatusCode::BAD_REQUEST, "M_UNKNOWN", NONE)
        }
        PictureError::Made(ThumbnailError::TooLarge) => {
            let error = ApiError::too_large("Content is too large to thumbnail");
            if is_local { error } else { error.with_status(StatusCode::BAD_GATEWAY) }
        }
        PictureError::Made(ThumbnailError::Busy) => ApiError::limit_exceeded(Duration::from_secs(2)),
        PictureError::Made(error @ ThumbnailError::Io(_)) => ApiError::internal(error),
        PictureError::Failure(failure) => ApiError::internal(failure),
    }
}
