//! `ETag` and the conditions that name it.
//!
//! <https://www.rfc-editor.org/rfc/rfc9110#name-conditional-requests>

use std::fmt::Write;

/// The tag of a file with this hash. A few bytes of it are enough to tell versions apart, and do not tell the hash.
pub fn etag(hash: &[u8]) -> String {
    let mut tag = String::with_capacity(34);
    tag.push('"');
    for byte in hash.iter().take(16) {
        // Writing to a string cannot fail.
        let _ = write!(tag, "{byte:02x}");
    }
    tag.push('"');
    tag
}

/// Whether `If-None-Match` names this tag: then nothing is sent again (304). Weak and strong tags are the same here.
pub fn if_none_match(header: Option<&str>, etag: &str) -> bool {
    header.is_some_and(|header| {
        header.trim() == "*"
            || header.split(',').any(|tag| {
                let tag = tag.trim();
                tag.strip_prefix("W/").unwrap_or(tag) == etag
            })
    })
}

/// Whether a part may be sent: `If-Range` is not there, or names this very tag. Dates are not kept, so none agrees.
pub fn if_range(header: Option<&str>, etag: &str) -> bool {
    header.is_none_or(|header| header.trim() == etag)
}
