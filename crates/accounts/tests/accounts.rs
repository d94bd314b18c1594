//! Accounts over a real database, with the log followed, as one or several replicas have them.

#[path = "accounts/profiles.rs"]
mod profiles;
#[path = "accounts/registration.rs"]
mod registration;
#[path = "accounts/replica.rs"]
mod replica;
#[path = "accounts/sessions.rs"]
mod sessions;
#[path = "accounts/uia.rs"]
mod uia;
