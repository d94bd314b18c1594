//! `/_matrix/client/v3/thirdparty`: what bridges to other networks would answer. There are none, so nothing is known.
//!
//! <https://spec.matrix.org/v1.19/client-server-api/#third-party-lookups>

use axum::Router;
use hs_http::{ApiError, JsonReply, RouteOptions, RouterExt};
use ruma::api::client::thirdparty::{
    get_location_for_protocol, get_location_for_room_alias, get_protocol, get_protocols,
    get_user_for_protocol, get_user_for_user_id,
};
use serde_json::{Value, json};

use super::{ClientState, auth::Session};

pub(super) fn routes() -> Router<ClientState> {
    let options = RouteOptions::default();
    Router::new()
        .route_like::<get_protocols::v3::Request, _, _>(options, protocols)
        .route_like::<get_protocol::v3::Request, _, _>(options, unknown)
        .route_like::<get_location_for_protocol::v3::Request, _, _>(options, unknown)
        .route_like::<get_location_for_room_alias::v3::Request, _, _>(options, unknown)
        .route_like::<get_user_for_protocol::v3::Request, _, _>(options, unknown)
        .route_like::<get_user_for_user_id::v3::Request, _, _>(options, unknown)
}

async fn protocols(_: Session) -> JsonReply<Value> {
    JsonReply(json!({}))
}

async fn unknown(_: Session) -> Result<JsonReply<Value>, ApiError> {
    Err(ApiError::not_found("This server is connected to no other network"))
}
