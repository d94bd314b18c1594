//! `/_matrix/client/v3/devices` and `/_matrix/client/v3/delete_devices`
//!
//! <https://spec.matrix.org/v1.19/client-server-api/#device-management>

use std::sync::Arc;

use axum::extract::State;
use hs_accounts::{Accounts, DeleteDevicesError, RenameDeviceError, UiaBody};
use hs_http::{ApiError, Args, JsonBody, JsonReply, PathArgs, Reply};
use hs_storage::devices::DeviceRow;
use ruma::api::client::device::{get_device, get_devices, update_device};
use serde::Serialize;
use serde_json::{Value, json};

use super::{auth::Session, uia};

/// A device as clients see it: what is not known is not there.
#[derive(Serialize)]
pub(super) struct Device {
    device_id: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    display_name: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    last_seen_ip: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    last_seen_ts: Option<i64>,
}

impl From<DeviceRow> for Device {
    fn from(row: DeviceRow) -> Self {
        Self {
            device_id: row.device_id,
            display_name: row.display_name,
            last_seen_ip: row.last_seen_ip,
            last_seen_ts: row.last_seen_at,
        }
    }
}

/// `GET /_matrix/client/v3/devices`
pub(super) async fn get_all(
    session: Session,
    State(accounts): State<Arc<Accounts>>,
    _: Args<get_devices::v3::Request>,
) -> Result<JsonReply<Value>, ApiError> {
    let devices = accounts.list_devices(session.user).await.map_err(ApiError::internal)?;
    let devices: Vec<Device> = devices.into_iter().map(Device::from).collect();
    Ok(JsonReply(json!({ "devices": devices })))
}

/// `GET /_matrix/client/v3/devices/{deviceId}`
pub(super) async fn get(
    session: Session,
    State(accounts): State<Arc<Accounts>>,
    Args(request): Args<get_device::v3::Request>,
) -> Result<JsonReply<Device>, ApiError> {
    let device = accounts.find_device(session.user, request.device_id.as_str()).await;
    let device = device.map_err(ApiError::internal)?;
    let device = device.ok_or_else(|| ApiError::not_found("There is no device with this id"))?;
    Ok(JsonReply(device.into()))
}

/// `PUT /_matrix/client/v3/devices/{deviceId}`
pub(super) async fn put(
    session: Session,
    State(accounts): State<Arc<Accounts>>,
    Args(request): Args<update_device::v3::Request>,
) -> Result<Reply<update_device::v3::Response>, ApiError> {
    accounts
        .rename_device(session.user, request.device_id.as_str(), request.display_name.as_deref())
        .await
        .map_err(rename_error)?;
    Ok(Reply(update_device::v3::Response::new()))
}

/// `DELETE /_matrix/client/v3/devices/{deviceId}`
pub(super) async fn delete(
    session: Session,
    State(accounts): State<Arc<Accounts>>,
    PathArgs(device_id): PathArgs<String>,
    JsonBody(body): JsonBody<UiaBody>,
) -> Result<JsonReply<Value>, ApiError> {
    accounts.delete_device(&session, device_id, body).await.map_err(delete_error)?;
    Ok(JsonReply(json!({})))
}

/// `POST /_matrix/client/v3/delete_devices`
pub(super) async fn delete_many(
    session: Session,
    State(accounts): State<Arc<Accounts>>,
    JsonBody(body): JsonBody<UiaBody>,
) -> Result<JsonReply<Value>, ApiError> {
    accounts.delete_devices(&session, body).await.map_err(delete_error)?;
    Ok(JsonReply(json!({})))
}

fn rename_error(error: RenameDeviceError) -> ApiError {
    let message = error.to_string();
    match error {
        RenameDeviceError::NotFound => ApiError::not_found(message),
        RenameDeviceError::TooLong => ApiError::invalid_param(message),
        RenameDeviceError::Failure(failure) => ApiError::internal(failure),
    }
}

fn delete_error(error: DeleteDevicesError) -> ApiError {
    match error {
        DeleteDevicesError::Malformed(message) => ApiError::bad_json(message),
        DeleteDevicesError::Auth(error) => uia::api_error(error),
        DeleteDevicesError::Failure(failure) => ApiError::internal(failure),
    }
}
