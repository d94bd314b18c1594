//! Who people are on this server: accounts, passwords, sessions and devices, and what they keep with us: profiles,
//! account data, tags and filters.
//!
//! Start with [`Accounts`]; its methods stand in one file per subject. [`Session`] is what an access token resolves to.
//!
//! Invariants:
//! - No HTTP: addresses and decoded bodies come in, values and errors go out.
//! - Secrets (passwords, tokens) are stored only as hashes, and are never logged.
//! - Whatever ends a session takes an entry in the log, so that the caches of all replicas forget it.

mod account_data;
mod accounts;
mod admin;
mod deactivate;
mod devices;
mod error;
mod filters;
mod guests;
mod login;
mod moderation;
mod openid;
mod options;
mod password_change;
mod passwords;
mod profile_cache;
mod profiles;
mod refresh;
mod register;
mod registration_tokens;
mod secret;
mod session_cache;
mod sessions;
mod shared_secret;
mod tags;
mod throttle;
mod uia;
mod username;

pub use account_data::SetAccountDataError;
pub use accounts::Accounts;
pub use admin::{AdminError, NewUser};
pub use deactivate::DeactivateError;
pub use devices::{DeleteDevicesError, RenameDeviceError};
pub use error::Failure;
pub use filters::StoreFilterError;
pub use login::{CreateLoginTokenError, LoggedIn, LoginError, LoginIdentifier, LoginToken, NewSession};
pub use moderation::{ModerationError, Standing};
pub use openid::OpenIdToken;
pub use options::{
    AccountRates, AccountsOptions, InvalidOptions, PasswordOptions, Policy, RegistrationMode,
    RegistrationOptions,
};
pub use password_change::ChangePasswordError;
pub use passwords::PasswordRuleError;
pub use profiles::{Profile, SetProfileFieldError};
pub use refresh::{RefreshError, Refreshed};
pub use register::{RegisterError, Registered, TokenValidityError};
pub use registration_tokens::{CreateTokenError, NewRegistrationToken};
pub use sessions::{ResolveSessionError, Session};
pub use shared_secret::{SharedSecretError, SharedSecretRegistration};
pub use tags::SetTagError;
pub use uia::{AuthError, Challenge, StageFailure, UiaBody};
pub use username::{InvalidUsername, UsernameError};
