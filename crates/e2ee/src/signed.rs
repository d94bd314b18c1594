//! JSON objects that devices and users sign.
//!
//! <https://spec.matrix.org/v1.19/appendices/#signing-json>

use base64::{
    Engine as _, alphabet,
    engine::{DecodePaddingMode, GeneralPurpose, GeneralPurposeConfig},
};
use hs_room_rules::{
    canonical_json::{Object, ParseOptions, Value},
    sign::is_valid_signature,
};

/// What is not covered by signatures.
const NOT_SIGNED: &[&str] = &["signatures", "unsigned"];

const BASE64: GeneralPurpose = GeneralPurpose::new(
    &alphabet::STANDARD,
    GeneralPurposeConfig::new()
        .with_decode_padding_mode(DecodePaddingMode::Indifferent)
        .with_decode_allow_trailing_bits(true),
);

/// Reads an object; `None` when it is none, or cannot be written in canonical form.
pub(crate) fn read_object(json: &str) -> Option<Object<'_>> {
    Object::parse(json, ParseOptions::STRICT).ok()
}

/// The canonical form of any JSON, if it has one.
pub(crate) fn canonical(json: &str) -> Option<String> {
    let value = Value::parse(json, ParseOptions::STRICT).ok()?;
    let mut text = String::with_capacity(json.len());
    value.write(&mut text);
    Some(text)
}

/// The text that signatures of an object are made over.
pub(crate) fn signing_text(object: &Object<'_>) -> String {
    let mut text = String::with_capacity(512);
    object.write_without(NOT_SIGNED, &mut text);
    text
}

/// The signatures of a signer: key ids and signatures.
pub(crate) fn signatures_of<'o>(
    object: &'o Object<'_>,
    signer: &str,
) -> impl Iterator<Item = (&'o str, &'o str)> {
    object
        .get_object("signatures")
        .and_then(|signatures| signatures.get_object(signer))
        .into_iter()
        .flat_map(Object::iter)
        .filter_map(|(key_id, signature)| Some((key_id, signature.as_str()?)))
}

/// Whether an object carries a valid signature by a key.
pub(crate) fn is_signed(object: &Object<'_>, signer: &str, key_id: &str, public_key: &str) -> bool {
    signatures_of(object, signer)
        .find(|(id, _)| *id == key_id)
        .is_some_and(|(_, signature)| is_valid_signature(&signing_text(object), public_key, signature))
}

/// Whether a text is base64 of an ed25519 or curve25519 key.
pub(crate) fn is_key(text: &str) -> bool {
    // Longer texts cannot be, and are not worth decoding.
    text.len() <= 44 && BASE64.decode(text).is_ok_and(|bytes| bytes.len() == 32)
}
