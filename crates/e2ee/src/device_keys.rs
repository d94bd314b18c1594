//! Uploading keys, and asking for those of others.

use std::{
    collections::{BTreeMap, BTreeSet, HashMap},
    time::Duration,
};

use hs_model::ids::UserNid;
use hs_room_rules::canonical_json::{Object, Value as CanonicalValue};
use hs_storage::{
    Reader, StorageError, Txn, cross_signing::KeyUsage, device_keys::DeviceKeysRow, log::LogKind,
    one_time_keys::OneTimeKey,
};
use ruma::{DeviceId, OwnedServerName, UserId};
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value, value::RawValue};

use crate::{
    E2ee, LocalDevice,
    one_time_keys::{self, KeySupply},
    ports::WantedDevices,
    signed,
};

/// A device uploading keys.
#[derive(Clone, Copy, Debug)]
pub struct KeyOwner<'a> {
    /// The device.
    pub device: LocalDevice,
    /// Its user's id.
    pub user_id: &'a UserId,
    /// Its id.
    pub device_id: &'a DeviceId,
}

/// The keys that a device uploads, as they come.
#[derive(Debug, Default, Deserialize)]
pub struct KeysUpload {
    /// The identity keys.
    #[serde(default)]
    pub device_keys: Option<Box<RawValue>>,
    /// One-time keys by `algorithm:id`.
    #[serde(default)]
    pub one_time_keys: Option<BTreeMap<String, Box<RawValue>>>,
    /// Fallback keys by `algorithm:id`.
    #[serde(default)]
    pub fallback_keys: Option<BTreeMap<String, Box<RawValue>>>,
}

/// Why keys were not taken. Then none of the upload was.
#[derive(Debug, thiserror::Error)]
pub enum UploadKeysError {
    /// Something is not what it should be.
    #[error("{0}")]
    Malformed(String),
    /// A signature is missing or wrong.
    #[error("{0}")]
    InvalidSignature(String),
    /// There is another key with this id.
    // Clients look for these words to find out that they have lost their state.
    #[error("One time key {name} already exists. Old key: {old}; new key: {new}")]
    Exists {
        /// Algorithm and id.
        name: String,
        /// The key that is there.
        old: String,
        /// The key of the upload.
        new: String,
    },
    /// The device has as many keys as it may have.
    #[error("Too many one-time keys")]
    TooMany,
    /// The device was deleted meanwhile.
    #[error("The device no longer exists")]
    DeviceGone,
    /// The database failed.
    #[error(transparent)]
    Storage(#[from] StorageError),
}

/// The keys of users, as they are told to others.
#[derive(Debug, Default, Serialize)]
pub struct KeyQuery {
    /// Servers that could not be asked.
    pub failures: BTreeMap<OwnedServerName, Value>,
    /// Identity keys by user and device.
    pub device_keys: BTreeMap<String, BTreeMap<String, Value>>,
    /// Master keys.
    pub master_keys: BTreeMap<String, Value>,
    /// Self-signing keys.
    pub self_signing_keys: BTreeMap<String, Value>,
    /// User-signing keys: that of the one who asks.
    pub user_signing_keys: BTreeMap<String, Value>,
}

/// The identity keys of a device, checked.
struct DeviceKeys {
    text: String,
    signing_text: String,
    public_key: String,
}

impl DeviceKeys {
    fn read(owner: KeyOwner<'_>, json: &str) -> Result<Self, UploadKeysError> {
        let malformed = |message: &str| UploadKeysError::Malformed(format!("device_keys: {message}"));
        let mut object = signed::read_object(json)
            .ok_or_else(|| malformed("not an object that can be signed (unique keys, no fractions)"))?;
        object.remove("unsigned");
        if object.get_str("user_id") != Some(owner.user_id.as_str()) {
            return Err(malformed("user_id is not yours"));
        }
        if object.get_str("device_id") != Some(owner.device_id.as_str()) {
            return Err(malformed("device_id is not that of your session"));
        }
        let is_text = |value: &CanonicalValue<'_>| value.as_str().is_some();
        if !matches!(object.get("algorithms"), Some(CanonicalValue::Array(names)) if names.iter().all(is_text))
        {
            return Err(malformed("algorithms must be a list of names"));
        }
        let keys = object.get_object("keys").ok_or_else(|| malformed("keys must be an object"))?;
        if !keys.iter().all(|(_, key)| is_text(key)) {
            return Err(malformed("keys must have strings as values"));
        }
        let key_id = signing_key_id(owner.device_id);
        let public_key = keys.get_str(&key_id).filter(|key| signed::is_key(key));
        let public_key = public_key.ok_or_else(|| malformed("keys has no ed25519 key of the device"))?;
        let public_key = public_key.to_owned();
        if !signed::is_signed(&object, owner.user_id.as_str(), &key_id, &public_key) {
            let message = "device_keys: not signed by the device, or the signature is wrong";
            return Err(UploadKeysError::InvalidSignature(message.to_owned()));
        }
        Ok(Self {
            text: object.to_canonical_string(),
            signing_text: signed::signing_text(&object),
            public_key,
        })
    }

    /// The ed25519 key, and the text that was signed, of keys that are stored.
    fn stored(owner: KeyOwner<'_>, text: String) -> Option<Self> {
        let object = signed::read_object(&text)?;
        let public_key = public_key_of(&object, owner.device_id)?.to_owned();
        let signing_text = signed::signing_text(&object);
        drop(object);
        Some(Self { text, signing_text, public_key })
    }
}

/// The id of the key that a device signs with.
pub(crate) fn signing_key_id(device_id: &DeviceId) -> String {
    format!("ed25519:{device_id}")
}

/// The key that a device signs with, in its device keys.
pub(crate) fn public_key_of<'o>(device_keys: &'o Object<'_>, device_id: &DeviceId) -> Option<&'o str> {
    device_keys.get_object("keys")?.get_str(&signing_key_id(device_id))
}

impl E2ee {
    /// Takes the keys that a device uploads, all or none. Returns what it has left.
    pub async fn upload_keys(
        &self,
        owner: KeyOwner<'_>,
        upload: &KeysUpload,
    ) -> Result<KeySupply, UploadKeysError> {
        let mut txn = self.inner.store.begin().await?;
        let is_empty = upload.device_keys.is_none()
            && upload.one_time_keys.as_ref().is_none_or(BTreeMap::is_empty)
            && upload.fallback_keys.as_ref().is_none_or(BTreeMap::is_empty);
        if is_empty {
            return Ok(one_time_keys::read_supply(&mut txn, owner.device.device).await?);
        }
        let changed = store_keys(&mut txn, owner, upload).await?;
        let supply = one_time_keys::read_supply(&mut txn, owner.device.device).await?;
        if changed.supply {
            txn.log_one_time_keys(owner.device.user, owner.device.device).await?;
        }
        if changed.device_list {
            txn.log(LogKind::DeviceList, None, Some(owner.device.user)).await?;
        }
        txn.commit().await?;
        Ok(supply)
    }

    /// The keys of users, all or some of their devices, as a user may see them. Other servers have `timeout` to answer.
    pub async fn query_keys(
        &self,
        viewer: UserNid,
        viewer_id: &UserId,
        wanted: &WantedDevices,
        timeout: Duration,
    ) -> Result<KeyQuery, StorageError> {
        let remote: WantedDevices = wanted
            .iter()
            .filter(|(user_id, _)| !self.is_local(user_id))
            .map(|(user_id, devices)| (user_id.clone(), devices.clone()))
            .collect();
        let remote = self.fetch_keys(viewer, remote, timeout).await?;
        let mut stored: Vec<String> =
            wanted.keys().filter(|user_id| self.is_local(user_id)).map(ToString::to_string).collect();
        stored.extend(remote.stored);
        let mut found = self.stored_keys(Some((viewer, viewer_id)), wanted, &stored).await?;
        found.failures = remote.failures;
        for (user_id, devices) in remote.device_keys {
            found.device_keys.insert(user_id.to_string(), devices);
        }
        found.master_keys.extend(remote.master_keys);
        found.self_signing_keys.extend(remote.self_signing_keys);
        Ok(found)
    }

    /// The keys of users of this server, as other servers may see them.
    pub async fn query_keys_for_server(&self, wanted: &WantedDevices) -> Result<KeyQuery, StorageError> {
        let local: Vec<String> =
            wanted.keys().filter(|user_id| self.is_local(user_id)).map(ToString::to_string).collect();
        self.stored_keys(None, wanted, &local).await
    }

    /// What is stored of users.
    async fn stored_keys(
        &self,
        viewer: Option<(UserNid, &UserId)>,
        wanted: &WantedDevices,
        user_ids: &[String],
    ) -> Result<KeyQuery, StorageError> {
        let mut found = KeyQuery::default();
        if user_ids.is_empty() {
            return Ok(found);
        }
        let (local, remote): (Vec<String>, Vec<String>) = user_ids.iter().cloned().partition(|user_id| {
            <&UserId>::try_from(user_id.as_str()).is_ok_and(|user_id| self.is_local(user_id))
        });
        let mut reader = self.inner.store.reader().await?;
        let mut rows = Vec::new();
        if !local.is_empty() {
            let accounts = reader.list_accounts_among(&local).await?;
            found.device_keys.extend(accounts.into_iter().map(|user_id| (user_id, BTreeMap::new())));
            rows.extend(reader.list_device_keys(&local).await?);
        }
        if !remote.is_empty() {
            found.device_keys.extend(remote.iter().map(|user_id| (user_id.clone(), BTreeMap::new())));
            rows.extend(reader.list_remote_device_keys(&remote).await?);
        }
        for row in rows {
            let is_wanted = <&UserId>::try_from(row.user_id.as_str())
                .ok()
                .and_then(|user_id| wanted.get(user_id))
                .is_some_and(|ids| ids.is_empty() || ids.iter().any(|id| id.as_str() == row.device_id));
            if is_wanted && let Some(devices) = found.device_keys.get_mut(&row.user_id) {
                devices.insert(row.device_id.clone(), device_information(&row));
            }
        }
        add_cross_signing_keys(&mut reader, &mut found, viewer, user_ids).await?;
        Ok(found)
    }
}

async fn add_cross_signing_keys(
    reader: &mut Reader,
    found: &mut KeyQuery,
    viewer: Option<(UserNid, &UserId)>,
    user_ids: &[String],
) -> Result<(), StorageError> {
    let keys = reader.list_cross_signing_keys(user_ids).await?;
    let owners: BTreeSet<UserNid> = keys.iter().map(|(_, key)| key.user).collect();
    let owners: Vec<UserNid> = owners.into_iter().collect();
    let mut signatures: HashMap<UserNid, Vec<_>> = HashMap::new();
    let by = viewer.map(|(viewer, _)| viewer);
    for (signature, signer_id) in reader.list_master_key_signatures(&owners, by).await? {
        signatures.entry(signature.target).or_default().push((signature, signer_id));
    }
    for (user_id, row) in keys {
        let mut key = parsed(&row.key);
        match row.usage {
            KeyUsage::Master => {
                for (signature, signer_id) in signatures.remove(&row.user).unwrap_or_default() {
                    add_signature(&mut key, &signer_id, &signature.signing_key_id, &signature.signature);
                }
                found.master_keys.insert(user_id, key);
            }
            KeyUsage::SelfSigning => {
                found.self_signing_keys.insert(user_id, key);
            }
            KeyUsage::UserSigning if viewer.is_some_and(|(_, id)| user_id == id.as_str()) => {
                found.user_signing_keys.insert(user_id, key);
            }
            KeyUsage::UserSigning => {}
        }
    }
    Ok(())
}

/// What an upload has changed.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Changed {
    pub(crate) device_list: bool,
    pub(crate) supply: bool,
}

/// Checks and writes an upload.
pub(crate) async fn store_keys(
    txn: &mut Txn,
    owner: KeyOwner<'_>,
    upload: &KeysUpload,
) -> Result<Changed, UploadKeysError> {
    let device = owner.device.device;
    let uploaded = upload.device_keys.as_ref().map(|json| DeviceKeys::read(owner, json.get())).transpose()?;
    if !txn.lock_device(device).await? {
        return Err(UploadKeysError::DeviceGone);
    }
    let stored = txn.find_device_keys(device).await?.and_then(|text| DeviceKeys::stored(owner, text));
    let mut changed = Changed::default();
    if let Some(keys) = &uploaded
        && stored.as_ref().is_none_or(|stored| stored.text != keys.text)
    {
        if let Some(stored) = &stored {
            if stored.signing_text != keys.signing_text {
                txn.delete_device_signatures(device).await?;
            }
            // Nobody can use what the old key has signed.
            if stored.public_key != keys.public_key {
                txn.delete_one_time_keys(device).await?;
                changed.supply = true;
            }
        }
        txn.upsert_device_keys(device, &keys.text).await?;
        changed.device_list = true;
    }
    let signer = uploaded.or(stored).map(|keys| keys.public_key);
    let read = |keys: &Option<BTreeMap<String, Box<RawValue>>>| match keys {
        Some(keys) => one_time_keys::read_keys(owner, signer.as_deref(), keys),
        None => Ok(Vec::new()),
    };
    let one_time = read(&upload.one_time_keys)?;
    let fallback = read(&upload.fallback_keys)?;
    changed.supply |= one_time_keys::store_one_time_keys(txn, device, one_time).await?;
    if !fallback.is_empty() {
        let mut algorithms = BTreeSet::new();
        if !fallback.iter().all(|key: &OneTimeKey| algorithms.insert(key.algorithm.as_str())) {
            let message = "fallback_keys: there can be only one for each algorithm";
            return Err(UploadKeysError::Malformed(message.to_owned()));
        }
        txn.upsert_fallback_keys(device, &fallback).await?;
        changed.supply = true;
    }
    Ok(changed)
}

pub(crate) fn device_information(row: &DeviceKeysRow) -> Value {
    let mut keys = parsed(&row.keys);
    for (key_id, signature) in &row.signatures {
        add_signature(&mut keys, &row.user_id, key_id, signature);
    }
    let mut unsigned = Map::new();
    if let Some(name) = &row.display_name {
        unsigned.insert("device_display_name".to_owned(), name.as_str().into());
    }
    if let Value::Object(keys) = &mut keys {
        keys.insert("unsigned".to_owned(), Value::Object(unsigned));
    }
    keys
}

fn add_signature(object: &mut Value, signer: &str, key_id: &str, signature: &str) {
    let Value::Object(object) = object else { return };
    let signatures = object.entry("signatures").or_insert_with(|| Value::Object(Map::new()));
    let Value::Object(signatures) = signatures else { return };
    let by_signer = signatures.entry(signer).or_insert_with(|| Value::Object(Map::new()));
    if let Value::Object(by_signer) = by_signer {
        by_signer.insert(key_id.to_owned(), signature.into());
    }
}

/// JSON that was checked when it was stored.
fn parsed(json: &str) -> Value {
    serde_json::from_str(json).unwrap_or_default()
}
