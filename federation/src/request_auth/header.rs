//! The `X-Matrix` header.

use std::fmt;

use ruma::OwnedServerName;

const SCHEME: &str = "X-Matrix";
/// The longest value that is read: ids have at most 255 bytes, and a signature has 86.
const MAX_VALUE_BYTES: usize = 512;

/// Who says to have made a request, and how they prove it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct XMatrix {
    /// The server that made the request.
    pub origin: OwnedServerName,
    /// The server that it is for. Old servers do not say.
    pub destination: Option<OwnedServerName>,
    /// The key it is signed with, such as `ed25519:a_1`.
    pub key_id: String,
    /// The signature, in base64.
    pub signature: String,
}

/// Why a header cannot be read.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum XMatrixError {
    /// It does not follow the grammar.
    #[error("it is no list of name=value pairs")]
    Syntax,
    /// A parameter that must be there is not.
    #[error("`{0}` is missing")]
    Missing(&'static str),
    /// A parameter is there twice.
    #[error("`{0}` is there twice")]
    Repeated(&'static str),
    /// A parameter is too long, or not what it must be.
    #[error("`{0}` is malformed")]
    Value(&'static str),
}

impl XMatrix {
    /// Whether this `Authorization` header is one of requests between servers.
    pub fn is_scheme_of(header: &str) -> bool {
        let scheme = header.trim_start().split([' ', '\t']).next().unwrap_or_default();
        scheme.eq_ignore_ascii_case(SCHEME)
    }

    /// Reads a header.
    pub fn parse(header: &str) -> Result<Self, XMatrixError> {
        let header = header.trim();
        let rest = header.get(SCHEME.len()..).filter(|_| Self::is_scheme_of(header));
        let mut rest = rest.ok_or(XMatrixError::Syntax)?;
        let (mut origin, mut destination, mut key, mut signature) = (None, None, None, None);
        loop {
            rest = rest.trim_start_matches([' ', '\t', ',']);
            if rest.is_empty() {
                break;
            }
            let (name, value, after) = parameter(rest)?;
            rest = after;
            let (name, place) = match name.to_ascii_lowercase().as_str() {
                "origin" => ("origin", &mut origin),
                "destination" => ("destination", &mut destination),
                "key" => ("key", &mut key),
                // The list of parameters in the specification says the one, its example and all servers the other.
                "sig" | "signature" => ("sig", &mut signature),
                _ => continue,
            };
            if value.len() > MAX_VALUE_BYTES {
                return Err(XMatrixError::Value(name));
            }
            if place.replace(value).is_some() {
                return Err(XMatrixError::Repeated(name));
            }
        }
        let server = |name, value: String| value.try_into().map_err(|_| XMatrixError::Value(name));
        Ok(Self {
            origin: server("origin", origin.ok_or(XMatrixError::Missing("origin"))?)?,
            destination: destination.map(|value| server("destination", value)).transpose()?,
            key_id: key.ok_or(XMatrixError::Missing("key"))?,
            signature: signature.ok_or(XMatrixError::Missing("sig"))?,
        })
    }
}

/// In the form that the oldest servers read: nothing after the commas, every value quoted, none with a backslash.
impl fmt::Display for XMatrix {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{SCHEME} origin=\"{}\"", self.origin)?;
        if let Some(destination) = &self.destination {
            write!(f, ",destination=\"{destination}\"")?;
        }
        write!(f, ",key=\"{}\",sig=\"{}\"", self.key_id, self.signature)
    }
}

/// Reads one parameter: its name, its value, and what comes after it.
fn parameter(text: &str) -> Result<(&str, String, &str), XMatrixError> {
    let (name, rest) = text.split_once('=').ok_or(XMatrixError::Syntax)?;
    let name = name.trim_end_matches([' ', '\t']);
    if name.is_empty() || !name.bytes().all(is_token_byte) {
        return Err(XMatrixError::Syntax);
    }
    let rest = rest.trim_start_matches([' ', '\t']);
    let (value, rest) = if let Some(quoted) = rest.strip_prefix('"') {
        quoted_value(quoted)?
    } else {
        let end = rest.find([',', ' ', '\t']).unwrap_or(rest.len());
        let (value, rest) = rest.split_at(end);
        // Old servers leave colons unquoted, and some the slashes and plus signs of base64 too.
        if value.is_empty() || !value.bytes().all(|byte| is_token_byte(byte) || b":/[]=".contains(&byte)) {
            return Err(XMatrixError::Syntax);
        }
        (value.to_owned(), rest)
    };
    let rest = rest.trim_start_matches([' ', '\t']);
    if rest.is_empty() || rest.starts_with(',') { Ok((name, value, rest)) } else { Err(XMatrixError::Syntax) }
}

/// Reads up to the closing quote.
fn quoted_value(text: &str) -> Result<(String, &str), XMatrixError> {
    let mut value = String::new();
    let mut characters = text.char_indices();
    while let Some((at, character)) = characters.next() {
        match character {
            '"' => return Ok((value, &text[at + 1..])),
            '\\' => value.push(characters.next().ok_or(XMatrixError::Syntax)?.1),
            _ => value.push(character),
        }
    }
    Err(XMatrixError::Syntax)
}

/// What a token of HTTP consists of.
fn is_token_byte(byte: u8) -> bool {
    byte.is_ascii_alphanumeric() || b"!#$%&'*+-.^_`|~".contains(&byte)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn expected() -> XMatrix {
        XMatrix {
            origin: "a.example:8448".try_into().unwrap(),
            destination: Some("b.example".try_into().unwrap()),
            key_id: "ed25519:key1".to_owned(),
            signature: "AB+/c".to_owned(),
        }
    }

    #[test]
    fn every_form_of_the_specification_is_read() {
        for header in [
            r#"X-Matrix origin="a.example:8448",destination="b.example",key="ed25519:key1",sig="AB+/c""#,
            r#"X-Matrix origin=a.example:8448,destination=b.example,key=ed25519:key1,sig="AB+/c""#,
            r#"x-matrix   SIG="AB+/c" ,	Key="ed25519:key1", Destination="b.example" , origin="a.example:8448""#,
            r#"X-Matrix origin="a.\example:8448",destination="b.example",key="ed25519\:key1",sig="AB+/c",new="a\",b""#,
            "X-Matrix origin=a.example:8448,destination=b.example,key=ed25519:key1,signature=AB+/c,",
        ] {
            assert_eq!(XMatrix::parse(header), Ok(expected()), "{header}");
        }
    }

    #[test]
    fn what_is_written_can_be_read() {
        let written = expected().to_string();
        assert_eq!(XMatrix::parse(&written), Ok(expected()));
        assert!(!written.contains(", ") && !written.contains('\\'));
    }

    #[test]
    fn destination_may_be_missing_and_nothing_else() {
        let parse = |header| XMatrix::parse(header).map(|claim| claim.destination);
        assert_eq!(parse("X-Matrix origin=a,key=ed25519:1,sig=x"), Ok(None));
        assert_eq!(parse("X-Matrix key=ed25519:1,sig=x"), Err(XMatrixError::Missing("origin")));
        assert_eq!(parse("X-Matrix origin=a,sig=x"), Err(XMatrixError::Missing("key")));
        assert_eq!(parse("X-Matrix origin=a,key=ed25519:1"), Err(XMatrixError::Missing("sig")));
    }

    #[test]
    fn malformed_headers_are_refused() {
        for header in [
            "",
            "X-Matrix",
            "Bearer origin=a,key=ed25519:1,sig=x",
            "X-Matrixorigin=a,key=ed25519:1,sig=x",
            "X-Matrix origin=a,origin=a,key=ed25519:1,sig=x",
            "X-Matrix origin=\"a,key=ed25519:1,sig=x",
            "X-Matrix origin=\"a\"b,key=ed25519:1,sig=x",
            "X-Matrix origin=a b,key=ed25519:1,sig=x",
            "X-Matrix origin,key=ed25519:1,sig=x",
            "X-Matrix origin=\"a/b\",key=ed25519:1,sig=x",
            "X-Matrix origin=,key=ed25519:1,sig=x",
            "X-Matrix origin=a,key=ed25519:1,sig=\"\\",
        ] {
            assert!(XMatrix::parse(header).is_err(), "{header}");
        }
    }

    proptest! {
        #[test]
        fn no_header_makes_it_panic(header in "(X-Matrix )?([a-z]{0,6}[=,\" \\\\\t:é]{0,3}){0,12}") {
            // Whether it is refused is the matter of the other tests.
            let _ = XMatrix::parse(&header);
        }

        #[test]
        fn any_value_survives_quoting(value in "[ -~]{1,40}") {
            let quoted = value.replace('\\', "\\\\").replace('"', "\\\"");
            let header = format!("X-Matrix origin=\"a\",key=\"{quoted}\",sig=\"x\"");
            prop_assert_eq!(XMatrix::parse(&header).unwrap().key_id, value);
        }
    }
}
