//! `GET /_matrix/federation/v1/openid/userinfo`
//!
//! <https://spec.matrix.org/v1.19/server-server-api/#openid>

use std::sync::Arc;

use axum::extract::State;
use hs_accounts::Accounts;
use hs_http::{ApiError, JsonReply, QueryArgs};
use serde::Deserialize;
use serde_json::{Value, json};

#[derive(Debug, Deserialize)]
pub(super) struct Query {
    access_token: Option<String>,
}

/// Answers anybody who has the token: it is what proves that the user sent them.
pub(super) async fn get(
    State(accounts): State<Arc<Accounts>>,
    QueryArgs(query): QueryArgs<Query>,
) -> Result<JsonReply<Value>, ApiError> {
    let token = query.access_token.ok_or_else(ApiError::missing_token)?;
    let user_id = accounts.find_openid_user(&token).await.map_err(ApiError::internal)?;
    let user_id = user_id
        .ok_or_else(|| ApiError::unknown_token("This token is not known here, or no longer good", false))?;
    Ok(JsonReply(json!({ "sub": user_id })))
}
