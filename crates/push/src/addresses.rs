//! Whom notifications may be mailed to.
//!
//! Nobody can prove here yet that an address is theirs, so the operator says which addresses users have: the
//! organisation's, made from their names, or any in its domains.

use ruma::UserId;

/// What stands for the first part of a user's id.
const LOCALPART: &str = "{localpart}";

/// The addresses that users may have.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct AddressPatterns(Vec<Pattern>);

#[derive(Clone, Debug, PartialEq, Eq)]
enum Pattern {
    /// One address for each user.
    Own { before: String, after: String },
    /// Any address of a domain.
    Domain(String),
}

impl AddressPatterns {
    /// Reads patterns; those that are none are left out, see [`is_pattern`](Self::is_pattern).
    pub fn new<'a>(patterns: impl IntoIterator<Item = &'a str>) -> Self {
        Self(patterns.into_iter().filter_map(parse).collect())
    }

    /// Whether a text is a pattern: `{localpart}@example.org` or `*@example.org`.
    pub fn is_pattern(text: &str) -> bool {
        parse(text).is_some()
    }

    /// Whether nobody may have an address.
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// Whether a user may have an address.
    pub fn allow(&self, user_id: &UserId, address: &str) -> bool {
        is_plain(address)
            && self.0.iter().any(|pattern| match pattern {
                Pattern::Own { before, after } => {
                    let own = [before, user_id.localpart(), after].concat();
                    own.eq_ignore_ascii_case(address)
                }
                Pattern::Domain(domain) => address
                    .rsplit_once('@')
                    .is_some_and(|(_, of_address)| of_address.eq_ignore_ascii_case(domain)),
            })
    }
}

fn parse(text: &str) -> Option<Pattern> {
    if let Some(domain) = text.strip_prefix("*@") {
        return is_domain(domain).then(|| Pattern::Domain(domain.to_owned()));
    }
    let (before, after) = text.split_once(LOCALPART)?;
    let (_, domain) = after.rsplit_once('@')?;
    is_domain(domain).then(|| Pattern::Own { before: before.to_owned(), after: after.to_owned() })
}

fn is_domain(text: &str) -> bool {
    !text.is_empty() && text.chars().all(|c| c.is_ascii_alphanumeric() || c == '.' || c == '-')
}

/// Whether an address has nothing in it that mail servers read in different ways: quotes, comments, routes.
fn is_plain(address: &str) -> bool {
    address.split_once('@').is_some_and(|(local, domain)| {
        !local.is_empty()
            && local.chars().all(|c| c.is_alphanumeric() || "._+-=/!#$&'*?^`{|}~".contains(c))
            && is_domain(domain)
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use ruma::user_id;

    #[test]
    fn own_address_is_made_from_the_name() {
        let patterns = AddressPatterns::new(["{localpart}@example.org"]);
        let alice = user_id!("@alice:example.org");
        assert!(patterns.allow(alice, "alice@example.org"));
        assert!(patterns.allow(alice, "Alice@Example.org"));
        for other in ["bob@example.org", "alice@elsewhere.org", "alice@example.org.evil", "", "@example.org"]
        {
            assert!(!patterns.allow(alice, other), "{other}");
        }
    }

    #[test]
    fn domain_lets_through_plain_addresses_in_it() {
        let patterns = AddressPatterns::new(["*@example.org"]);
        let alice = user_id!("@alice:example.org");
        assert!(patterns.allow(alice, "team+alerts@example.org"));
        for other in [
            "example.org",
            "a@b@example.org",
            "a@sub.example.org",
            "\"a b\"@example.org",
            "a@example.org\r\nRCPT TO:<b@c>",
            "a,b@example.org",
            "<a@example.org>",
        ] {
            assert!(!patterns.allow(alice, other), "{other}");
        }
    }

    #[test]
    fn what_is_no_pattern_allows_nothing() {
        for text in
            ["", "*", "*@", "example.org", "{localpart}", "{localpart}@", "alice@example.org", "*@a b"]
        {
            assert!(!AddressPatterns::is_pattern(text), "{text}");
        }
    }
}
