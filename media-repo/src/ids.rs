//! Media ids and `mxc://` URIs.

use rand::{RngExt as _, distr::Alphanumeric};
use ruma::{OwnedServerName, ServerName};

/// Long enough that nobody guesses one.
const ID_LENGTH: usize = 24;
/// The longest id that is looked up. The specification sets none; what is longer could not be indexed.
const MAX_ID_LENGTH: usize = 255;

/// The id of media: letters, digits, `_` and `-`, so that nothing in it means anything to a file system or a URL.
///
/// <https://spec.matrix.org/v1.19/client-server-api/#content-repo-security-considerations>
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct MediaId(String);

impl MediaId {
    /// An id that nobody has.
    pub fn random() -> Self {
        Self(rand::rng().sample_iter(Alphanumeric).take(ID_LENGTH).map(char::from).collect())
    }

    /// Reads an id; `None` when it has characters that an id cannot have.
    pub fn parse(text: &str) -> Option<Self> {
        let is_fine = |byte: u8| byte.is_ascii_alphanumeric() || byte == b'_' || byte == b'-';
        ((1..=MAX_ID_LENGTH).contains(&text.len()) && text.bytes().all(is_fine))
            .then(|| Self(text.to_owned()))
    }

    /// The id as text.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

/// Media and the server that they come from.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct MediaUri {
    /// The server.
    pub server: OwnedServerName,
    /// The id.
    pub id: MediaId,
}

impl MediaUri {
    /// Reads the parts of a path; `None` when they cannot name media.
    pub fn from_parts(server: &str, id: &str) -> Option<Self> {
        Some(Self { server: <&ServerName>::try_from(server).ok()?.to_owned(), id: MediaId::parse(id)? })
    }

    /// Reads an `mxc://` URI.
    pub fn parse(uri: &str) -> Option<Self> {
        let (server, id) = uri.strip_prefix("mxc://")?.split_once('/')?;
        Self::from_parts(server, id)
    }
}

impl std::fmt::Display for MediaUri {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "mxc://{}/{}", self.server, self.id.as_str())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ids_are_what_file_systems_and_urls_leave_alone() {
        for id in ["a", "AQwafuaFswefuhsfAFAgsw", "-_", MediaId::random().as_str()] {
            assert!(MediaId::parse(id).is_some(), "{id}");
        }
        for id in ["", ".", "..", "a/b", "a%2f", "ä", "a b", "a\0", &"x".repeat(256)] {
            assert!(MediaId::parse(id).is_none(), "{id}");
        }
    }

    #[test]
    fn uris_are_read_and_written() {
        let uri = MediaUri::parse("mxc://example.org:8448/abc").unwrap();

        assert_eq!((uri.server.as_str(), uri.id.as_str()), ("example.org:8448", "abc"));
        assert_eq!(uri.to_string(), "mxc://example.org:8448/abc");
        for text in [
            "mxc://example.org",
            "mxc://example.org/",
            "mxc:///a",
            "https://a/b",
            "mxc://a/../b",
            "mxc://a b/c",
        ] {
            assert_eq!(MediaUri::parse(text), None, "{text}");
        }
    }
}
