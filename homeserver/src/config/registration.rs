//! `[registration]`

use serde::{Deserialize, Serialize};

use super::{Invalid, Secret, section::section};

section! {
    /// Who may make an account. Whatever is set here, an administrator can make accounts with `kith user create`, and a
    /// server without users prints a token for its first (administrator) account when it starts.
    pub struct Registration {
        /// "closed": nobody; "token": who has a registration token; "open": everybody, which on a server that can be
        /// reached from the internet invites abuse.
        pub mode: RegistrationMode = RegistrationMode::Closed,
        /// Whether people may look around as guests, without registering: in rooms that allow it, and there without much
        /// that others may do.
        pub guests: bool = false,
        /// With this secret, provisioning tools can make accounts at /_synapse/admin/v1/register. Empty: they cannot.
        pub shared_secret: Secret = Secret::default(),
        /// Policies that people accept when they register.
        #[example = "[{ id = \"privacy\", version = \"1\", name = \"Privacy policy\", url = \"https://example.org/privacy\" }]"]
        pub terms: Vec<Term> = Vec::new(),
    }
}

/// Who may make an account.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum RegistrationMode {
    /// Nobody.
    Closed,
    /// Who has a registration token.
    Token,
    /// Everybody.
    Open,
}

/// A policy that people accept when they register.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Term {
    /// What the policy is called in the protocol.
    pub id: String,
    /// Its version.
    pub version: String,
    /// Its name for people.
    pub name: String,
    /// Where it can be read.
    pub url: String,
    /// The language of name and text.
    #[serde(default = "english")]
    pub language: String,
}

fn english() -> String {
    "en".to_owned()
}

impl Registration {
    /// Checks what the types do not.
    pub(super) fn validate(&self) -> Result<(), Invalid> {
        for term in &self.terms {
            if term.id.is_empty() || term.name.is_empty() || !term.url.starts_with("http") {
                return Err(Invalid::new(
                    "terms",
                    format!("the policy `{}` lacks an id, a name or a web address", term.id),
                    "give each policy an id, a version, a name and an http(s) url",
                ));
            }
        }
        Ok(())
    }
}
