//! Reading what other servers say of the keys of their users. Whether signatures are right is for clients to check; here it
//! counts that nothing is taken for something else, and that nothing is too large.

use hs_model::ids::UserNid;
use hs_room_rules::canonical_json::Value as CanonicalValue;
use hs_storage::{
    cross_signing::{CrossSigningKeyRow, KeyUsage},
    remote_devices::RemoteDevice,
};
use ruma::UserId;
use serde_json::value::RawValue;

use crate::{
    ports::{ListedDevice, RemoteDeviceList},
    signed,
};

/// How many devices of a user of another server are kept.
pub(crate) const MAX_DEVICES: usize = 1_000;
/// The largest keys of a device.
const MAX_KEYS_BYTES: usize = 32 * 1024;
/// The longest name of a device that is kept.
const MAX_NAME_BYTES: usize = 1_024;
/// The longest id of a device: it is part of an index.
const MAX_ID_BYTES: usize = 255;

/// A user of another server, of whom something was told.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Owner<'a> {
    pub(crate) user: UserNid,
    pub(crate) user_id: &'a UserId,
}

/// What a server has told of a user, checked.
#[derive(Debug)]
pub(crate) struct CheckedList {
    pub(crate) user: UserNid,
    /// `None` when the answer does not say.
    pub(crate) stream_id: Option<i64>,
    pub(crate) devices: Vec<RemoteDevice>,
    pub(crate) keys: Vec<CrossSigningKeyRow>,
}

impl CheckedList {
    pub(crate) fn read(owner: Owner<'_>, list: RemoteDeviceList) -> Self {
        let mut devices: Vec<RemoteDevice> = list
            .devices
            .into_iter()
            .take(MAX_DEVICES)
            .filter_map(|ListedDevice { device_id, display_name, keys }| {
                device(owner, &device_id, display_name, &keys)
            })
            .collect();
        devices.sort_unstable_by(|a, b| a.device_id.cmp(&b.device_id));
        devices.dedup_by(|a, b| a.device_id == b.device_id);
        let keys = [(list.master_key, KeyUsage::Master), (list.self_signing_key, KeyUsage::SelfSigning)];
        let keys = keys.into_iter().filter_map(|(json, usage)| cross_signing_key(owner, usage, &json?));
        Self { user: owner.user, stream_id: list.stream_id, devices, keys: keys.collect() }
    }
}

/// A device, unless what was told of it is nonsense.
pub(crate) fn device(
    owner: Owner<'_>,
    device_id: &str,
    display_name: Option<String>,
    json: &RawValue,
) -> Option<RemoteDevice> {
    let json = json.get();
    if json.len() > MAX_KEYS_BYTES || !is_device_id(device_id) {
        return None;
    }
    let mut object = signed::read_object(json)?;
    let unsigned_name = object
        .get_object("unsigned")
        .and_then(|unsigned| unsigned.get_str("device_display_name"))
        .map(ToOwned::to_owned);
    object.remove("unsigned");
    let is_theirs = object.get_str("user_id") == Some(owner.user_id.as_str())
        && object.get_str("device_id") == Some(device_id)
        && object.get_object("keys").is_some();
    let display_name = display_name.or(unsigned_name).filter(|name| name.len() <= MAX_NAME_BYTES);
    is_theirs.then(|| RemoteDevice {
        user: owner.user,
        device_id: device_id.to_owned(),
        // Postgres takes no U+0000 in texts.
        display_name: display_name.map(|name| name.replace('\0', "")),
        keys: object.to_canonical_string(),
    })
}

/// Whether a text can be the id of a device.
pub(crate) fn is_device_id(text: &str) -> bool {
    !text.is_empty() && text.len() <= MAX_ID_BYTES && !text.contains('\0')
}

/// A cross-signing key, unless what was told of it is nonsense.
pub(crate) fn cross_signing_key(
    owner: Owner<'_>,
    usage: KeyUsage,
    json: &RawValue,
) -> Option<CrossSigningKeyRow> {
    let json = json.get();
    if json.len() > MAX_KEYS_BYTES {
        return None;
    }
    let mut object = signed::read_object(json)?;
    object.remove("unsigned");
    let word = match usage {
        KeyUsage::Master => "master",
        KeyUsage::SelfSigning => "self_signing",
        KeyUsage::UserSigning => "user_signing",
    };
    let has_usage = matches!(object.get("usage"), Some(CanonicalValue::Array(usages))
        if usages.iter().any(|usage| usage.as_str() == Some(word)));
    if !has_usage || object.get_str("user_id") != Some(owner.user_id.as_str()) {
        return None;
    }
    let mut keys = object.get_object("keys")?.iter();
    let (Some((key_id, key)), None) = (keys.next(), keys.next()) else { return None };
    let public_key = key.as_str().filter(|key| signed::is_key(key))?;
    if key_id.strip_prefix("ed25519:") != Some(public_key) {
        return None;
    }
    let public_key = public_key.to_owned();
    Some(CrossSigningKeyRow { user: owner.user, usage, public_key, key: object.to_canonical_string() })
}

#[cfg(test)]
mod tests {
    use ruma::user_id;
    use serde_json::{Value, json};

    use super::*;

    fn owner() -> Owner<'static> {
        Owner { user: UserNid(1), user_id: user_id!("@bob:other.example") }
    }

    fn raw(value: &Value) -> Box<RawValue> {
        RawValue::from_string(value.to_string()).unwrap()
    }

    fn keys(user_id: &str, device_id: &str) -> Box<RawValue> {
        raw(&json!({
            "user_id": user_id, "device_id": device_id, "algorithms": [], "keys": { "ed25519:D": "x" },
            "unsigned": { "device_display_name": "Phone" },
        }))
    }

    #[test]
    fn device_of_somebody_else_is_not_taken() {
        let taken = device(owner(), "D", None, &keys("@bob:other.example", "D")).expect("a good device");
        assert_eq!(taken.display_name.as_deref(), Some("Phone"));
        assert!(!taken.keys.contains("unsigned"));

        assert_eq!(device(owner(), "D", None, &keys("@alice:our.example", "D")), None);
        assert_eq!(device(owner(), "E", None, &keys("@bob:other.example", "D")), None);
    }

    #[test]
    fn nonsense_is_not_taken_for_a_device() {
        let huge = json!({
            "user_id": "@bob:other.example", "device_id": "D", "keys": { "a": "x".repeat(MAX_KEYS_BYTES) },
        });
        for json in [json!([]), json!("D"), json!({}), json!({ "user_id": "@bob:other.example" }), huge] {
            assert_eq!(device(owner(), "D", None, &raw(&json)), None, "{json:.80}");
        }
        let id = "D\0";
        assert_eq!(device(owner(), id, None, &keys("@bob:other.example", id)), None);
    }

    #[test]
    fn list_holds_each_device_once_and_leaves_out_what_is_wrong() {
        let listed = |device_id: &str, owner: &str| ListedDevice {
            device_id: device_id.to_owned(),
            display_name: None,
            keys: keys(owner, device_id),
        };
        let bob = "@bob:other.example";
        let devices = vec![listed("B", bob), listed("A", bob), listed("B", bob), listed("C", "@x:y.example")];

        let list = CheckedList::read(
            owner(),
            RemoteDeviceList { stream_id: Some(7), devices, ..Default::default() },
        );

        let ids: Vec<&str> = list.devices.iter().map(|device| device.device_id.as_str()).collect();
        assert_eq!((ids.as_slice(), list.stream_id), (["A", "B"].as_slice(), Some(7)));
    }

    #[test]
    fn cross_signing_key_must_be_the_one_that_it_says() {
        let public = "A".repeat(43);
        let key = |user: &str, usage: &str, id: &str| {
            raw(&json!({ "user_id": user, "usage": [usage], "keys": { format!("ed25519:{id}"): public } }))
        };
        let bob = "@bob:other.example";

        assert!(cross_signing_key(owner(), KeyUsage::Master, &key(bob, "master", &public)).is_some());
        for wrong in [
            key("@x:y.example", "master", &public),
            key(bob, "self_signing", &public),
            key(bob, "master", "other"),
        ] {
            assert_eq!(cross_signing_key(owner(), KeyUsage::Master, &wrong), None, "{wrong}");
        }
    }
}
