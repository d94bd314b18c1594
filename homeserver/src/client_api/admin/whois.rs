//! `GET /_matrix/client/v3/admin/whois/{userId}`
//!
//! <https://spec.matrix.org/v1.19/client-server-api/#get_matrixclientv3adminwhoisuserid>

use axum::extract::State;
use hs_http::{ApiError, Args, JsonReply};
use hs_rooms::Rooms;
use ruma::api::client::admin::get_user_info::v3::Request;
use serde_json::{Map, Value, json};

use crate::client_api::auth::Session;

pub(in crate::client_api) async fn get(
    session: Session,
    State(rooms): State<Rooms>,
    Args(request): Args<Request>,
) -> Result<JsonReply<Value>, ApiError> {
    if session.user_id != request.user_id {
        session.must_be_admin()?;
    }
    let unknown = || ApiError::not_found("There is no such account");
    let store = rooms.store();
    let user = store.find_user(&request.user_id).await.map_err(ApiError::internal)?.ok_or_else(unknown)?;
    let mut reader = store.reader().await.map_err(ApiError::internal)?;
    reader.find_account(user).await.map_err(ApiError::internal)?.ok_or_else(unknown)?;
    let devices = reader.list_devices(user).await.map_err(ApiError::internal)?;
    let devices: Map<String, Value> = devices
        .into_iter()
        .map(|device| {
            let mut connection = Map::new();
            if let Some(ip) = device.last_seen_ip {
                connection.insert("ip".to_owned(), ip.into());
            }
            if let Some(last_seen) = device.last_seen_at {
                connection.insert("last_seen".to_owned(), last_seen.into());
            }
            (device.device_id, json!({ "sessions": [{ "connections": [connection] }] }))
        })
        .collect();
    Ok(JsonReply(json!({ "user_id": request.user_id, "devices": devices })))
}
