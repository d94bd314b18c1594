//! What Matrix means: the rules of rooms as functions over values.
//!
//! Start with [`pdu::Pdu`], the event; [`build`] makes one, [`auth`] says whether it is allowed, and
//! [`state_res`] merges what different servers think the state is.
//!
//! Invariants: no I/O, no async, no clock, no randomness but what is passed in, no logging above `debug`.
//! ruma's signature and state resolution code is reached through here and nowhere else. Every function gives
//! the same answer on every server, for all room versions in [`room_version::SUPPORTED`].

pub mod auth;
pub mod build;
pub mod canonical_json;
pub mod client_content;
pub mod event_id;
pub mod hash;
pub mod pdu;
pub mod policy;
pub mod power_levels;
pub mod redact;
pub mod room_version;
pub mod server_acl;
pub mod sign;
pub mod state_res;
mod unpadded_base64;
pub mod verify;
pub mod visibility;
