//! The keys of users of other servers.

use std::{collections::BTreeMap, time::Duration};

use hs_e2ee::ports::{
    ListedDevice, RemoteClaims, RemoteDeviceList, RemoteKeyAnswer, RemoteKeys, RemoteKeysError,
    RemoteKeysFuture, WantedClaims, WantedDevices,
};
use http::StatusCode;
use ruma::{
    OwnedUserId, ServerName, UserId,
    api::federation::{device::get_devices, keys::claim_keys, keys::get_keys},
    serde::Raw,
};
use serde_json::value::RawValue;
use tokio::time::Instant;

use crate::{FederationClient, Limits, RequestError};

/// The largest answer: keys of all devices of many users.
const MAX_ANSWER_BYTES: usize = 16 * 1024 * 1024;

/// Asks the servers of users.
#[derive(Clone, Debug)]
pub struct FederatedKeys(FederationClient);

impl FederatedKeys {
    /// Asks by this client.
    pub fn new(client: FederationClient) -> Self {
        Self(client)
    }
}

fn limits(timeout: Duration) -> Limits {
    Limits { timeout, max_response_bytes: MAX_ANSWER_BYTES }
}

fn failure(error: RequestError) -> RemoteKeysError {
    match error {
        RequestError::Api { status: StatusCode::NOT_FOUND, errcode, message, .. }
            if errcode == "M_NOT_FOUND" =>
        {
            RemoteKeysError::UnknownUser(message)
        }
        RequestError::Api { status, message, .. } if status.is_client_error() => {
            RemoteKeysError::Refused(message)
        }
        error => RemoteKeysError::Unreachable(error.to_string()),
    }
}

fn json<T>(raw: Raw<T>) -> Box<RawValue> {
    raw.into_json()
}

fn all_json<T>(keys: BTreeMap<OwnedUserId, Raw<T>>) -> BTreeMap<OwnedUserId, Box<RawValue>> {
    keys.into_iter().map(|(user_id, key)| (user_id, json(key))).collect()
}

impl RemoteKeys for FederatedKeys {
    fn query<'a>(
        &'a self,
        server: &'a ServerName,
        wanted: WantedDevices,
        timeout: Duration,
    ) -> RemoteKeysFuture<'a, RemoteKeyAnswer> {
        Box::pin(async move {
            let request = get_keys::v1::Request::new(wanted);
            let answer = self.0.send(server, request, limits(timeout)).await.map_err(failure)?;
            let of_user = |devices: BTreeMap<_, Raw<_>>| {
                devices.into_iter().map(|(device_id, keys)| (device_id, json(keys))).collect()
            };
            Ok(RemoteKeyAnswer {
                device_keys: answer
                    .device_keys
                    .into_iter()
                    .map(|(user_id, devices)| (user_id, of_user(devices)))
                    .collect(),
                master_keys: all_json(answer.master_keys),
                self_signing_keys: all_json(answer.self_signing_keys),
            })
        })
    }

    fn claim<'a>(
        &'a self,
        server: &'a ServerName,
        wanted: WantedClaims,
        timeout: Duration,
    ) -> RemoteKeysFuture<'a, RemoteClaims> {
        Box::pin(async move {
            let wanted = wanted.into_iter().map(|(user_id, devices)| {
                let devices = devices.into_iter().map(|(id, algorithm)| (id, algorithm.into()));
                (user_id, devices.collect())
            });
            let request = claim_keys::v1::Request::new(wanted.collect());
            let answer = self.0.send(server, request, limits(timeout)).await.map_err(failure)?;
            let of_device = |keys: BTreeMap<ruma::OwnedOneTimeKeyId, Raw<_>>| {
                keys.into_iter().map(|(id, key)| (id.to_string(), json(key))).collect()
            };
            let of_user = |devices: BTreeMap<_, _>| {
                devices.into_iter().map(|(device_id, keys)| (device_id, of_device(keys))).collect()
            };
            let keys = answer.one_time_keys.into_iter();
            Ok(keys.map(|(user_id, devices)| (user_id, of_user(devices))).collect())
        })
    }

    fn devices<'a>(
        &'a self,
        user_id: &'a UserId,
        timeout: Duration,
    ) -> RemoteKeysFuture<'a, RemoteDeviceList> {
        Box::pin(async move {
            let begun_at = Instant::now();
            let request = get_devices::v1::Request::new(user_id.to_owned());
            let answer = match self.0.send(user_id.server_name(), request, limits(timeout)).await {
                Ok(answer) => answer,
                Err(error) if error.is_errcode("M_UNRECOGNIZED") => {
                    // Some servers tell keys only: then it is not known how new the list is.
                    let wanted = [(user_id.to_owned(), Vec::new())].into();
                    let timeout = timeout.saturating_sub(begun_at.elapsed());
                    return Ok(self.query(user_id.server_name(), wanted, timeout).await?.list_of(user_id));
                }
                Err(error) => return Err(failure(error)),
            };
            if answer.user_id != user_id {
                return Err(RemoteKeysError::Unreachable("the answer is about somebody else".to_owned()));
            }
            let devices = answer.devices.into_iter().map(|device| ListedDevice {
                device_id: device.device_id.to_string(),
                display_name: device.device_display_name,
                keys: json(device.keys),
            });
            Ok(RemoteDeviceList {
                stream_id: i64::try_from(u64::from(answer.stream_id)).ok(),
                devices: devices.collect(),
                master_key: answer.master_key.map(json),
                self_signing_key: answer.self_signing_key.map(json),
            })
        })
    }
}
