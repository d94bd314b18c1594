//! `GET /_matrix/federation/v1/query/profile`
//!
//! <https://spec.matrix.org/v1.19/server-server-api/#get_matrixfederationv1queryprofile>

use std::sync::Arc;

use axum::extract::State;
use hs_accounts::Accounts;
use hs_http::{ApiError, RawJson};
use ruma::{OwnedServerName, api::federation::query::get_profile_information::v1};

use crate::federation_api::FederationArgs;

pub(in crate::federation_api) async fn get(
    State(server_name): State<OwnedServerName>,
    State(accounts): State<Arc<Accounts>>,
    FederationArgs(_, request): FederationArgs<v1::Request>,
) -> Result<RawJson, ApiError> {
    if request.user_id.server_name() != server_name {
        return Err(ApiError::invalid_param("The user is not one of this server"));
    }
    let profile = accounts.find_profile(&request.user_id).await.map_err(ApiError::internal)?;
    let profile = profile.ok_or_else(|| ApiError::not_found("There is no profile of this user"))?;
    Ok(RawJson(match &request.field {
        None => profile.to_json(),
        // One that is not set is left out.
        Some(field) => profile.field_to_json(field.as_str()).unwrap_or_else(|| "{}".to_owned()),
    }))
}
