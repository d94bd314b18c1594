//! What this server asks of others.

pub mod client;
mod connector;
mod response;
