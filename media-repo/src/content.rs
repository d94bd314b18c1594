//! What a file is said to be when it is served: its type, its name, which part of it, and what a browser may do with it.
//!
//! Everything here is a function over strings and bytes; nothing knows where a file lies or how it is sent.
//!
//! The policy, once: a file keeps the type it was uploaded with, since a client asks for that type and no other; what
//! makes it harmless is that types which a browser would run are never shown in place ([`disposition()`]), that browsers are
//! told not to guess ([`SECURITY_HEADERS`]), and that whatever is shown runs in a sandbox without scripts.

mod disposition;
mod media_type;
mod range;
mod sniff;
mod validators;

pub use disposition::{Disposition, disposition, file_name, thumbnail_disposition};
pub use media_type::{OCTET_STREAM, essence, is_inline, served_type};
pub use range::{ByteRange, Ranged, range};
pub use sniff::{Kind, sniff};
pub use validators::{etag, if_none_match, if_range};

/// Headers of every answer that carries a file or a picture of one.
///
/// The policy is the one that the specification recommends, and lets a browser that opens a film by itself play it.
///
/// <https://spec.matrix.org/latest/client-server-api/#content-repository>
pub const SECURITY_HEADERS: [(&str, &str); 5] = [
    (
        "content-security-policy",
        "sandbox; default-src 'none'; script-src 'none'; plugin-types application/pdf; style-src 'unsafe-inline'; \
         media-src 'self'; object-src 'self';",
    ),
    ("cross-origin-resource-policy", "cross-origin"),
    ("x-content-type-options", "nosniff"),
    ("referrer-policy", "no-referrer"),
    ("x-robots-tag", "noindex, nofollow, noarchive, noimageindex"),
];

/// How long what needs a token may be kept: by who asked for it and nobody between, and for good, since what an id names
/// never changes.
pub const CACHE_PRIVATE: &str = "private, max-age=31536000, immutable";
/// How long what everybody may see may be kept. A day: what is removed here should not live on for long in the caches of
/// others.
pub const CACHE_PUBLIC: &str = "public, max-age=86400, immutable";

#[cfg(test)]
mod tests;
