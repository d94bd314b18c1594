//! The black-box conformance suite: the Matrix specification, asked from outside.
//!
//! This crate is the kit that the cases under `tests/` are written with. It speaks raw HTTP and raw JSON and uses no
//! other crate of the workspace, so that a case never shares a mistake with the server it asks. It starts whole
//! servers as processes: Kith, or Synapse when `KITH_TEST_AGAINST=synapse` is set, since a case that fails there too
//! is more likely to be a wrong case.
//!
//! Start reading at [`Server`] (how a case gets a server), then [`User`] (how it talks to it), then [`Response`] (how
//! it judges the answer) and [`Syncer`] (how it waits). `README.md` shows a case from top to bottom.
//!
//! Invariants: nothing here sleeps to wait for the server under test, only long polls and bounded readiness polls;
//! no server outlives the test process; a warning, an error or a panic in the log of a Kith fails the case that
//! sees it, unless the case declared it.

#![expect(
    clippy::needless_pass_by_value,
    reason = "bodies are written in place, `json!({…})`, and read better so"
)]

mod authority;
mod client;
mod command;
mod database;
mod gateway;
mod kith;
mod log;
mod network;
mod objects;
mod pair;
mod process;
mod response;
mod server;
mod smtp;
mod synapse;
mod sync;
mod user;
mod website;

pub mod cases;
pub mod fake;
pub mod hostile;
pub mod install;
pub mod operations;

use std::fmt::Write as _;

pub use client::{Client, Request};
pub use command::Ran;
pub use fake::FakeServer;
pub use gateway::Gateway;
pub use network::Network;
pub use objects::ObjectStore;
pub use pair::Pair;
pub use response::Response;
pub use server::{Registration, Server, ServerOptions, against_synapse};
pub use smtp::{Mail, MailServer};
pub use sync::{SyncRequest, Syncer, timeline, timeline_ids};
pub use user::{User, incompressible, unique};
pub use website::{Heard, Page, Website};

/// Percent-encodes one segment of a path or one value of a query.
pub fn encode(segment: &str) -> String {
    let mut out = String::with_capacity(segment.len() + 8);
    for byte in segment.bytes() {
        if byte.is_ascii_alphanumeric() || b"-._~".contains(&byte) {
            out.push(char::from(byte));
        } else {
            write!(out, "%{byte:02X}").expect("a string takes everything");
        }
    }
    out
}

/// Builds a path out of a template and segments that are percent-encoded on the way in:
/// `path!("/v3/rooms/{}/state/{}", room_id, "m.room.name")`.
#[macro_export]
macro_rules! path {
    ($template:literal $(, $segment:expr)* $(,)?) => {
        format!($template $(, $crate::encode(::std::convert::AsRef::<str>::as_ref(&$segment)))*)
    };
}

/// A JSON object or value; re-exported so that cases need one import.
pub use serde_json::{Value, json};
