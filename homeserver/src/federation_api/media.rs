//! `GET /_matrix/federation/v1/media/download/{mediaId}` and `…/thumbnail/{mediaId}`
//!
//! <https://spec.matrix.org/v1.19/server-server-api/#content-repository>

use std::time::Duration;

use axum::{
    body::Body,
    extract::State,
    response::{IntoResponse as _, Response},
};
use bytes::Bytes;
use futures_util::{StreamExt as _, stream};
use hs_http::ApiError;
use hs_storage::media::BlobRecord;
use http::header::{CONTENT_LENGTH, CONTENT_TYPE};
use media_repo::{
    Asker, Find, Media, MediaId, Picture, Repository,
    content::{CACHE_PRIVATE, disposition, served_type, thumbnail_disposition},
    store::Link,
    thumbnail::{Method, Spec},
};
use rand::RngExt as _;
use ruma::{
    api::federation::authenticated_media::{get_content, get_content_thumbnail},
    media::Method as WantedMethod,
};

use super::FederationArgs;
use crate::client_api::media::{find_error, picture_error};

/// How long to wait for an upload at most.
const MAX_PATIENCE: Duration = Duration::from_mins(1);
/// The longest side of a thumbnail that anybody can mean.
const MAX_SIDE: u64 = 10_000;

/// `GET /_matrix/federation/v1/media/download/{mediaId}`
pub(super) async fn get(
    State(repository): State<Repository>,
    FederationArgs(_, request): FederationArgs<get_content::v1::Request>,
) -> Result<Response, ApiError> {
    let media = find(&repository, &request.media_id, request.timeout_ms).await?;
    let content_type = served_type(media.record.content_type.as_deref());
    let disposition = disposition(content_type, media.record.file_name.as_deref());
    respond(&repository, &media.blob, (content_type, &disposition)).await
}

/// `GET /_matrix/federation/v1/media/thumbnail/{mediaId}`
pub(super) async fn get_thumbnail(
    State(repository): State<Repository>,
    FederationArgs(_, request): FederationArgs<get_content_thumbnail::v1::Request>,
) -> Result<Response, ApiError> {
    let side = |length: ruma::UInt| {
        let length = u64::from(length);
        (1..=MAX_SIDE).contains(&length).then_some(length as u32)
    };
    let (Some(width), Some(height)) = (side(request.width), side(request.height)) else {
        return Err(ApiError::invalid_param("`width` and `height` are from 1 to 10000"));
    };
    let method = match &request.method {
        None | Some(WantedMethod::Scale) => Method::Scale,
        Some(WantedMethod::Crop) => Method::Crop,
        Some(_) => return Err(ApiError::invalid_param("`method` is `crop` or `scale`")),
    };
    let media = find(&repository, &request.media_id, request.timeout_ms).await?;
    let spec = Spec { width, height, method, animated: request.animated.unwrap_or(false) };
    let picture = repository.thumbnail(&media, spec).await;
    let Picture { blob, content_type } = picture.map_err(|error| picture_error(error, true))?;
    respond(&repository, &blob, (&content_type, thumbnail_disposition(&content_type))).await
}

async fn find(repository: &Repository, id: &str, patience: Duration) -> Result<Media, ApiError> {
    let id = MediaId::parse(id).ok_or_else(|| ApiError::not_found("There is no such file"))?;
    let find = Find { asker: Asker::Server, patience: patience.min(MAX_PATIENCE), may_fetch: false };
    repository.find(&repository.uri(id), find).await.map_err(find_error)
}

/// Two parts: what there is to know, which is nothing so far, and the file, or where it lies.
async fn respond(
    repository: &Repository,
    blob: &BlobRecord,
    (content_type, disposition): (&str, &str),
) -> Result<Response, ApiError> {
    let boundary = format!("{:032x}", rand::rng().random::<u128>());
    let link = Link { content_type, disposition, cache_control: CACHE_PRIVATE };
    let link = repository.files().link(blob, link).await.map_err(ApiError::internal)?;
    let (about, file, size) = match link {
        Some(link) => (format!("Location: {link}\r\n"), stream::empty().boxed(), 0),
        None => (
            format!(
                "Content-Type: {content_type}\r\nContent-Disposition: {disposition}\r\nContent-Length: {}\r\n",
                blob.size
            ),
            repository.read(blob, 0..blob.size).await.map_err(find_error)?,
            blob.size,
        ),
    };
    let head =
        format!("--{boundary}\r\nContent-Type: application/json\r\n\r\n{{}}\r\n--{boundary}\r\n{about}\r\n");
    let tail = format!("\r\n--{boundary}--\r\n");
    let length = head.len() as u64 + size + tail.len() as u64;
    let parts =
        stream::iter([Ok(Bytes::from(head))]).chain(file).chain(stream::iter([Ok(Bytes::from(tail))]));
    let headers = [
        (CONTENT_TYPE, format!("multipart/mixed; boundary={boundary}")),
        (CONTENT_LENGTH, length.to_string()),
    ];
    Ok((headers, Body::from_stream(parts)).into_response())
}
