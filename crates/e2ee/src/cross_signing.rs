//! Cross-signing keys, and what is signed with them.
//!
//! <https://spec.matrix.org/v1.19/client-server-api/#cross-signing>

use std::collections::{BTreeMap, HashMap};

use hs_model::ids::{DeviceNid, UserNid};
use hs_room_rules::{
    canonical_json::{Object, Value as CanonicalValue},
    sign::is_valid_signature,
};
use hs_storage::{
    StorageError,
    cross_signing::{CrossSigningKeyRow, DeviceSignature, KeyUsage, MasterKeySignature},
    log::LogKind,
};
use ruma::{DeviceId, OwnedUserId, UserId};
use serde::Serialize;
use serde_json::{Map, Value, value::RawValue};

use crate::{E2ee, device_keys::public_key_of, signed};

/// The keys that a user uploads, checked as far as they can be without what is stored.
#[derive(Clone, Debug, Default)]
pub struct CrossSigningUpload {
    keys: Vec<Uploaded>,
}

#[derive(Clone, Debug)]
struct Uploaded {
    usage: KeyUsage,
    public_key: String,
    /// Canonical JSON.
    text: String,
}

/// Why cross-signing keys were not taken.
#[derive(Debug, thiserror::Error)]
pub enum CrossSigningError {
    /// A key is not what it should be.
    #[error("{0}")]
    Malformed(String),
    /// There is no master key to sign the others.
    #[error("There is no master key")]
    NoMasterKey,
    /// A key is not signed by the master key.
    #[error("{0} is not signed by the master key")]
    InvalidSignature(&'static str),
    /// A key is called as one of the user's devices.
    #[error("A device has the id of the key")]
    KeyIdInUse,
    /// The user has keys already, and must prove who they are to change them.
    #[error("the user must prove who they are")]
    NeedsAuthentication,
    /// The database failed.
    #[error(transparent)]
    Storage(#[from] StorageError),
}

/// Why a signature was not taken.
#[derive(Clone, Debug, Serialize)]
pub struct SignatureFailure {
    errcode: &'static str,
    error: &'static str,
}

/// By user and key.
pub type SignatureFailures = BTreeMap<OwnedUserId, BTreeMap<String, SignatureFailure>>;

const INVALID: SignatureFailure = SignatureFailure {
    errcode: "M_INVALID_SIGNATURE",
    error: "There is no valid signature by a key of yours",
};
const MISMATCH: SignatureFailure = SignatureFailure {
    errcode: "M_INVALID_SIGNATURE",
    error: "What was signed is not the key that is known here",
};
const UNKNOWN: SignatureFailure =
    SignatureFailure { errcode: "M_NOT_FOUND", error: "There is no such key that you can sign" };

impl CrossSigningUpload {
    /// Reads the parameters of an upload.
    pub fn read(user_id: &UserId, params: &Map<String, Value>) -> Result<Self, CrossSigningError> {
        const FIELDS: [(&str, &str, KeyUsage); 3] = [
            ("master_key", "master", KeyUsage::Master),
            ("self_signing_key", "self_signing", KeyUsage::SelfSigning),
            ("user_signing_key", "user_signing", KeyUsage::UserSigning),
        ];
        let mut keys = Vec::new();
        for (field, word, usage) in FIELDS {
            if let Some(value) = params.get(field).filter(|value| !value.is_null()) {
                keys.push(read_key(user_id, field, word, usage, value)?);
            }
        }
        Ok(Self { keys })
    }

    /// Whether it holds no key at all.
    pub fn is_empty(&self) -> bool {
        self.keys.is_empty()
    }

    fn get(&self, usage: KeyUsage) -> Option<&Uploaded> {
        self.keys.iter().find(|key| key.usage == usage)
    }

    /// Whether every key is stored already.
    fn is_known(&self, stored: &[CrossSigningKeyRow]) -> bool {
        self.keys.iter().all(|key| {
            stored.iter().any(|stored| stored.usage == key.usage && stored.public_key == key.public_key)
        })
    }
}

fn read_key(
    user_id: &UserId,
    field: &str,
    word: &str,
    usage: KeyUsage,
    value: &Value,
) -> Result<Uploaded, CrossSigningError> {
    let malformed = |message: &str| CrossSigningError::Malformed(format!("{field}: {message}"));
    let json = value.to_string();
    let mut object =
        signed::read_object(&json).ok_or_else(|| malformed("not an object that can be signed"))?;
    object.remove("unsigned");
    if object.get_str("user_id") != Some(user_id.as_str()) {
        return Err(malformed("user_id is not yours"));
    }
    let has_usage = matches!(object.get("usage"), Some(CanonicalValue::Array(usages))
        if usages.iter().any(|usage| usage.as_str() == Some(word)));
    if !has_usage {
        return Err(malformed("usage does not name what the key is for"));
    }
    let keys = object.get_object("keys").ok_or_else(|| malformed("keys must be an object"))?;
    let mut keys = keys.iter();
    let (Some((key_id, key)), None) = (keys.next(), keys.next()) else {
        return Err(malformed("keys must hold exactly one key"));
    };
    let public_key = key.as_str().filter(|key| signed::is_key(key));
    let public_key = public_key.ok_or_else(|| malformed("the key is not base64 of 32 bytes"))?;
    if key_id.strip_prefix("ed25519:") != Some(public_key) {
        return Err(malformed("the id of the key must be `ed25519:` and the key itself"));
    }
    let public_key = public_key.to_owned();
    Ok(Uploaded { usage, public_key, text: object.to_canonical_string() })
}

impl E2ee {
    /// Whether a user must prove who they are before these keys are taken.
    ///
    /// <https://spec.matrix.org/v1.19/client-server-api/#post_matrixclientv3keysdevice_signingupload>
    pub async fn needs_authentication(
        &self,
        user: UserNid,
        upload: &CrossSigningUpload,
    ) -> Result<bool, StorageError> {
        let stored = self.inner.store.reader().await?.list_own_cross_signing_keys(user).await?;
        Ok(needs_authentication(upload, &stored))
    }

    /// Takes cross-signing keys. A new master key takes away what the old one has signed.
    pub async fn upload_cross_signing_keys(
        &self,
        user: UserNid,
        user_id: &UserId,
        upload: &CrossSigningUpload,
        is_authenticated: bool,
    ) -> Result<(), CrossSigningError> {
        let mut txn = self.inner.store.begin().await?;
        txn.lock_account(user).await?;
        let stored = txn.list_own_cross_signing_keys(user).await?;
        if !is_authenticated && needs_authentication(upload, &stored) {
            return Err(CrossSigningError::NeedsAuthentication);
        }
        let stored_master = stored.iter().find(|key| key.usage == KeyUsage::Master);
        let new_master = upload.get(KeyUsage::Master);
        let master = new_master
            .map(|key| key.public_key.as_str())
            .or(stored_master.map(|key| key.public_key.as_str()))
            .ok_or(CrossSigningError::NoMasterKey)?;
        check_signatures(user_id, upload, master)?;
        if upload.is_known(&stored) {
            return Ok(());
        }
        let names: Vec<String> = upload.keys.iter().map(|key| key.public_key.clone()).collect();
        if txn.has_device_named(user, &names).await? {
            return Err(CrossSigningError::KeyIdInUse);
        }
        if let (Some(new), Some(stored)) = (new_master, stored_master)
            && new.public_key != stored.public_key
        {
            txn.delete_subordinate_keys(user).await?;
        }
        for key in &upload.keys {
            txn.upsert_cross_signing_key(&CrossSigningKeyRow {
                user,
                usage: key.usage,
                public_key: key.public_key.clone(),
                key: key.text.clone(),
            })
            .await?;
        }
        txn.log(LogKind::DeviceList, None, Some(user)).await?;
        Ok(txn.commit().await?)
    }

    /// Takes signatures of keys, each on its own; what was not taken is returned.
    ///
    /// <https://spec.matrix.org/v1.19/client-server-api/#post_matrixclientv3keyssignaturesupload>
    pub async fn upload_signatures(
        &self,
        signer: UserNid,
        signer_id: &UserId,
        signed_keys: &BTreeMap<OwnedUserId, BTreeMap<String, Box<RawValue>>>,
    ) -> Result<SignatureFailures, StorageError> {
        let mut txn = self.inner.store.begin().await?;
        let known = Known::read(&mut txn, signer, signer_id, signed_keys).await?;
        let mut failures = SignatureFailures::new();
        let mut taken = Taken::default();
        for (user_id, keys) in signed_keys {
            for (name, json) in keys {
                let outcome = if user_id == signer_id {
                    known.own(name, json.get(), &mut taken)
                } else {
                    known.others(user_id, name, json.get(), &mut taken)
                };
                if let Err(failure) = outcome {
                    failures.entry(user_id.clone()).or_default().insert(name.clone(), failure);
                }
            }
        }
        let is_own = !taken.devices.is_empty() || taken.masters.iter().any(|taken| taken.target == signer);
        if !taken.devices.is_empty() {
            txn.upsert_device_signatures(&taken.devices).await?;
        }
        if !taken.masters.is_empty() {
            txn.upsert_master_key_signatures(&taken.masters).await?;
        }
        let mut others: Vec<UserNid> =
            taken.masters.iter().map(|taken| taken.target).filter(|target| *target != signer).collect();
        others.sort_unstable();
        others.dedup();
        txn.log_user_signatures(signer, &others).await?;
        if is_own {
            txn.log(LogKind::DeviceList, None, Some(signer)).await?;
        }
        txn.commit().await?;
        Ok(failures)
    }
}

fn needs_authentication(upload: &CrossSigningUpload, stored: &[CrossSigningKeyRow]) -> bool {
    let has_master = stored.iter().any(|key| key.usage == KeyUsage::Master);
    let repeats_master = upload.get(KeyUsage::Master).is_some() && upload.is_known(stored);
    has_master && !repeats_master
}

fn check_signatures(
    user_id: &UserId,
    upload: &CrossSigningUpload,
    master: &str,
) -> Result<(), CrossSigningError> {
    for (usage, field) in
        [(KeyUsage::SelfSigning, "self_signing_key"), (KeyUsage::UserSigning, "user_signing_key")]
    {
        let Some(key) = upload.get(usage) else { continue };
        let is_signed = signed::read_object(&key.text).is_some_and(|object| {
            signed::is_signed(&object, user_id.as_str(), &format!("ed25519:{master}"), master)
        });
        if !is_signed {
            return Err(CrossSigningError::InvalidSignature(field));
        }
    }
    Ok(())
}

/// The keys that may be signed, and with what.
struct Known<'a> {
    signer: UserNid,
    signer_id: &'a UserId,
    /// The signer's devices: numbers and keys.
    devices: HashMap<String, (DeviceNid, String)>,
    /// The signer's own keys.
    own: HashMap<KeyUsage, CrossSigningKeyRow>,
    /// The master keys of others.
    masters: HashMap<String, CrossSigningKeyRow>,
}

/// Signatures that are right.
#[derive(Default)]
struct Taken {
    devices: Vec<DeviceSignature>,
    masters: Vec<MasterKeySignature>,
}

impl<'a> Known<'a> {
    async fn read(
        reader: &mut hs_storage::Reader,
        signer: UserNid,
        signer_id: &'a UserId,
        signed_keys: &BTreeMap<OwnedUserId, BTreeMap<String, Box<RawValue>>>,
    ) -> Result<Self, StorageError> {
        let mut user_ids: Vec<String> = signed_keys.keys().map(ToString::to_string).collect();
        user_ids.push(signer_id.to_string());
        let mut known =
            Self { signer, signer_id, devices: HashMap::new(), own: HashMap::new(), masters: HashMap::new() };
        for (user_id, key) in reader.list_cross_signing_keys(&user_ids).await? {
            if key.user == signer {
                known.own.insert(key.usage, key);
            } else if key.usage == KeyUsage::Master {
                known.masters.insert(user_id, key);
            }
        }
        for (device, device_id, keys) in reader.list_keys_of_devices(signer).await? {
            known.devices.insert(device_id, (device, keys));
        }
        Ok(known)
    }

    /// A signature of one of the signer's own keys: a device signed by the self-signing key, or the master key signed by
    /// devices.
    fn own(&self, name: &str, json: &str, taken: &mut Taken) -> Result<(), SignatureFailure> {
        let object = signed::read_object(json).ok_or(INVALID)?;
        if let Some(master) = self.own.get(&KeyUsage::Master).filter(|key| key.public_key == name) {
            return self.own_master(master, &object, taken);
        }
        let (device, keys) = self.devices.get(name).ok_or(UNKNOWN)?;
        let text = matching_text(keys, &object)?;
        let self_signing = self.own.get(&KeyUsage::SelfSigning).ok_or(INVALID)?;
        let (signing_key_id, signature) = self.signature(&object, &text, self_signing)?;
        taken.devices.push(DeviceSignature { device: *device, signing_key_id, signature });
        Ok(())
    }

    fn own_master(
        &self,
        master: &CrossSigningKeyRow,
        object: &Object<'_>,
        taken: &mut Taken,
    ) -> Result<(), SignatureFailure> {
        let text = matching_text(&master.key, object)?;
        let mut signatures = Vec::new();
        for (key_id, signature) in signed::signatures_of(object, self.signer_id.as_str()) {
            let Some(device_id) = key_id.strip_prefix("ed25519:") else { continue };
            let Some((_, keys)) = self.devices.get(device_id) else { continue };
            let is_valid = signed::read_object(keys).is_some_and(|keys| {
                public_key_of(&keys, <&DeviceId>::from(device_id))
                    .is_some_and(|key| is_valid_signature(&text, key, signature))
            });
            if !is_valid {
                return Err(INVALID);
            }
            signatures.push(MasterKeySignature {
                target: self.signer,
                public_key: master.public_key.clone(),
                signer: self.signer,
                signing_key_id: key_id.to_owned(),
                signature: signature.to_owned(),
            });
        }
        if signatures.is_empty() {
            return Err(INVALID);
        }
        taken.masters.append(&mut signatures);
        Ok(())
    }

    /// A signature of another user's master key by the user-signing key.
    fn others(
        &self,
        user_id: &UserId,
        name: &str,
        json: &str,
        taken: &mut Taken,
    ) -> Result<(), SignatureFailure> {
        let object = signed::read_object(json).ok_or(INVALID)?;
        let master =
            self.masters.get(user_id.as_str()).filter(|key| key.public_key == name).ok_or(UNKNOWN)?;
        let text = matching_text(&master.key, &object)?;
        let user_signing = self.own.get(&KeyUsage::UserSigning).ok_or(INVALID)?;
        let (signing_key_id, signature) = self.signature(&object, &text, user_signing)?;
        taken.masters.push(MasterKeySignature {
            target: master.user,
            public_key: master.public_key.clone(),
            signer: self.signer,
            signing_key_id,
            signature,
        });
        Ok(())
    }

    /// The signature by one of the signer's keys, if it is valid.
    fn signature(
        &self,
        object: &Object<'_>,
        text: &str,
        key: &CrossSigningKeyRow,
    ) -> Result<(String, String), SignatureFailure> {
        let key_id = format!("ed25519:{}", key.public_key);
        let signature = signed::signatures_of(object, self.signer_id.as_str())
            .find(|(id, _)| *id == key_id)
            .map(|(_, signature)| signature.to_owned())
            .filter(|signature| is_valid_signature(text, &key.public_key, signature))
            .ok_or(INVALID)?;
        Ok((key_id, signature))
    }
}

/// The text that was signed, if it is that of the stored key.
fn matching_text(stored: &str, object: &Object<'_>) -> Result<String, SignatureFailure> {
    let text = signed::signing_text(object);
    match signed::read_object(stored) {
        Some(stored) if signed::signing_text(&stored) == text => Ok(text),
        _ => Err(MISMATCH),
    }
}
