//! What a server publishes of its keys.

use std::collections::BTreeMap;

use base64::{Engine as _, engine::general_purpose::STANDARD_NO_PAD};
use hs_room_rules::{
    canonical_json::{Object, ParseError, ParseOptions},
    sign::{SignatureError, verify_json},
};
use ruma::ServerName;

/// How far into the future a key is believed at most, whatever its server says.
const MAX_VALIDITY_MS: i64 = 7 * 24 * 60 * 60 * 1_000;
/// How many keys a server may have, old ones included.
const MAX_KEYS: usize = 200;
/// How long the id of a key may be.
const MAX_KEY_ID_BYTES: usize = 255;

/// One key of a server.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ServerKey {
    /// The key, in unpadded base64.
    pub public_key: String,
    /// Up to when it is valid, in milliseconds since 1970; for a retired key, until when it was used.
    pub valid_until_ms: i64,
    /// Whether its server signs events with it no longer.
    pub is_retired: bool,
}

impl ServerKey {
    /// Whether what was signed at this time may be signed with the key.
    pub fn is_valid_at(&self, time_ms: i64) -> bool {
        time_ms <= self.valid_until_ms
    }
}

/// Why the keys that a server publishes are not believed.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum DocumentError {
    /// It is not JSON.
    #[error("it is not JSON: {0}")]
    Json(#[from] ParseError),
    /// It is of another server.
    #[error("it is not of this server")]
    OtherServer,
    /// A field is missing, or not what it must be.
    #[error("`{0}` is missing or malformed")]
    Field(&'static str),
    /// The server did not sign it.
    #[error(transparent)]
    Signature(#[from] SignatureError),
}

/// The keys of a server as it signed them.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct KeyDocument {
    /// Its keys by id, retired ones included.
    pub keys: BTreeMap<String, ServerKey>,
    /// Up to when the server says that they are valid.
    pub valid_until_ms: i64,
    /// The document.
    pub json: String,
}

impl KeyDocument {
    /// Reads a document and checks that the server itself signed it.
    pub fn read(json: &str, server: &ServerName, now_ms: i64) -> Result<Self, DocumentError> {
        let document = Object::parse(json, ParseOptions::STRICT)?;
        if document.get_str("server_name") != Some(server.as_str()) {
            return Err(DocumentError::OtherServer);
        }
        let valid_until_ms =
            document.get_int("valid_until_ts").ok_or(DocumentError::Field("valid_until_ts"))?;
        let verify_keys = document.get_object("verify_keys").ok_or(DocumentError::Field("verify_keys"))?;
        let mut keys = BTreeMap::new();
        let mut signing = BTreeMap::new();
        for (id, key) in verify_keys.iter().take(MAX_KEYS) {
            let Some(public_key) = key.as_object().and_then(|key| public_key(id, key)) else { continue };
            signing.insert(id.to_owned(), public_key.clone());
            let valid_until_ms = valid_until_ms.min(now_ms + MAX_VALIDITY_MS);
            keys.insert(id.to_owned(), ServerKey { public_key, valid_until_ms, is_retired: false });
        }
        verify_json(&document, server.as_str(), &signing)?;
        let old = document.get_object("old_verify_keys");
        for (id, key) in old.iter().flat_map(|old| old.iter()).take(MAX_KEYS) {
            let Some(key) = key.as_object() else { continue };
            let (Some(public_key), Some(expired_ms)) = (public_key(id, key), key.get_int("expired_ts"))
            else {
                continue;
            };
            let retired = ServerKey { public_key, valid_until_ms: expired_ms, is_retired: true };
            keys.entry(id.to_owned()).or_insert(retired);
        }
        Ok(Self { keys, valid_until_ms, json: json.to_owned() })
    }
}

/// The public half, if this is a key of a kind that we can use.
fn public_key(id: &str, key: &Object<'_>) -> Option<String> {
    let text = key.get_str("key")?.trim_end_matches('=');
    let is_key = id.starts_with("ed25519:")
        && id.len() <= MAX_KEY_ID_BYTES
        && STANDARD_NO_PAD.decode(text).is_ok_and(|bytes| bytes.len() == 32);
    is_key.then(|| text.to_owned())
}
