//! Accounts, sessions, devices, profiles and what else belongs to a user and not to a room.

mod account_data;
mod deactivation;
mod devices;
mod filters;
mod guests;
mod login;
mod login_token;
mod logout;
mod password;
mod profile;
mod refresh;
mod registration;
mod registration_token;
mod server;
pub(crate) mod shared_secret;
mod tags;
mod terms;
mod throttling;
mod tokens;
