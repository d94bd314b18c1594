//! The homeserver: everything that runs inside the `kith` program.
//!
//! Start with [`cli`] for the commands, [`config`] for what can be configured, and [`wiring`] for how the parts are put
//! together. The client-server API stands in `client_api`, one file per path of the specification.
//!
//! Invariants: nothing below this crate reads the configuration, the environment or the clock of the system; it is
//! all handed down from here.

pub mod cli;
mod client_api;
pub mod config;
pub mod database;
mod delayed_events;
mod errands;
mod federation_api;
mod guests;
pub mod health;
mod html;
mod jobs;
pub mod listener;
mod mailer;
pub mod postgres;
mod push_delivery;
mod replicas;
mod server_notices;
pub mod shutdown;
pub mod signing_key;
pub mod tasks;
pub mod telemetry;
pub mod wiring;
