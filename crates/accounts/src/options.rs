//! What an operator decides.

use std::{fmt, time::Duration};

use hs_http::rate_limit::Rate;
use ruma::OwnedServerName;
use zeroize::Zeroizing;

/// Options of [`Accounts`](crate::Accounts).
#[derive(Clone, Debug)]
pub struct AccountsOptions {
    /// The name of this server, which all its user ids end with.
    pub server_name: OwnedServerName,
    /// Who may make an account.
    pub registration: RegistrationOptions,
    /// What passwords must be like, and how they are hashed.
    pub passwords: PasswordOptions,
    /// How often clients may try.
    pub rates: AccountRates,
    /// How long an access token lasts when its client can refresh it; others last until logout.
    pub refreshable_token_lifetime: Duration,
}

impl AccountsOptions {
    /// Safe defaults: closed registration, and limits on.
    pub fn new(server_name: OwnedServerName) -> Self {
        Self {
            server_name,
            registration: RegistrationOptions::default(),
            passwords: PasswordOptions::default(),
            rates: AccountRates::default(),
            refreshable_token_lifetime: Duration::from_hours(1),
        }
    }
}

/// Who may make an account.
#[derive(Clone, Default)]
pub struct RegistrationOptions {
    /// Whether guests may come.
    pub guests: bool,
    /// Who may make one by themselves.
    pub mode: RegistrationMode,
    /// What provisioning tools sign their requests with; `None`: they cannot make accounts.
    pub shared_secret: Option<Zeroizing<String>>,
    /// Policies that people accept when they register.
    pub terms: Vec<Policy>,
}

impl fmt::Debug for RegistrationOptions {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("RegistrationOptions")
            .field("mode", &self.mode)
            .field("guests", &self.guests)
            .field("has_shared_secret", &self.shared_secret.is_some())
            .field("terms", &self.terms)
            .finish()
    }
}

/// Who may make an account by themselves.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum RegistrationMode {
    /// Nobody, except the first administrator with the token of the first run.
    #[default]
    Closed,
    /// Who has a registration token.
    Token,
    /// Everybody.
    Open,
}

/// A policy in one language. Several with the same id are translations of one document.
#[derive(Clone, Debug)]
pub struct Policy {
    /// What the policy is called in the protocol.
    pub id: String,
    /// Its version.
    pub version: String,
    /// The language of this text, as a BCP 47 tag.
    pub language: String,
    /// Its name for people.
    pub name: String,
    /// Where it can be read.
    pub url: String,
}

/// What passwords must be like, and how they are hashed (Argon2id).
#[derive(Clone, Copy, Debug)]
pub struct PasswordOptions {
    /// The fewest characters of a new password.
    pub min_length: usize,
    /// Memory that hashing takes.
    pub hash_memory_kib: u32,
    /// Passes over that memory.
    pub hash_iterations: u32,
    /// How many passwords are hashed at once; 0: as many as there are cores.
    pub max_concurrent_hashes: usize,
}

impl Default for PasswordOptions {
    fn default() -> Self {
        Self { min_length: 8, hash_memory_kib: 19_456, hash_iterations: 2, max_concurrent_hashes: 0 }
    }
}

/// How often clients may try.
#[derive(Clone, Copy, Debug)]
pub struct AccountRates {
    /// Attempts to log in, per address.
    pub login: Rate,
    /// Failed attempts to log in, per account.
    pub login_failures: Rate,
    /// Attempts to register, per address.
    pub registration: Rate,
}

impl Default for AccountRates {
    fn default() -> Self {
        Self {
            login: Rate { per_second: 0.5, burst: 20 },
            login_failures: Rate { per_second: 0.1, burst: 10 },
            registration: Rate { per_second: 0.2, burst: 10 },
        }
    }
}

/// The options cannot be used.
#[derive(Debug, thiserror::Error)]
#[error("passwords cannot be hashed with these costs: {0}")]
pub struct InvalidOptions(pub(crate) String);
