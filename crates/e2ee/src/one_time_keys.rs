//! One-time and fallback keys: taking them in, and handing them out.

use std::{
    collections::{BTreeMap, HashMap, HashSet},
    sync::Arc,
    time::Duration,
};

use hs_model::ids::DeviceNid;
use hs_storage::{
    Reader, StorageError, Txn,
    one_time_keys::{OneTimeKey, WantedKey},
};
use ruma::OwnedServerName;
use serde::Serialize;
use serde_json::{Value, value::RawValue};

use crate::{
    E2ee, KeyOwner, LocalDevice, UploadKeysError, device_keys::signing_key_id, ports::WantedClaims, signed,
};

/// The most one-time keys that a device may have waiting.
const MAX_ONE_TIME_KEYS: i64 = 10_000;
/// The longest algorithm or id of a key: they are part of an index.
const MAX_NAME_BYTES: usize = 255;
/// What stands before the name of an algorithm whose keys are signed.
const SIGNED: &str = "signed_";

/// What a device has left to be handed out.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct KeySupply {
    /// How many one-time keys, by algorithm; algorithms without any are missing.
    pub one_time_keys: BTreeMap<String, i64>,
    /// The algorithms with a fallback key that was never handed out.
    pub unused_fallback_types: Vec<String>,
}

/// Keys handed out: by user, device, and `algorithm:id`.
#[derive(Debug, Default, Serialize)]
pub struct ClaimedKeys {
    /// Servers that could not be asked.
    pub failures: BTreeMap<OwnedServerName, Value>,
    /// The keys.
    pub one_time_keys: BTreeMap<String, BTreeMap<String, BTreeMap<String, Box<RawValue>>>>,
}

impl E2ee {
    /// What a device has left, as of the present: for a sync.
    pub async fn key_supply(&self, device: LocalDevice) -> Result<Arc<KeySupply>, StorageError> {
        let (known, epoch) = {
            let mut state = self.inner.state.lock();
            let position = state.position;
            state.inboxes.supply(device, position)
        };
        if let Some(supply) = known {
            return Ok(supply);
        }
        let mut reader = self.inner.store.reader().await?;
        let supply = Arc::new(read_supply(&mut reader, device.device).await?);
        let mut state = self.inner.state.lock();
        let position = state.position;
        state.inboxes.remember_supply(device, position, epoch, supply.clone());
        Ok(supply)
    }

    /// Hands out a key of each device for an algorithm. Other servers have `timeout` to hand out theirs.
    pub async fn claim_keys(
        &self,
        wanted: &WantedClaims,
        timeout: Duration,
    ) -> Result<ClaimedKeys, StorageError> {
        let remote = wanted.iter().filter(|(user_id, _)| !self.is_local(user_id));
        let remote: WantedClaims =
            remote.map(|(user_id, devices)| (user_id.clone(), devices.clone())).collect();
        let (claimed, remote) = tokio::join!(self.claim_own_keys(wanted), self.fetch_claims(remote, timeout));
        let mut claimed = claimed?;
        claimed.failures = remote.failures;
        for (user_id, devices) in remote.one_time_keys {
            let of_user = claimed.one_time_keys.entry(user_id.to_string()).or_default();
            of_user.extend(devices.into_iter().map(|(device_id, keys)| (device_id.to_string(), keys)));
        }
        Ok(claimed)
    }

    /// Hands out a key of each device of this server's users for an algorithm. A one-time key is handed out once.
    pub async fn claim_own_keys(&self, wanted: &WantedClaims) -> Result<ClaimedKeys, StorageError> {
        let mut claimed = ClaimedKeys::default();
        let (mut user_ids, mut device_ids) = (Vec::new(), Vec::new());
        for (user_id, devices) in wanted.iter().filter(|(user_id, _)| self.is_local(user_id)) {
            for device_id in devices.keys() {
                user_ids.push(user_id.to_string());
                device_ids.push(device_id.to_string());
            }
        }
        if user_ids.is_empty() {
            return Ok(claimed);
        }
        let mut txn = self.inner.store.begin().await?;
        let devices = txn.list_named_devices(&user_ids, &device_ids).await?;
        let wishes: Vec<WantedKey> = devices
            .iter()
            .filter_map(|device| {
                let user_id = <&ruma::UserId>::try_from(device.user_id.as_str()).ok()?;
                let algorithm = wanted.get(user_id)?.get(device.device_id.as_str())?;
                Some(WantedKey { user: device.user, device: device.device, algorithm: algorithm.clone() })
            })
            .collect();
        let keys = txn.claim_one_time_keys(&wishes, self.inner.clock.now_ms()).await?;
        txn.commit().await?;
        let names: HashMap<DeviceNid, (String, String)> =
            devices.into_iter().map(|device| (device.device, (device.user_id, device.device_id))).collect();
        for key in keys {
            let (Some((user_id, device_id)), Ok(value)) =
                (names.get(&key.device), RawValue::from_string(key.key.key))
            else {
                continue;
            };
            let of_user = claimed.one_time_keys.entry(user_id.clone()).or_default();
            let name = format!("{}:{}", key.key.algorithm, key.key.key_id);
            of_user.entry(device_id.clone()).or_default().insert(name, value);
        }
        Ok(claimed)
    }
}

/// What a device has left, from the database.
pub(crate) async fn read_supply(reader: &mut Reader, device: DeviceNid) -> Result<KeySupply, StorageError> {
    Ok(KeySupply {
        one_time_keys: reader.count_one_time_keys(device).await?.into_iter().collect(),
        unused_fallback_types: reader.list_unused_fallback_types(device).await?,
    })
}

/// Reads and checks keys by `algorithm:id`. `signer` is the key that the device signs with, if it is known.
pub(crate) fn read_keys(
    owner: KeyOwner<'_>,
    signer: Option<&str>,
    keys: &BTreeMap<String, Box<RawValue>>,
) -> Result<Vec<OneTimeKey>, UploadKeysError> {
    keys.iter().map(|(name, value)| read_key(owner, signer, name, value.get())).collect()
}

fn read_key(
    owner: KeyOwner<'_>,
    signer: Option<&str>,
    name: &str,
    json: &str,
) -> Result<OneTimeKey, UploadKeysError> {
    let malformed = |message: &str| UploadKeysError::Malformed(format!("{name:.100}: {message}"));
    let is_name = |part: &str| !part.is_empty() && part.len() <= MAX_NAME_BYTES && !part.contains('\0');
    let (algorithm, key_id) = name
        .split_once(':')
        .filter(|(algorithm, key_id)| is_name(algorithm) && is_name(key_id))
        .ok_or_else(|| malformed("the name of a key is its algorithm, a colon and its id"))?;
    let key = match signed::read_object(json) {
        Some(object) => {
            if object.get_str("key").is_none() {
                return Err(malformed("there is no `key`"));
            }
            if algorithm.starts_with(SIGNED)
                && let Some(signer) = signer
                && !signed::is_signed(
                    &object,
                    owner.user_id.as_str(),
                    &signing_key_id(owner.device_id),
                    signer,
                )
            {
                let message = format!("{name:.100}: not signed by the device, or the signature is wrong");
                return Err(UploadKeysError::InvalidSignature(message));
            }
            object.to_canonical_string()
        }
        None if json.starts_with('"') && !algorithm.starts_with(SIGNED) => {
            signed::canonical(json).ok_or_else(|| malformed("not a key"))?
        }
        None => return Err(malformed("neither a key nor an object that can be signed")),
    };
    Ok(OneTimeKey { algorithm: algorithm.to_owned(), key_id: key_id.to_owned(), key })
}

/// Adds those keys that are new; the others must be the same as those that are there. A key that was handed out lately is not
/// taken again. Says whether any were added.
pub(crate) async fn store_one_time_keys(
    txn: &mut Txn,
    device: DeviceNid,
    mut keys: Vec<OneTimeKey>,
) -> Result<bool, UploadKeysError> {
    if keys.is_empty() {
        return Ok(false);
    }
    let known: HashMap<(String, String), String> = txn
        .list_one_time_keys(device, &keys)
        .await?
        .into_iter()
        .map(|key| ((key.algorithm, key.key_id), key.key))
        .collect();
    for key in &keys {
        if let Some(old) = known.get(&(key.algorithm.clone(), key.key_id.clone()))
            && *old != key.key
        {
            return Err(UploadKeysError::Exists {
                name: format!("{}:{}", key.algorithm, key.key_id),
                old: old.clone(),
                new: key.key.clone(),
            });
        }
    }
    let claimed: HashSet<(String, String)> =
        txn.list_claimed_keys(device, &keys).await?.into_iter().collect();
    keys.retain(|key| {
        let name = (key.algorithm.clone(), key.key_id.clone());
        !known.contains_key(&name) && !claimed.contains(&name)
    });
    if keys.is_empty() {
        return Ok(false);
    }
    let count: i64 = txn.count_one_time_keys(device).await?.into_iter().map(|(_, count)| count).sum();
    if count + keys.len() as i64 > MAX_ONE_TIME_KEYS {
        return Err(UploadKeysError::TooMany);
    }
    txn.insert_one_time_keys(device, &keys).await?;
    Ok(true)
}
