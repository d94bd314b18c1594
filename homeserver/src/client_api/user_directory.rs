//! `POST /_matrix/client/v3/user_directory/search`
//!
//! <https://spec.matrix.org/v1.19/client-server-api/#post_matrixclientv3user_directorysearch>

use std::sync::Arc;

use axum::extract::State;
use hs_http::{ApiError, JsonBody, JsonReply};
use hs_search::{PersonQuery, Search};
use serde::{Deserialize, Serialize};

use super::{ServerFacts, auth::Session};

/// How many people are returned when the client does not say.
const DEFAULT_LIMIT: u64 = 10;
/// How many at most.
const MAX_LIMIT: u64 = 50;
/// The longest search.
const MAX_TERM_BYTES: usize = 1_000;

#[derive(Debug, Deserialize)]
pub(super) struct Body {
    search_term: String,
    limit: Option<u64>,
}

#[derive(Debug, Serialize)]
pub(super) struct Response {
    results: Vec<User>,
    limited: bool,
}

#[derive(Debug, Serialize)]
struct User {
    user_id: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    display_name: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    avatar_url: Option<String>,
}

pub(super) async fn post(
    session: Session,
    State(search): State<Search>,
    State(facts): State<Arc<ServerFacts>>,
    JsonBody(body): JsonBody<Body>,
) -> Result<JsonReply<Response>, ApiError> {
    if body.search_term.len() > MAX_TERM_BYTES {
        return Err(ApiError::invalid_param("`search_term` is too long"));
    }
    let query = PersonQuery {
        term: &body.search_term,
        asker: session.user,
        reach: facts.directory_reach,
        limit: body.limit.unwrap_or(DEFAULT_LIMIT).min(MAX_LIMIT) as usize,
    };
    search.catch_up().await.map_err(ApiError::internal)?;
    let found = search.find_users(query).await.map_err(ApiError::internal)?;
    let results = found.users.into_iter().map(|user| User {
        user_id: user.user_id,
        display_name: user.display_name,
        avatar_url: user.avatar_url,
    });
    Ok(JsonReply(Response { results: results.collect(), limited: found.is_limited }))
}
