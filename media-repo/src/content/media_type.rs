//! Types of files, as uploaders name them.

/// The type of what nobody has named a type for.
pub const OCTET_STREAM: &str = "application/octet-stream";

/// No type that anybody registered is longer.
const MAX_LENGTH: usize = 255;

/// The types that may be shown in place: whatever their content is, a browser runs nothing of it.
///
/// <https://spec.matrix.org/latest/client-server-api/#serving-inline-content>
const INLINE: [&str; 26] = [
    "text/css",
    "text/plain",
    "text/csv",
    "application/json",
    "application/ld+json",
    "image/jpeg",
    "image/gif",
    "image/png",
    "image/apng",
    "image/webp",
    "image/avif",
    "video/mp4",
    "video/webm",
    "video/ogg",
    "video/quicktime",
    "audio/mp4",
    "audio/webm",
    "audio/aac",
    "audio/mpeg",
    "audio/ogg",
    "audio/wave",
    "audio/wav",
    "audio/x-wav",
    "audio/x-pn-wav",
    "audio/flac",
    "audio/x-flac",
];

/// The type to serve a file as: the one that it was uploaded with, character for character, or [`OCTET_STREAM`] where that
/// is missing or no type.
pub fn served_type(claimed: Option<&str>) -> &str {
    match claimed.map(str::trim) {
        Some(claimed) if is_type(claimed) => claimed,
        _ => OCTET_STREAM,
    }
}

/// What stands before the parameters: `text/plain` of `Text/plain; charset=utf-8`, in small letters.
pub fn essence(content_type: &str) -> String {
    content_type.split(';').next().unwrap_or_default().trim().to_ascii_lowercase()
}

/// Whether a file of this type may be shown in place.
pub fn is_inline(content_type: &str) -> bool {
    let essence = essence(content_type);
    INLINE.contains(&essence.as_str())
}

fn is_type(text: &str) -> bool {
    // Whatever goes into a header has to fit into one.
    let fits = text.len() <= MAX_LENGTH && text.bytes().all(|byte| matches!(byte, b' '..=b'~'));
    let essence = text.split(';').next().unwrap_or_default().trim();
    fits && essence.split_once('/').is_some_and(|(kind, name)| is_token(kind) && is_token(name))
}

/// <https://www.rfc-editor.org/rfc/rfc9110#name-tokens>
pub(super) fn is_token(text: &str) -> bool {
    !text.is_empty() && text.bytes().all(is_token_byte)
}

pub(super) fn is_token_byte(byte: u8) -> bool {
    byte.is_ascii_alphanumeric() || b"!#$%&'*+-.^_`|~".contains(&byte)
}
