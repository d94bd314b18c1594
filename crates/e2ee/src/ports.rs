//! What this crate needs of other servers.

use std::{collections::BTreeMap, fmt::Debug, future::Future, pin::Pin, time::Duration};

use ruma::{OwnedDeviceId, OwnedUserId, ServerName, UserId};
use serde_json::value::RawValue;

/// The devices that are wanted of each user; all of them where the list is empty.
pub type WantedDevices = BTreeMap<OwnedUserId, Vec<OwnedDeviceId>>;
/// The keys that are wanted: an algorithm for each device.
pub type WantedClaims = BTreeMap<OwnedUserId, BTreeMap<OwnedDeviceId, String>>;
/// Keys handed out: by user, device, and `algorithm:id`.
pub type RemoteClaims = BTreeMap<OwnedUserId, BTreeMap<OwnedDeviceId, BTreeMap<String, Box<RawValue>>>>;

/// What a server says of the keys of its users. Nothing of it has been checked.
#[derive(Clone, Debug, Default)]
pub struct RemoteKeyAnswer {
    /// Identity keys by user and device.
    pub device_keys: BTreeMap<OwnedUserId, BTreeMap<OwnedDeviceId, Box<RawValue>>>,
    /// Master keys.
    pub master_keys: BTreeMap<OwnedUserId, Box<RawValue>>,
    /// Self-signing keys.
    pub self_signing_keys: BTreeMap<OwnedUserId, Box<RawValue>>,
}

impl RemoteKeyAnswer {
    /// The list of a user in this answer, which does not say how new it is.
    pub fn list_of(&self, user_id: &UserId) -> RemoteDeviceList {
        let devices = self.device_keys.get(user_id).into_iter().flatten();
        RemoteDeviceList {
            stream_id: None,
            devices: devices
                .map(|(device_id, keys)| ListedDevice {
                    device_id: device_id.to_string(),
                    display_name: None,
                    keys: keys.clone(),
                })
                .collect(),
            master_key: self.master_keys.get(user_id).cloned(),
            self_signing_key: self.self_signing_keys.get(user_id).cloned(),
        }
    }
}

/// A device as its server lists it. Nothing of it has been checked.
#[derive(Clone, Debug)]
pub struct ListedDevice {
    /// Its id.
    pub device_id: String,
    /// What its user calls it.
    pub display_name: Option<String>,
    /// Its identity keys.
    pub keys: Box<RawValue>,
}

/// What a server says of the devices of one of its users. Nothing of it has been checked.
#[derive(Clone, Debug, Default)]
pub struct RemoteDeviceList {
    /// The newest change that the list holds; `None` when the server has not said.
    pub stream_id: Option<i64>,
    /// The devices.
    pub devices: Vec<ListedDevice>,
    /// The master key.
    pub master_key: Option<Box<RawValue>>,
    /// The self-signing key.
    pub self_signing_key: Option<Box<RawValue>>,
}

/// Why another server did not say what it was asked for.
#[derive(Clone, Debug, thiserror::Error)]
pub enum RemoteKeysError {
    /// It could not be reached, or did not answer in time or sensibly.
    #[error("{0}")]
    Unreachable(String),
    /// It has no such user.
    #[error("{0}")]
    UnknownUser(String),
    /// It does not want to.
    #[error("{0}")]
    Refused(String),
}

/// The answer of [`RemoteKeys`].
pub type RemoteKeysFuture<'a, T> = Pin<Box<dyn Future<Output = Result<T, RemoteKeysError>> + Send + 'a>>;

/// Asks other servers for the keys of their users.
pub trait RemoteKeys: Send + Sync + Debug {
    /// The identity and cross-signing keys of users of a server.
    fn query<'a>(
        &'a self,
        server: &'a ServerName,
        wanted: WantedDevices,
        timeout: Duration,
    ) -> RemoteKeysFuture<'a, RemoteKeyAnswer>;

    /// One-time keys of devices of users of a server.
    fn claim<'a>(
        &'a self,
        server: &'a ServerName,
        wanted: WantedClaims,
        timeout: Duration,
    ) -> RemoteKeysFuture<'a, RemoteClaims>;

    /// The devices of a user, of whose server it is asked.
    fn devices<'a>(
        &'a self,
        user_id: &'a UserId,
        timeout: Duration,
    ) -> RemoteKeysFuture<'a, RemoteDeviceList>;
}
