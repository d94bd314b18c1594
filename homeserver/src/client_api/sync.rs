//! `/_matrix/client/v3/sync`
//!
//! <https://spec.matrix.org/v1.19/client-server-api/#syncing>

use std::{sync::Arc, time::Duration};

use axum::extract::State;
use hs_accounts::Accounts;
use hs_ephemeral::Ephemeral;
use hs_http::{ApiError, Args, JsonReply};
use hs_model::{ids::UserNid, stream::SyncToken};
use hs_storage::presence::Presence;
use hs_sync::{Request, Response, Sync, SyncError};
use moka::sync::Cache;
use ruma::api::client::{
    filter::{EventFormat, FilterDefinition},
    sync::sync_events::v3::{Filter, Request as Query},
};

use crate::client_api::auth::Session;

/// How many stored filters are kept in memory, read and ready.
const CACHED_FILTERS: u64 = 10_000;

/// Stored filters by user and id. A stored filter never changes.
#[derive(Clone, Debug)]
pub(crate) struct FilterCache(Cache<(UserNid, String), Arc<FilterDefinition>>);

impl Default for FilterCache {
    fn default() -> Self {
        Self(Cache::new(CACHED_FILTERS))
    }
}

/// `GET /_matrix/client/v3/sync`
pub(in crate::client_api) async fn get(
    session: Session,
    State(sync): State<Arc<Sync>>,
    State(accounts): State<Arc<Accounts>>,
    State(ephemeral): State<Ephemeral>,
    State(filters): State<FilterCache>,
    Args(query): Args<Query>,
) -> Result<JsonReply<Response>, ApiError> {
    let since = query.since.as_deref().map(str::parse::<SyncToken>).transpose();
    let since = since.map_err(|error| ApiError::invalid_param(format!("since: {error}")))?;
    let request = Request {
        user: session.user,
        user_id: session.user_id.clone(),
        device: session.device,
        since: since.map(|token| token.position),
        to_device_since: since.map(|token| token.to_device),
        filter: Box::pin(find_filter(&accounts, &filters, session.user, query.filter)).await?,
        full_state: query.full_state,
        use_state_after: query.use_state_after,
        with_encryption: true,
        timeout: query.timeout.unwrap_or(Duration::ZERO),
    };
    // The user counts as connected until the answer is ready.
    let presence = Presence::parse(query.set_presence.as_str())
        .ok_or_else(|| ApiError::invalid_param("set_presence: not offline, online or unavailable"))?;
    let _connected = ephemeral.syncing(session.user, &session.user_id, session.device, presence);
    Box::pin(sync.sync_v3(&request)).await.map(JsonReply).map_err(api_error)
}

async fn find_filter(
    accounts: &Accounts,
    filters: &FilterCache,
    user: UserNid,
    filter: Option<Filter>,
) -> Result<Arc<FilterDefinition>, ApiError> {
    let id = match filter {
        None => return Ok(Arc::default()),
        Some(Filter::FilterDefinition(definition))
            if matches!(definition.event_format, EventFormat::Client | EventFormat::Federation) =>
        {
            return Ok(Arc::new(definition));
        }
        Some(Filter::FilterDefinition(_)) => {
            return Err(ApiError::invalid_param(
                "filter: `event_format` is neither `client` nor `federation`",
            ));
        }
        Some(Filter::FilterId(id)) => id,
        Some(_) => return Err(ApiError::invalid_param("filter: neither an id nor a filter")),
    };
    let key = (user, id);
    if let Some(definition) = filters.0.get(&key) {
        return Ok(definition);
    }
    let stored = accounts.find_filter(user, &key.1).await.map_err(ApiError::internal)?;
    let stored = stored.ok_or_else(|| ApiError::not_found("There is no filter with this id"))?;
    let definition: Arc<FilterDefinition> =
        Arc::new(serde_json::from_str(&stored).map_err(ApiError::internal)?);
    filters.0.insert(key, definition.clone());
    Ok(definition)
}

pub(super) fn api_error(error: SyncError) -> ApiError {
    match error {
        SyncError::TokenFromTheFuture => {
            ApiError::invalid_param("since: this token is from a later time than this server's data")
        }
        SyncError::Storage(error) => ApiError::internal(error),
    }
}
