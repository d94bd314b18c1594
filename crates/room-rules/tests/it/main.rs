//! Tests of the room rules through their public interface.
#![expect(clippy::unwrap_used, reason = "a test that cannot go on has failed")]

mod auth;
mod build;
mod canonical_json;
mod client_content;
mod pdu;
mod policy;
mod power_levels;
mod redact;
mod room;
mod sign;
mod state_res;
mod verify;
mod visibility;
