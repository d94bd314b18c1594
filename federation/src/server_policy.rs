//! Which servers this one talks to at all.

use std::sync::Arc;

use ruma::ServerName;

/// A server, or all servers below a domain.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum ServerPattern {
    /// The server of this name, on any port if the pattern names none.
    Exactly(String),
    /// Every server whose host ends in this, a dot in front.
    Below(String),
}

/// The text is no pattern.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("`{0}` is neither a server name nor `*.` before a domain")]
pub struct ServerPatternError(String);

impl std::str::FromStr for ServerPattern {
    type Err = ServerPatternError;

    fn from_str(text: &str) -> Result<Self, ServerPatternError> {
        let error = || ServerPatternError(text.to_owned());
        let name = text.strip_prefix("*.").unwrap_or(text);
        <&ServerName>::try_from(name).map_err(|_| error())?;
        let name = name.to_ascii_lowercase();
        Ok(if text.starts_with("*.") { Self::Below(format!(".{name}")) } else { Self::Exactly(name) })
    }
}

impl ServerPattern {
    fn matches(&self, server: &ServerName) -> bool {
        match self {
            Self::Exactly(name) => {
                name.eq_ignore_ascii_case(server.as_str()) || name.eq_ignore_ascii_case(server.host())
            }
            Self::Below(suffix) => {
                let host = server.host();
                host.len() > suffix.len()
                    && host
                        .get(host.len() - suffix.len()..)
                        .is_some_and(|end| end.eq_ignore_ascii_case(suffix))
            }
        }
    }
}

/// Which servers this one talks to: none, all, or those that the operator listed. Cloning is cheap.
#[derive(Clone, Debug)]
pub struct ServerPolicy(Arc<Lists>);

#[derive(Debug)]
struct Lists {
    is_enabled: bool,
    allow: Vec<ServerPattern>,
    deny: Vec<ServerPattern>,
}

impl ServerPolicy {
    /// All servers, but those in `deny`; if `allow` is not empty, only those in it.
    pub fn new(allow: Vec<ServerPattern>, deny: Vec<ServerPattern>) -> Self {
        Self(Arc::new(Lists { is_enabled: true, allow, deny }))
    }

    /// No server at all.
    pub fn nobody() -> Self {
        Self(Arc::new(Lists { is_enabled: false, allow: Vec::new(), deny: Vec::new() }))
    }

    /// Whether there is federation at all.
    pub fn is_enabled(&self) -> bool {
        self.0.is_enabled
    }

    /// Whether this server talks to `server`.
    pub fn allows(&self, server: &ServerName) -> bool {
        let Lists { is_enabled, allow, deny } = &*self.0;
        *is_enabled
            && (allow.is_empty() || allow.iter().any(|pattern| pattern.matches(server)))
            && !deny.iter().any(|pattern| pattern.matches(server))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn policy(allow: &[&str], deny: &[&str]) -> ServerPolicy {
        let parse = |texts: &[&str]| texts.iter().map(|text| text.parse().unwrap()).collect();
        ServerPolicy::new(parse(allow), parse(deny))
    }

    fn allowed(policy: &ServerPolicy, server: &str) -> bool {
        policy.allows(<&ServerName>::try_from(server).unwrap())
    }

    #[test]
    fn without_lists_everybody_is_welcome() {
        assert!(allowed(&policy(&[], &[]), "example.org"));
        assert!(!allowed(&ServerPolicy::nobody(), "example.org"));
    }

    #[test]
    fn denied_server_is_denied_on_every_port_and_in_every_case() {
        let policy = policy(&[], &["Spam.example", "*.bad.example", "10.0.0.1:8448"]);
        for server in
            ["spam.example", "SPAM.example:8448", "a.bad.example", "a.b.bad.example:1", "10.0.0.1:8448"]
        {
            assert!(!allowed(&policy, server), "{server}");
        }
        for server in ["notspam.example", "bad.example", "abad.example", "10.0.0.1", "x.spam.example"] {
            assert!(allowed(&policy, server), "{server}");
        }
    }

    #[test]
    fn where_some_are_allowed_nobody_else_is() {
        let policy = policy(&["example.org", "*.example.org"], &["b.example.org"]);
        assert!(allowed(&policy, "example.org") && allowed(&policy, "a.example.org"));
        assert!(!allowed(&policy, "b.example.org") && !allowed(&policy, "example.net"));
    }

    #[test]
    fn nonsense_is_no_pattern() {
        for text in ["", "*", "*.", "a b", "*.*.org", "http://example.org"] {
            assert!(text.parse::<ServerPattern>().is_err(), "{text}");
        }
    }
}
