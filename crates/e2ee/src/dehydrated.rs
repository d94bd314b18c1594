//! Dehydrated devices: kept here, encrypted, to receive room keys while their user is logged in nowhere.
//!
//! <https://github.com/matrix-org/matrix-spec-proposals/pull/3814>

use std::collections::BTreeMap;

use hs_model::{
    ids::UserNid,
    stream::{Position, StreamToken},
};
use hs_room_rules::canonical_json::Value;
use hs_storage::{
    StorageError,
    cross_signing::{CrossSigningKeyRow, KeyUsage},
    dehydrated_devices::DehydratedDeviceRow,
    devices::DeviceLogin,
    log::LogKind,
};
use ruma::{DeviceId, UserId};
use serde_json::value::RawValue;

use crate::{E2ee, KeyOwner, KeysUpload, LocalDevice, UploadKeysError, device_keys::store_keys, signed};

/// How many messages are in a response at most.
const BATCH: usize = 100;
/// The longest id and name of a device.
const MAX_NAME_BYTES: usize = 255;

/// A device to be kept.
#[derive(Debug)]
pub struct NewDehydratedDevice<'a> {
    /// Its id.
    pub device_id: &'a DeviceId,
    /// Its name.
    pub display_name: Option<&'a str>,
    /// JSON object: the device itself, encrypted.
    pub device_data: &'a str,
    /// Its keys.
    pub keys: KeysUpload,
}

/// Why a dehydrated device was not kept or not found.
#[derive(Debug, thiserror::Error)]
pub enum DehydratedDeviceError {
    /// Something is not what it should be.
    #[error("{0}")]
    Malformed(&'static str),
    /// The user has another device with this id.
    #[error("You have another device with this id")]
    IdInUse,
    /// The user has no dehydrated device.
    #[error("There is no dehydrated device")]
    NotFound,
    /// The device is not the user's dehydrated one.
    #[error("This is not your dehydrated device")]
    AnotherDevice,
    /// The keys of the device were not taken.
    #[error(transparent)]
    Keys(#[from] UploadKeysError),
    /// The database failed.
    #[error(transparent)]
    Storage(#[from] StorageError),
}

/// What makes others encrypt for a dehydrated device, beside what all device keys must have.
fn check_device_keys(
    user_id: &UserId,
    device_id: &DeviceId,
    json: &str,
    self_signing: Option<&CrossSigningKeyRow>,
) -> Result<(), DehydratedDeviceError> {
    let malformed = DehydratedDeviceError::Malformed;
    let keys = signed::read_object(json).ok_or(malformed("device_keys: not an object that can be signed"))?;
    if keys.get("dehydrated").and_then(Value::as_bool) != Some(true) {
        return Err(malformed("device_keys: dehydrated must be true"));
    }
    let identity = keys.get_object("keys").and_then(|keys| keys.get_str(&format!("curve25519:{device_id}")));
    if identity != Some(device_id.as_str()) {
        return Err(malformed("device_id must be the curve25519 key of the device"));
    }
    let is_cross_signed = self_signing.is_some_and(|key| {
        let key_id = format!("ed25519:{}", key.public_key);
        signed::is_signed(&keys, user_id.as_str(), &key_id, &key.public_key)
    });
    if !is_cross_signed {
        let message = "device_keys: not signed by your self-signing key, or the signature is wrong";
        return Err(UploadKeysError::InvalidSignature(message.to_owned()).into());
    }
    Ok(())
}

/// Messages for a dehydrated device.
#[derive(Debug)]
pub struct DehydratedEvents {
    /// The messages, in order.
    pub events: Vec<Box<RawValue>>,
    /// Where to go on.
    pub next: StreamToken,
    /// Whether there are more.
    pub has_more: bool,
}

impl E2ee {
    /// Keeps a dehydrated device instead of the one there was.
    pub async fn put_dehydrated_device(
        &self,
        user: UserNid,
        user_id: &UserId,
        new: &NewDehydratedDevice<'_>,
    ) -> Result<(), DehydratedDeviceError> {
        let device_id = new.device_id.as_str();
        if device_id.is_empty() || device_id.len() > MAX_NAME_BYTES {
            return Err(DehydratedDeviceError::Malformed("device_id: empty or too long"));
        }
        if new.display_name.is_some_and(|name| name.len() > MAX_NAME_BYTES) {
            return Err(DehydratedDeviceError::Malformed("initial_device_display_name: too long"));
        }
        let Some(device_keys) = new.keys.device_keys.as_deref() else {
            return Err(DehydratedDeviceError::Malformed("device_keys: missing"));
        };
        if new.keys.fallback_keys.as_ref().is_none_or(BTreeMap::is_empty) {
            return Err(DehydratedDeviceError::Malformed("fallback_keys: missing"));
        }
        let mut txn = self.inner.store.begin().await?;
        txn.lock_account(user).await?;
        let own_keys = txn.list_own_cross_signing_keys(user).await?;
        let self_signing = own_keys.iter().find(|key| key.usage == KeyUsage::SelfSigning);
        check_device_keys(user_id, new.device_id, device_keys.get(), self_signing)?;
        if let Some(old) = txn.find_dehydrated_device(user).await? {
            txn.delete_devices(user, &[old.device_id]).await?;
        }
        let login = DeviceLogin {
            device_id,
            display_name: new.display_name,
            ip: None,
            now_ms: self.inner.clock.now_ms(),
        };
        let device = txn.upsert_device(user, &login).await?;
        if !device.is_new {
            return Err(DehydratedDeviceError::IdInUse);
        }
        txn.insert_dehydrated_device(user, device.device, new.device_data).await?;
        let owner = KeyOwner {
            device: LocalDevice { user, device: device.device },
            user_id,
            device_id: new.device_id,
        };
        store_keys(&mut txn, owner, &new.keys).await?;
        txn.log(LogKind::DeviceList, None, Some(user)).await?;
        Ok(txn.commit().await?)
    }

    /// The dehydrated device of a user.
    pub async fn find_dehydrated_device(
        &self,
        user: UserNid,
    ) -> Result<DehydratedDeviceRow, DehydratedDeviceError> {
        let found = self.inner.store.reader().await?.find_dehydrated_device(user).await?;
        found.ok_or(DehydratedDeviceError::NotFound)
    }

    /// Deletes the dehydrated device of a user, with its messages. Returns its id.
    pub async fn delete_dehydrated_device(&self, user: UserNid) -> Result<String, DehydratedDeviceError> {
        let mut txn = self.inner.store.begin().await?;
        txn.lock_account(user).await?;
        let device = txn.find_dehydrated_device(user).await?.ok_or(DehydratedDeviceError::NotFound)?;
        txn.delete_devices(user, std::slice::from_ref(&device.device_id)).await?;
        txn.log(LogKind::DeviceList, None, Some(user)).await?;
        txn.commit().await?;
        Ok(device.device_id)
    }

    /// The messages for a dehydrated device after a token. Nothing is deleted by reading: whoever does may die over it.
    pub async fn dehydrated_device_events(
        &self,
        user: UserNid,
        device_id: &DeviceId,
        from: Option<StreamToken>,
    ) -> Result<DehydratedEvents, DehydratedDeviceError> {
        let device = match self.find_dehydrated_device(user).await {
            Ok(device) if device.device_id == device_id.as_str() => device,
            Ok(_) | Err(DehydratedDeviceError::NotFound) => return Err(DehydratedDeviceError::AnotherDevice),
            Err(error) => return Err(error),
        };
        let after = from.map_or(Position::START, |token| token.0);
        let up_to = self.inner.store.applied();
        let batch = self.stored_to_device(device.device, after, up_to.max(after), BATCH).await?;
        Ok(DehydratedEvents {
            events: batch.events,
            next: StreamToken(batch.up_to),
            has_more: batch.is_limited,
        })
    }
}
