//! The server's signing key, signing JSON with it, and checking signatures of others.

use std::{collections::BTreeMap, fmt};

use ed25519_dalek::{Signature, Signer as _, VerifyingKey};
use rand::CryptoRng;
use ruma::{OwnedServerSigningKeyId, ServerName, ServerSigningKeyVersion, SigningKeyAlgorithm, SigningKeyId};
use thiserror::Error;
use zeroize::Zeroizing;

use crate::{
    canonical_json::{Object, Value},
    hash::NOT_SIGNED,
    unpadded_base64::{decode, decode_into, encode},
};

/// The longest version of a key that we read: key ids travel in every signature.
const MAX_KEY_VERSION_BYTES: usize = 64;

/// An ed25519 key with the version under which it is published. The secret is wiped when it is dropped.
#[derive(Clone)]
pub struct SigningKey {
    key: ed25519_dalek::SigningKey,
    key_id: OwnedServerSigningKeyId,
}

/// Why the text form of a signing key is refused. Says nothing about the text, which may hold a secret.
#[derive(Clone, Copy, Debug, Error, PartialEq, Eq)]
pub enum SigningKeyError {
    /// Not three words.
    #[error("expected `ed25519 <version> <base64 seed>` on one line")]
    Format,
    /// The first word is not `ed25519`.
    #[error("only ed25519 keys are supported")]
    Algorithm,
    /// The version is not made of letters, digits and underscores.
    #[error(
        "the key's version may hold only letters, digits and underscores, at most {MAX_KEY_VERSION_BYTES}"
    )]
    Version,
    /// The seed is not base64 of 32 bytes.
    #[error("the seed is not base64 of 32 bytes")]
    Seed,
}

impl SigningKey {
    /// Makes a new key.
    pub fn generate(rng: &mut impl CryptoRng, version: &str) -> Result<Self, SigningKeyError> {
        let mut seed = Zeroizing::new([0; 32]);
        rng.fill_bytes(seed.as_mut());
        Self::from_seed(version, &seed)
    }

    /// Makes the key that a seed stands for.
    pub fn from_seed(version: &str, seed: &[u8; 32]) -> Result<Self, SigningKeyError> {
        let is_valid = !version.is_empty()
            && version.len() <= MAX_KEY_VERSION_BYTES
            && version.bytes().all(|byte| byte.is_ascii_alphanumeric() || byte == b'_');
        if !is_valid {
            return Err(SigningKeyError::Version);
        }
        let version = <&ServerSigningKeyVersion>::try_from(version).map_err(|_| SigningKeyError::Version)?;
        Ok(Self {
            key: ed25519_dalek::SigningKey::from_bytes(seed),
            key_id: SigningKeyId::from_parts(SigningKeyAlgorithm::Ed25519, version),
        })
    }

    /// Reads `ed25519 <version> <base64 seed>`, the form in which other servers keep their keys too.
    pub fn from_text(text: &str) -> Result<Self, SigningKeyError> {
        let mut words = text.split_whitespace();
        let (Some(algorithm), Some(version), Some(encoded), None) =
            (words.next(), words.next(), words.next(), words.next())
        else {
            return Err(SigningKeyError::Format);
        };
        if algorithm != "ed25519" {
            return Err(SigningKeyError::Algorithm);
        }
        let mut seed = Zeroizing::new([0; 32]);
        if !decode_into(encoded, &mut seed) {
            return Err(SigningKeyError::Seed);
        }
        Self::from_seed(version, &seed)
    }

    /// Writes the form that [`Self::from_text`] reads, with a newline at the end.
    pub fn to_text(&self) -> Zeroizing<String> {
        let seed = Zeroizing::new(encode(self.key.as_bytes()));
        Zeroizing::new(format!("ed25519 {} {}\n", self.key_id.key_name(), *seed))
    }

    /// The id under which the public key is published, such as `ed25519:a_1`.
    pub fn key_id(&self) -> &OwnedServerSigningKeyId {
        &self.key_id
    }

    /// The public key in unpadded base64.
    pub fn public_key(&self) -> String {
        encode(self.key.verifying_key().as_bytes())
    }

    /// The signature of a text, in unpadded base64.
    pub fn sign_text(&self, text: &str) -> String {
        encode(&self.key.sign(text.as_bytes()).to_bytes())
    }

    /// Signs a JSON object as `server_name` and puts the signature under `signatures`, beside those there.
    ///
    /// <https://spec.matrix.org/v1.19/appendices/#signing-json>
    pub fn sign_json(&self, server_name: &ServerName, object: &mut Object<'_>) {
        let signature = self.sign_text(&text_to_sign(object));
        self.put_signature(server_name, object, signature);
    }

    /// Puts a signature made by this key under `signatures`.
    pub(crate) fn put_signature(&self, server_name: &ServerName, object: &mut Object<'_>, signature: String) {
        let signatures = object.object_or_insert("signatures");
        if signatures.get_object(server_name.as_str()).is_none() {
            signatures.insert(server_name.as_str().to_owned(), Object::new());
        }
        if let Some(Value::Object(of_server)) = signatures.get_mut(server_name.as_str()) {
            of_server.insert(self.key_id.to_string(), signature);
        }
    }
}

impl fmt::Debug for SigningKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("SigningKey")
            .field("key_id", &self.key_id)
            .field("public_key", &self.public_key())
            .finish_non_exhaustive()
    }
}

/// The public keys of servers (or other signers) by key id, in base64.
pub type PublicKeys = BTreeMap<String, BTreeMap<String, String>>;

/// Why a signature was not accepted.
#[derive(Clone, Debug, Error, PartialEq, Eq)]
pub enum SignatureError {
    /// The signer did not sign with any key that we know of.
    #[error("no signature of {0} by a known key")]
    Missing(String),
    /// A signature by a known key is wrong.
    #[error("the signature of {signer} with {key_id} is wrong")]
    Wrong {
        /// Who signed.
        signer: String,
        /// With what.
        key_id: String,
    },
}

/// Checks that `signer` signed the object with one of `keys`.
///
/// <https://spec.matrix.org/v1.19/appendices/#checking-for-a-signature>
pub fn verify_json(
    object: &Object<'_>,
    signer: &str,
    keys: &BTreeMap<String, String>,
) -> Result<(), SignatureError> {
    verify_text(&text_to_sign(object), object, signer, keys)
}

/// Checks the signatures of `signer` in `object` against a text. Every one by a known key must be right, and
/// there must be one at least.
pub(crate) fn verify_text(
    text: &str,
    object: &Object<'_>,
    signer: &str,
    keys: &BTreeMap<String, String>,
) -> Result<(), SignatureError> {
    let missing = || SignatureError::Missing(signer.to_owned());
    let signatures = object
        .get_object("signatures")
        .and_then(|signatures| signatures.get_object(signer))
        .ok_or_else(missing)?;
    let mut is_signed = false;
    for (key_id, signature) in signatures.iter() {
        let Some(public_key) = keys.get(key_id).filter(|_| key_id.starts_with("ed25519:")) else {
            continue;
        };
        if !signature.as_str().is_some_and(|signature| is_valid_signature(text, public_key, signature)) {
            return Err(SignatureError::Wrong { signer: signer.to_owned(), key_id: key_id.to_owned() });
        }
        is_signed = true;
    }
    if is_signed { Ok(()) } else { Err(missing()) }
}

/// Whether a base64 signature of a text was made by the owner of a base64 public key.
pub fn is_valid_signature(text: &str, public_key: &str, signature: &str) -> bool {
    let (Some(public_key), Some(signature)) = (decode(public_key), decode(signature)) else { return false };
    VerifyingKey::from_bytes(&public_key)
        .is_ok_and(|key| key.verify_strict(text.as_bytes(), &Signature::from_bytes(&signature)).is_ok())
}

fn text_to_sign(object: &Object<'_>) -> String {
    let mut text = String::with_capacity(512);
    object.write_without(NOT_SIGNED, &mut text);
    text
}
