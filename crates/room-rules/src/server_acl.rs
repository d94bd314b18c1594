//! Which servers may take part in a room.
//!
//! <https://spec.matrix.org/v1.19/client-server-api/#server-access-control-lists-acls-for-rooms>

use std::net::{Ipv4Addr, Ipv6Addr};

use ruma::ServerName;
use serde::Deserialize;
use serde_json::Value;

/// The content of `m.room.server_acl`, as far as it can be understood: what is malformed counts as missing.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ServerAcl {
    allows_ip_literals: bool,
    /// In lower case.
    allow: Vec<String>,
    deny: Vec<String>,
}

impl ServerAcl {
    /// Reads the content of the event.
    pub fn read(content: &str) -> Self {
        #[derive(Default, Deserialize)]
        struct Content {
            #[serde(default)]
            allow_ip_literals: Value,
            #[serde(default)]
            allow: Value,
            #[serde(default)]
            deny: Value,
        }
        let content: Content = serde_json::from_str(content).unwrap_or_default();
        let patterns = |list: &Value| {
            let patterns = list.as_array().map(Vec::as_slice).unwrap_or_default();
            patterns.iter().filter_map(Value::as_str).map(str::to_ascii_lowercase).collect()
        };
        Self {
            allows_ip_literals: content.allow_ip_literals != Value::Bool(false),
            allow: patterns(&content.allow),
            deny: patterns(&content.deny),
        }
    }

    /// Whether a server may take part.
    pub fn allows(&self, server: &ServerName) -> bool {
        let host = server.host().to_ascii_lowercase();
        if !self.allows_ip_literals && is_ip_literal(&host) {
            return false;
        }
        let is_among = |patterns: &[String]| patterns.iter().any(|pattern| matches(pattern, &host));
        !is_among(&self.deny) && is_among(&self.allow)
    }
}

fn is_ip_literal(host: &str) -> bool {
    let inner = host.strip_prefix('[').and_then(|host| host.strip_suffix(']'));
    match inner {
        Some(inner) => inner.parse::<Ipv6Addr>().is_ok(),
        None => host.parse::<Ipv4Addr>().is_ok(),
    }
}

/// Whether a text fits a pattern in which `*` stands for any characters and `?` for one. Takes no longer than the product of
/// their lengths, whatever the pattern.
///
/// <https://spec.matrix.org/v1.19/appendices/#glob-style-matching>
fn matches(pattern: &str, text: &str) -> bool {
    let (pattern, text): (Vec<char>, Vec<char>) = (pattern.chars().collect(), text.chars().collect());
    let (mut at, mut read) = (0, 0);
    // The last star, and what it stood for so far: where to go on when the rest does not fit.
    let mut star: Option<(usize, usize)> = None;
    while read < text.len() {
        match pattern.get(at) {
            Some('*') => {
                star = Some((at, read));
                at += 1;
            }
            Some(wanted) if *wanted == '?' || *wanted == text[read] => {
                at += 1;
                read += 1;
            }
            _ => {
                let Some((star_at, covered)) = star else { return false };
                star = Some((star_at, covered + 1));
                at = star_at + 1;
                read = covered + 1;
            }
        }
    }
    pattern[at..].iter().all(|rest| *rest == '*')
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn allows(content: &Value, server: &str) -> bool {
        ServerAcl::read(&content.to_string()).allows(<&ServerName>::try_from(server).unwrap())
    }

    #[test]
    fn denial_comes_before_permission() {
        let acl = json!({ "allow": ["*"], "deny": ["*.evil.example", "evil.example"] });

        assert!(allows(&acl, "good.example"));
        assert!(!allows(&acl, "evil.example"));
        assert!(!allows(&acl, "very.evil.example"));
    }

    #[test]
    fn case_and_port_do_not_matter() {
        let acl = json!({ "allow": ["*"], "deny": ["EVIL.example"] });

        assert!(!allows(&acl, "evil.Example:8448"));
    }

    #[test]
    fn addresses_are_allowed_unless_it_says_otherwise() {
        let servers = ["1.2.3.4", "1.2.3.4:8448", "[::1]", "[::1]:8448"];
        for server in servers {
            assert!(allows(&json!({ "allow": ["*"] }), server), "{server}");
            assert!(allows(&json!({ "allow": ["*"], "allow_ip_literals": "no" }), server), "{server}");
            assert!(!allows(&json!({ "allow": ["*"], "allow_ip_literals": false }), server), "{server}");
        }
        assert!(allows(&json!({ "allow": ["*"], "allow_ip_literals": false }), "1.2.3.4.example"));
    }

    #[test]
    fn nobody_is_allowed_by_a_list_that_says_nothing() {
        for content in [json!({}), json!({ "allow": "*" }), json!({ "allow": [1, null] }), json!([])] {
            assert!(!allows(&content, "good.example"), "{content}");
        }
    }

    #[test]
    fn patterns_match_the_whole_name() {
        for (pattern, text, fits) in [
            ("*", "", true),
            ("a?c", "abc", true),
            ("a?c", "ac", false),
            ("*.b.c", "a.b.c", true),
            ("*.b.c", "b.c", false),
            ("a*b*c", "aXXbYYbZZc", true),
            ("a*b*c", "aXXbYY", false),
            ("a.c", "abc", false),
        ] {
            assert_eq!(matches(pattern, text), fits, "{pattern} {text}");
        }
    }

    #[test]
    fn pattern_of_many_stars_takes_no_time() {
        assert!(!matches(&"*a".repeat(100), &"a".repeat(99)));
    }
}
