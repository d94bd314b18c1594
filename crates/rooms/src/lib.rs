//! Rooms: their state in memory, building and writing events, and reading what a user may see.
//!
//! Start with [`Rooms`] (`service.rs`) and [`Room`](room::Room). A write goes `write.rs` (one queue for each room) ->
//! `build.rs` (auth events, hash, signature, checks) -> `hs_storage::append` (one transaction for many rooms).
//!
//! Invariants:
//! - A room in memory is only a cache of the log. It changes when the log is applied, never before.
//! - A refusal is never given on the word of the cache alone: it is checked against the database's version first.
//! - Nothing here knows HTTP, sync, federation or push; those follow the log.

pub mod actions;
pub mod aliases;
mod build;
pub mod client_event;
pub mod create;
pub mod directory;
pub mod intent;
mod loading;
pub mod membership;
pub mod new_room;
mod pdus;
pub mod ports;
mod relation;
pub mod room;
pub mod seen_state;
pub mod send;
pub mod service;
pub mod state_line;
pub mod upgrade;
pub mod write;

pub use actions::RoomActions;
pub use intent::{Intent, Sender, WriteRequest};
pub use room::Room;
pub use service::{Rooms, RoomsOptions};
pub use write::WriteError;
