//! Canonical JSON, hashes and signatures, as the specification's appendices have them.

use base64::Engine as _;
use base64::engine::general_purpose::{STANDARD, STANDARD_NO_PAD, URL_SAFE_NO_PAD};
use ed25519_dalek::{Signature, Signer as _, SigningKey, Verifier as _, VerifyingKey};
use serde_json::{Map, Value, json};
use sha2::{Digest as _, Sha256};

use super::version::Version;

/// Sorted keys, no space, UTF-8.
pub fn canonical(value: &Value) -> String {
    let mut out = String::new();
    write(value, &mut out);
    out
}

fn write(value: &Value, out: &mut String) {
    match value {
        Value::Array(items) => {
            out.push('[');
            for (index, item) in items.iter().enumerate() {
                if index > 0 {
                    out.push(',');
                }
                write(item, out);
            }
            out.push(']');
        }
        Value::Object(fields) => {
            let mut keys: Vec<_> = fields.keys().collect();
            keys.sort();
            out.push('{');
            for (index, key) in keys.into_iter().enumerate() {
                if index > 0 {
                    out.push(',');
                }
                out.push_str(&Value::from(key.as_str()).to_string());
                out.push(':');
                write(&fields[key], out);
            }
            out.push('}');
        }
        plain => out.push_str(&plain.to_string()),
    }
}

fn without(value: &Value, keys: &[&str]) -> Value {
    let mut fields = value.as_object().expect("an event is an object").clone();
    fields.retain(|key, _| !keys.contains(&key.as_str()));
    Value::Object(fields)
}

fn sha256(value: &Value) -> Vec<u8> {
    Sha256::digest(canonical(value)).to_vec()
}

/// Unpadded base64 in the ordinary alphabet.
pub fn base64(bytes: &[u8]) -> String {
    STANDARD_NO_PAD.encode(bytes)
}

/// The content hash of an event.
pub fn content_hash(event: &Value) -> String {
    base64(&sha256(&without(event, &["unsigned", "signatures", "hashes"])))
}

fn reference_digest(event: &Value, version: Version) -> Vec<u8> {
    sha256(&without(&redact(event, version), &["signatures", "age_ts", "unsigned"]))
}

/// The reference hash as versions 1 and 2 write it beside an event id.
pub fn reference_hash(event: &Value, version: Version) -> String {
    base64(&reference_digest(event, version))
}

/// The id of an event: what it says itself in versions 1 and 2, otherwise its reference hash.
pub fn event_id(event: &Value, version: Version) -> String {
    if version.has_chosen_ids() {
        return event["event_id"].as_str().unwrap_or_default().to_owned();
    }
    let digest = reference_digest(event, version);
    let hash = if version.has_url_safe_ids() { URL_SAFE_NO_PAD.encode(digest) } else { base64(&digest) };
    format!("${hash}")
}

/// The event as it is after its redaction.
pub fn redact(event: &Value, version: Version) -> Value {
    const KEPT: &[&str] = &[
        "event_id",
        "type",
        "room_id",
        "sender",
        "state_key",
        "content",
        "hashes",
        "signatures",
        "depth",
        "prev_events",
        "auth_events",
        "origin_server_ts",
    ];
    let mut fields = event.as_object().expect("an event is an object").clone();
    fields.retain(|key, _| KEPT.contains(&key.as_str()) || version.kept_keys().contains(&key.as_str()));
    let event_type = event["type"].as_str().unwrap_or_default();
    if let (Some(kept), Some(content)) =
        (version.kept_content(event_type), fields.get_mut("content").and_then(Value::as_object_mut))
    {
        let signed = content.get("third_party_invite").and_then(|invite| invite.get("signed")).cloned();
        content.retain(|key, _| kept.contains(&key.as_str()));
        if let (true, "m.room.member", Some(signed)) = (version.0 >= 11, event_type, signed) {
            content.insert("third_party_invite".to_owned(), json!({"signed": signed}));
        }
    }
    Value::Object(fields)
}

/// A signing key and what it is called.
#[derive(Clone, Debug)]
pub struct Key {
    /// `ed25519:name`.
    pub id: String,
    secret: SigningKey,
}

impl Key {
    /// The key that comes of this seed; the same seed gives the same key.
    pub fn from_seed(id: &str, seed: &str) -> Self {
        let digest: [u8; 32] = Sha256::digest(seed).into();
        Self { id: id.to_owned(), secret: SigningKey::from_bytes(&digest) }
    }

    /// The public half, unpadded base64.
    pub fn public(&self) -> String {
        base64(self.secret.verifying_key().as_bytes())
    }

    /// The signature of an object, without what is signed around.
    pub fn sign(&self, value: &Value) -> String {
        let text = canonical(&without(value, &["signatures", "unsigned"]));
        base64(&self.secret.sign(text.as_bytes()).to_bytes())
    }

    /// Adds the signature of `server` with this key to an object.
    pub fn add_signature(&self, value: &mut Value, server: &str) {
        let signature = self.sign(value);
        put_signature(value, server, &self.id, &signature);
    }

    /// Adds the signature of `server` to an event: that of its redacted form.
    pub fn add_event_signature(&self, event: &mut Value, server: &str, version: Version) {
        let signature = self.sign(&redact(event, version));
        put_signature(event, server, &self.id, &signature);
    }
}

fn put_signature(value: &mut Value, server: &str, key_id: &str, signature: &str) {
    let fields = value.as_object_mut().expect("what is signed is an object");
    let signatures = fields.entry("signatures").or_insert_with(|| Value::Object(Map::new()));
    if !signatures[server].is_object() {
        signatures[server] = json!({});
    }
    signatures[server][key_id] = Value::from(signature);
}

/// Whether `signature` over an object is that of the public key.
pub fn verifies(value: &Value, public_key: &str, signature: &str) -> bool {
    // Some write padding, though they should not.
    let read = |text: &str| STANDARD_NO_PAD.decode(text).or_else(|_| STANDARD.decode(text)).ok();
    let Some(key) = read(public_key)
        .and_then(|bytes| <[u8; 32]>::try_from(bytes).ok())
        .and_then(|bytes| VerifyingKey::from_bytes(&bytes).ok())
    else {
        return false;
    };
    let Some(signature) =
        read(signature).and_then(|bytes| <[u8; 64]>::try_from(bytes).ok()).map(|b| Signature::from_bytes(&b))
    else {
        return false;
    };
    let text = canonical(&without(value, &["signatures", "unsigned"]));
    key.verify(text.as_bytes(), &signature).is_ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The examples of the appendices, signed with the key that stands there.
    #[test]
    fn canonical_json_is_that_of_the_appendices() {
        assert_eq!(canonical(&json!({"b": "2", "a": "1"})), r#"{"a":"1","b":"2"}"#);
        assert_eq!(canonical(&json!({"本": 2, "日": 1})), r#"{"日":1,"本":2}"#);
        assert_eq!(canonical(&json!({"a": "\u{65E5}", "c": null})), "{\"a\":\"日\",\"c\":null}");
    }

    #[test]
    fn signatures_verify_until_something_is_changed() {
        let key = Key::from_seed("ed25519:a", "seed");
        let mut value = json!({"one": 1});
        key.add_signature(&mut value, "example.org");
        let signature = value["signatures"]["example.org"]["ed25519:a"].as_str().unwrap().to_owned();
        assert!(verifies(&value, &key.public(), &signature));
        value["one"] = json!(2);
        assert!(!verifies(&value, &key.public(), &signature));
    }
}
