//! What a new user may be called.

use ruma::{OwnedUserId, ServerName, UserId};

use crate::secret;

/// The most bytes of a user id, with `@`, colon and server name.
///
/// <https://spec.matrix.org/v1.19/appendices/#user-identifiers>
const MAX_USER_ID_BYTES: usize = 255;

/// Why a name cannot be had.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum InvalidUsername {
    /// Nothing at all.
    #[error("A user name cannot be empty")]
    Empty,
    /// Something that a user id may not hold.
    #[error("A user name can only hold the letters a to z, digits, and ._=-/+")]
    Characters,
    /// The user id would have more than 255 bytes.
    #[error("The user name is too long")]
    TooLong,
    /// Names with an underscore in front are kept for bridges.
    #[error("A user name cannot start with an underscore")]
    Reserved,
}

/// Why a name is not available.
#[derive(Debug, thiserror::Error)]
pub enum UsernameError {
    /// Nobody can have it.
    #[error(transparent)]
    Invalid(#[from] InvalidUsername),
    /// Somebody has it.
    #[error("This user name is taken")]
    InUse,
    /// Our own fault.
    #[error(transparent)]
    Failure(#[from] crate::Failure),
}
crate::error::fails_with_storage!(UsernameError);

/// The user id for a name that somebody chose. Capitals become small.
pub(crate) fn chosen_user_id(username: &str, server: &ServerName) -> Result<OwnedUserId, InvalidUsername> {
    if username.starts_with('_') {
        return Err(InvalidUsername::Reserved);
    }
    provisioned_user_id(username, server)
}

/// The user id for a name that an administrator or a provisioning tool chose, who may use reserved ones.
pub(crate) fn provisioned_user_id(
    username: &str,
    server: &ServerName,
) -> Result<OwnedUserId, InvalidUsername> {
    if username.is_empty() {
        return Err(InvalidUsername::Empty);
    }
    let localpart = username.to_ascii_lowercase();
    if !localpart
        .bytes()
        .all(|byte| matches!(byte, b'a'..=b'z' | b'0'..=b'9' | b'.' | b'_' | b'=' | b'-' | b'/' | b'+'))
    {
        return Err(InvalidUsername::Characters);
    }
    let user_id = format!("@{localpart}:{server}");
    if user_id.len() > MAX_USER_ID_BYTES {
        return Err(InvalidUsername::TooLong);
    }
    UserId::parse(user_id).map_err(|_| InvalidUsername::Characters)
}

/// A user id for somebody who chose none.
pub(crate) fn random_user_id(server: &ServerName) -> Result<OwnedUserId, InvalidUsername> {
    provisioned_user_id(&secret::random_letters(secret::SMALL_LETTERS, 12), server)
}

/// The user that a login names by localpart or full id; `None` when it can be nobody of this server.
pub(crate) fn named_user_id(name: &str, server: &ServerName) -> Option<OwnedUserId> {
    let user_id = match name.strip_prefix('@') {
        Some(_) => UserId::parse(name.to_ascii_lowercase()).ok()?,
        None => UserId::parse(format!("@{}:{server}", name.to_ascii_lowercase())).ok()?,
    };
    (user_id.server_name() == server).then_some(user_id)
}

#[cfg(test)]
mod tests {
    use ruma::server_name;

    use super::*;

    fn chosen(name: &str) -> Result<String, InvalidUsername> {
        chosen_user_id(name, server_name!("example.org")).map(|id| id.to_string())
    }

    #[test]
    fn capitals_become_small() {
        assert_eq!(chosen("Alice").unwrap(), "@alice:example.org");
    }

    #[test]
    fn all_characters_of_the_grammar_are_allowed() {
        assert!(chosen("a-z0.9_=/+").is_ok());
    }

    #[test]
    fn other_characters_are_refused() {
        for name in ["al ice", "älice", "@alice", "alice:example.org", "a$", "a\"", "a\n"] {
            assert_eq!(chosen(name), Err(InvalidUsername::Characters), "{name}");
        }
        assert_eq!(chosen(""), Err(InvalidUsername::Empty));
        assert_eq!(chosen("_bridge"), Err(InvalidUsername::Reserved));
    }

    #[test]
    fn user_id_of_255_bytes_is_the_longest() {
        let fixed = "@:example.org".len();

        assert!(chosen(&"a".repeat(255 - fixed)).is_ok());
        assert_eq!(chosen(&"a".repeat(256 - fixed)), Err(InvalidUsername::TooLong));
    }

    #[test]
    fn random_user_ids_are_valid() {
        let user_id = random_user_id(server_name!("example.org")).unwrap();

        assert_eq!(user_id.localpart().len(), 12);
    }

    #[test]
    fn login_names_a_user_by_localpart_or_full_id() {
        let server = server_name!("example.org");

        for name in ["alice", "Alice", "@alice:example.org", "@ALICE:example.org"] {
            assert_eq!(named_user_id(name, server).unwrap(), "@alice:example.org", "{name}");
        }
        for name in ["@alice:elsewhere.org", "@alice", "alice:example.org:80"] {
            assert_eq!(named_user_id(name, server), None, "{name}");
        }
    }
}
