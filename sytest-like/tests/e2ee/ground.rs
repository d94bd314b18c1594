//! What these cases stand on: keys, signed objects, and uploading them.

use std::collections::BTreeMap;

use base64::{Engine as _, engine::general_purpose::STANDARD_NO_PAD};
use ed25519_dalek::{Signer as _, SigningKey};
use sytest_like::{Response, Syncer, User, Value, json, path, unique};

/// JSON with sorted keys and without spaces, as it is signed.
fn canonical(value: &Value) -> String {
    match value {
        Value::Object(fields) => {
            let sorted: BTreeMap<_, _> = fields.iter().collect();
            let fields: Vec<String> =
                sorted.iter().map(|(key, value)| format!("{}:{}", json!(key), canonical(value))).collect();
            format!("{{{}}}", fields.join(","))
        }
        Value::Array(items) => format!("[{}]", items.iter().map(canonical).collect::<Vec<_>>().join(",")),
        other => other.to_string(),
    }
}

/// A key pair that is always the same for the same words.
pub(super) struct Key(SigningKey);

impl Key {
    pub(super) fn new(words: &str) -> Self {
        let mut seed = [0u8; 32];
        for (number, byte) in words.bytes().enumerate() {
            seed[number % 32] = seed[number % 32].wrapping_mul(31).wrapping_add(byte);
        }
        Self(SigningKey::from_bytes(&seed))
    }

    /// The public key in unpadded base64.
    pub(super) fn public(&self) -> String {
        STANDARD_NO_PAD.encode(self.0.verifying_key().as_bytes())
    }

    /// The id that a cross-signing key has.
    pub(super) fn id(&self) -> String {
        format!("ed25519:{}", self.public())
    }

    /// Adds a signature to an object.
    pub(super) fn sign(&self, object: &mut Value, user: &str, key_id: &str) {
        let mut signed = object.clone();
        let fields = signed.as_object_mut().expect("only objects are signed");
        fields.remove("signatures");
        fields.remove("unsigned");
        let signature = self.0.sign(canonical(&signed).as_bytes());
        object["signatures"][user][key_id] = STANDARD_NO_PAD.encode(signature.to_bytes()).into();
    }
}

/// The encryption side of a device.
pub(crate) struct Device {
    pub(super) user: User,
    pub(super) key: Key,
}

impl Device {
    /// A device that has not uploaded anything.
    pub(super) fn bare(user: &User) -> Self {
        Self { user: user.clone(), key: Key::new(&format!("{}{}", user.id, user.device_id)) }
    }

    /// A device that has uploaded its identity keys.
    pub(crate) async fn new(user: &User) -> Self {
        let device = Self::bare(user);
        device.upload(json!({"device_keys": device.keys()})).await.expect_ok();
        device
    }

    pub(super) fn key_id(&self) -> String {
        format!("ed25519:{}", self.user.device_id)
    }

    /// The identity keys, signed.
    pub(crate) fn keys(&self) -> Value {
        let mut keys = json!({
            "user_id": self.user.id,
            "device_id": self.user.device_id,
            "algorithms": ["m.olm.v1.curve25519-aes-sha2", "m.megolm.v1.aes-sha2"],
            "keys": {
                format!("curve25519:{}", self.user.device_id): Key::new("curve").public(),
                self.key_id(): self.key.public(),
            },
        });
        self.key.sign(&mut keys, &self.user.id, &self.key_id());
        keys
    }

    /// A one-time or fallback key, signed.
    pub(super) fn one_time_key(&self, words: &str, is_fallback: bool) -> Value {
        let mut key = json!({"key": Key::new(words).public()});
        if is_fallback {
            key["fallback"] = true.into();
        }
        self.key.sign(&mut key, &self.user.id, &self.key_id());
        key
    }

    pub(super) async fn upload(&self, body: Value) -> Response {
        self.user.post("/v3/keys/upload", body).await
    }

    /// Uploads one-time keys with these ids.
    pub(crate) async fn upload_one_time_keys(&self, ids: impl IntoIterator<Item = String>) -> Response {
        let keys: serde_json::Map<String, Value> = ids
            .into_iter()
            .map(|id| (format!("signed_curve25519:{id}"), self.one_time_key(&id, false)))
            .collect();
        self.upload(json!({"one_time_keys": keys})).await.expect_ok()
    }

    /// Uploads a fallback key with this id.
    pub(super) async fn upload_fallback_key(&self, id: &str) {
        let keys = json!({format!("signed_curve25519:{id}"): self.one_time_key(id, true)});
        self.upload(json!({"fallback_keys": keys})).await.expect_ok();
    }

    /// The id of the key that a claim by `claimer` hands out.
    pub(super) async fn claimed_by(&self, claimer: &User) -> Option<String> {
        let body = json!({"one_time_keys": {&self.user.id: {&self.user.device_id: "signed_curve25519"}}});
        let answer = claimer.post("/v3/keys/claim", body).await.expect_ok();
        let keys = answer.json["one_time_keys"].get(&self.user.id)?.get(&self.user.device_id)?.as_object()?;
        assert_eq!(keys.len(), 1, "{answer}");
        let (name, key) = keys.iter().next()?;
        let id = name.strip_prefix("signed_curve25519:").expect("the algorithm that was asked for");
        assert_eq!(key["key"], Key::new(id).public(), "{answer}");
        Some(id.to_owned())
    }
}

/// The cross-signing keys of a user.
pub(super) struct Identity {
    pub(super) user: User,
    pub(super) master: Key,
    pub(super) self_signing: Key,
    pub(super) user_signing: Key,
}

impl Identity {
    /// Keys that have not been uploaded.
    pub(super) fn bare(user: &User, words: &str) -> Self {
        Self {
            user: user.clone(),
            master: Key::new(&format!("{} {words} master", user.id)),
            self_signing: Key::new(&format!("{} {words} self", user.id)),
            user_signing: Key::new(&format!("{} {words} user", user.id)),
        }
    }

    /// Keys that have been uploaded.
    pub(super) async fn new(user: &User) -> Self {
        let identity = Self::bare(user, "first");
        user.post("/v3/keys/device_signing/upload", identity.upload()).await.expect_ok();
        identity
    }

    /// The body of the upload.
    pub(super) fn upload(&self) -> Value {
        json!({
            "master_key": self.master_key(),
            "self_signing_key": self.subordinate("self_signing", &self.self_signing),
            "user_signing_key": self.subordinate("user_signing", &self.user_signing),
        })
    }

    pub(super) fn master_key(&self) -> Value {
        json!({"user_id": self.user.id, "usage": ["master"], "keys": {self.master.id(): self.master.public()}})
    }

    pub(super) fn subordinate(&self, usage: &str, key: &Key) -> Value {
        let mut object = json!({"user_id": self.user.id, "usage": [usage], "keys": {key.id(): key.public()}});
        self.master.sign(&mut object, &self.user.id, &self.master.id());
        object
    }
}

/// The answer to a query for all keys of one user.
pub(super) async fn query(viewer: &User, of: &User) -> Response {
    viewer.post("/v3/keys/query", json!({"device_keys": {&of.id: []}})).await.expect_ok()
}

/// Sends one message to a device, or to `*`.
pub(super) async fn send(sender: &User, to: &User, device_id: &str, content: Value) {
    let path = path!("/v3/sendToDevice/{}/{}", "org.example.test", unique("txn"));
    sender.put(&path, json!({"messages": {&to.id: {device_id: content}}})).await.expect_ok();
}

/// The contents of the messages in an answer.
pub(super) fn messages(answer: &Response) -> Vec<Value> {
    let events = answer.json["to_device"]["events"].as_array().cloned().unwrap_or_default();
    events.into_iter().map(|event| event["content"].clone()).collect()
}

/// A list of user ids of `device_lists`.
pub(super) fn listed(answer: &Response, list: &str) -> Vec<String> {
    let ids = answer.json["device_lists"][list].as_array().cloned().unwrap_or_default();
    ids.iter().filter_map(|id| id.as_str().map(str::to_owned)).collect()
}

/// Waits until a user is in a list of `device_lists`.
pub(super) async fn until_listed(syncer: &mut Syncer, list: &str, user: &User) {
    syncer.until(&format!("{} in {list}", user.id), |answer| listed(answer, list).contains(&user.id)).await;
}

/// How many one-time keys an answer says there are.
pub(super) fn count(answer: &Response) -> i64 {
    answer.json["device_one_time_keys_count"]["signed_curve25519"].as_i64().unwrap_or(0)
}
