//! Which URLs the operator wants no previews of.

use reqwest::Url;

/// URLs: `[scheme://]host[:port][/path]`, in which `*` stands for any number of any letters.
///
/// `example.org` is that host, `*.example.org` each below it. Without a path all paths are meant; with one it has to agree
/// to its end, so `example.org/private/*` is what to write for everything below.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct UrlPattern {
    scheme: Option<String>,
    host: String,
    port: Option<u16>,
    path: Option<String>,
}

/// The text names no URLs.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("`{0}` is no pattern of URLs: expected [scheme://]host[:port][/path]")]
pub struct NotAPattern(String);

impl std::str::FromStr for UrlPattern {
    type Err = NotAPattern;

    fn from_str(text: &str) -> Result<Self, NotAPattern> {
        let error = || NotAPattern(text.to_owned());
        let (scheme, rest) = match text.trim().split_once("://") {
            Some((scheme, rest)) => (Some(scheme.to_ascii_lowercase()), rest),
            None => (None, text.trim()),
        };
        let (authority, path) = match rest.find('/') {
            Some(at) => (&rest[..at], Some(rest[at..].to_owned())),
            None => (rest, None),
        };
        let (host, port) = match authority.rsplit_once(':') {
            // What looks like a port may be the end of an address in brackets.
            Some((host, port)) if !port.ends_with(']') => (host, Some(port.parse().map_err(|_| error())?)),
            _ => (authority, None),
        };
        if host.is_empty()
            || scheme.as_ref().is_some_and(String::is_empty)
            || host.contains(char::is_whitespace)
        {
            return Err(error());
        }
        Ok(Self { scheme, host: host.to_lowercase(), port, path })
    }
}

impl UrlPattern {
    /// Whether the URL is one of those.
    pub fn matches(&self, url: &Url) -> bool {
        // A dot at the end changes nothing about where a name leads.
        let host = url.host_str().unwrap_or_default().trim_end_matches('.').to_lowercase();
        self.scheme.as_ref().is_none_or(|scheme| glob(scheme, url.scheme()))
            && glob(&self.host, &host)
            && self.port.is_none_or(|port| url.port_or_known_default() == Some(port))
            && self.path.as_ref().is_none_or(|path| glob(path, url.path()))
    }
}

/// Whether the whole text agrees with the pattern. Goes back to the last star only, so it takes no longer than the product
/// of both lengths.
fn glob(pattern: &str, text: &str) -> bool {
    let (pattern, text) = (pattern.as_bytes(), text.as_bytes());
    let (mut p, mut t) = (0, 0);
    let mut star = None;
    while t < text.len() {
        match pattern.get(p) {
            Some(b'*') => {
                star = Some((p, t));
                p += 1;
            }
            Some(byte) if *byte == text[t] => {
                p += 1;
                t += 1;
            }
            _ => match star {
                Some((at, from)) => {
                    star = Some((at, from + 1));
                    p = at + 1;
                    t = from + 1;
                }
                None => return false,
            },
        }
    }
    pattern[p..].iter().all(|byte| *byte == b'*')
}
