//! Base64 as Matrix uses it: written without padding, read with or without, and whatever the bits are that
//! the last character has too many (the specification's own test vectors have some set).

use base64::{
    Engine as _, alphabet,
    engine::{DecodePaddingMode, GeneralPurpose, GeneralPurposeConfig},
};

const CONFIG: GeneralPurposeConfig = GeneralPurposeConfig::new()
    .with_encode_padding(false)
    .with_decode_padding_mode(DecodePaddingMode::Indifferent)
    .with_decode_allow_trailing_bits(true);

const STANDARD: GeneralPurpose = GeneralPurpose::new(&alphabet::STANDARD, CONFIG);
const URL_SAFE: GeneralPurpose = GeneralPurpose::new(&alphabet::URL_SAFE, CONFIG);

/// Writes bytes.
pub(crate) fn encode(bytes: &[u8]) -> String {
    STANDARD.encode(bytes)
}

/// Writes bytes with `-` and `_` instead of `+` and `/`.
pub(crate) fn encode_url_safe(bytes: &[u8]) -> String {
    URL_SAFE.encode(bytes)
}

/// Reads exactly `N` bytes into `out`, which may be a buffer that is wiped afterwards. Says whether it could.
pub(crate) fn decode_into<const N: usize>(text: &str, out: &mut [u8; N]) -> bool {
    // The decoder wants room for its estimate, which may be a little more than there is to decode.
    let mut decoded = zeroize::Zeroizing::new([0; 128]);
    match STANDARD.decode_slice(text, decoded.as_mut()) {
        Ok(length) if length == N => {
            out.copy_from_slice(&decoded[..N]);
            true
        }
        _ => false,
    }
}

/// Reads exactly `N` bytes.
pub(crate) fn decode<const N: usize>(text: &str) -> Option<[u8; N]> {
    let mut out = [0; N];
    decode_into(text, &mut out).then_some(out)
}
