//! `/_matrix/media` and `/_matrix/client/v1/media`: uploading and downloading files, thumbnails, previews of links.
//!
//! <https://spec.matrix.org/v1.19/client-server-api/#content-repository>

mod answer;
mod download;
mod preview;
mod upload;

use std::sync::Arc;

use axum::{
    Router,
    extract::State,
    routing::{get, post, put},
};
use hs_http::{ApiError, JsonReply, rate_limit::RateLimiter};
use hs_model::ids::UserNid;
use media_repo::{Repository, preview::Previewer};
use serde_json::{Value, json};

pub(crate) use self::{answer::find_error, download::picture_error};
use super::{ClientState, auth::Session};
use crate::config::RateLimits;

/// What the handlers of media work with.
#[derive(Clone, Debug)]
pub(crate) struct MediaServices {
    /// The files.
    pub(crate) repository: Repository,
    /// Previews of links, if there are any.
    pub(crate) previewer: Option<Previewer>,
    /// How much one user may do.
    pub(crate) limits: Arc<MediaLimits>,
}

/// How much one user may do.
#[derive(Debug)]
pub(crate) struct MediaLimits {
    /// Files uploaded, and ids made.
    pub(crate) uploads: RateLimiter<UserNid>,
    /// What makes the server ask others.
    pub(crate) fetches: RateLimiter<UserNid>,
}

impl MediaLimits {
    /// Limiters with the configured rates.
    pub(crate) fn new(config: &RateLimits) -> Self {
        Self {
            uploads: RateLimiter::new(config.rate(|limits| limits.uploads)),
            fetches: RateLimiter::new(config.rate(|limits| limits.fetches)),
        }
    }

    /// Uses other rates from now on.
    pub(crate) fn set_rates(&self, config: &RateLimits) {
        self.uploads.set_rate(config.rate(|limits| limits.uploads));
        self.fetches.set_rate(config.rate(|limits| limits.fetches));
    }
}

pub(super) fn routes() -> Router<ClientState> {
    const AUTHED: &str = "/_matrix/client/v1/media";
    let mut router = Router::new()
        .route("/_matrix/media/v1/create", post(upload::create))
        .route(&format!("{AUTHED}/config"), get(config))
        .route(&format!("{AUTHED}/preview_url"), get(preview::get))
        .route(&format!("{AUTHED}/download/{{server}}/{{id}}"), get(download::get))
        .route(&format!("{AUTHED}/download/{{server}}/{{id}}/{{name}}"), get(download::get_named))
        .route(&format!("{AUTHED}/thumbnail/{{server}}/{{id}}"), get(download::get_thumbnail));
    // Clients still speak the versions before v3, which are the same.
    for version in ["v3", "r0", "v1"] {
        let base = format!("/_matrix/media/{version}");
        router = router
            .route(&format!("{base}/upload"), post(upload::post))
            .route(&format!("{base}/upload/{{server}}/{{id}}"), put(upload::put))
            .route(&format!("{base}/config"), get(config))
            .route(&format!("{base}/preview_url"), get(preview::get))
            .route(&format!("{base}/download/{{server}}/{{id}}"), get(download::get_openly))
            .route(&format!("{base}/download/{{server}}/{{id}}/{{name}}"), get(download::get_named_openly))
            .route(&format!("{base}/thumbnail/{{server}}/{{id}}"), get(download::get_thumbnail_openly));
    }
    router
}

/// `GET /_matrix/client/v1/media/config`, and what was there before it
async fn config(_session: Session, State(media): State<MediaServices>) -> Result<JsonReply<Value>, ApiError> {
    Ok(JsonReply(json!({ "m.upload.size": media.repository.options().max_upload_bytes })))
}
