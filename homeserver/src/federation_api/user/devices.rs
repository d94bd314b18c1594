//! `GET /_matrix/federation/v1/user/devices/{userId}`
//!
//! <https://spec.matrix.org/v1.19/server-server-api/#get_matrixfederationv1userdevicesuserid>

use axum::extract::State;
use hs_e2ee::{E2ee, OwnDeviceList};
use hs_http::{ApiError, JsonReply};
use ruma::{OwnedServerName, api::federation::device::get_devices::v1};
use serde_json::{Map, Value, json};

use crate::federation_api::FederationArgs;

pub(in crate::federation_api) async fn get(
    State(server_name): State<OwnedServerName>,
    State(e2ee): State<E2ee>,
    FederationArgs(_, request): FederationArgs<v1::Request>,
) -> Result<JsonReply<Value>, ApiError> {
    if request.user_id.server_name() != server_name {
        return Err(ApiError::invalid_param("The user is not one of this server"));
    }
    let list = e2ee.own_device_list(&request.user_id).await.map_err(ApiError::internal)?;
    let list = list.ok_or_else(|| ApiError::not_found("There is no such user"))?;
    let OwnDeviceList { stream_id, devices, master_key, self_signing_key } = list;
    let devices = devices.into_iter().map(|device| {
        let mut listed = Map::new();
        listed.insert("device_id".to_owned(), device.device_id.into());
        listed.insert("keys".to_owned(), device.keys);
        if let Some(name) = device.display_name {
            listed.insert("device_display_name".to_owned(), name.into());
        }
        Value::Object(listed)
    });
    let mut answer = json!({
        "user_id": request.user_id,
        "stream_id": stream_id.0,
        "devices": devices.collect::<Vec<Value>>(),
    });
    for (name, key) in [("master_key", master_key), ("self_signing_key", self_signing_key)] {
        if let Some(key) = key {
            answer[name] = key;
        }
    }
    Ok(JsonReply(answer))
}
