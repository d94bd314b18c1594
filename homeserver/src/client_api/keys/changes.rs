//! `GET /_matrix/client/v3/keys/changes`
//!
//! <https://spec.matrix.org/v1.19/client-server-api/#get_matrixclientv3keyschanges>

use axum::extract::State;
use hs_e2ee::{DeviceLists, E2ee};
use hs_http::{ApiError, JsonReply, QueryArgs};
use hs_model::stream::StreamToken;
use serde::Deserialize;

use crate::client_api::auth::Session;

#[derive(Debug, Deserialize)]
pub(in crate::client_api) struct Query {
    from: Option<String>,
    to: Option<String>,
}

pub(in crate::client_api) async fn get(
    session: Session,
    State(e2ee): State<E2ee>,
    QueryArgs(query): QueryArgs<Query>,
) -> Result<JsonReply<DeviceLists>, ApiError> {
    let from = token("from", query.from)?;
    let to = token("to", query.to)?;
    let lists = e2ee.device_list_changes(session.user, from.0, to.0).await;
    lists.map(JsonReply).map_err(ApiError::internal)
}

fn token(name: &str, text: Option<String>) -> Result<StreamToken, ApiError> {
    let text = text.ok_or_else(|| ApiError::missing_param(format!("{name} is missing")))?;
    text.parse().map_err(|error| ApiError::invalid_param(format!("{name}: {error}")))
}
