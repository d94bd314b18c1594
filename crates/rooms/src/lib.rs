//! Rooms: their state in memory, building and writing events, and reading what a user may see.
//!
//! Start with [`Rooms`] (`service.rs`) and [`Room`]. A write goes `write.rs` (one queue for each room) ->
//! `build.rs` (auth events, hash, signature, checks) -> `hs_storage::append` (one transaction for many rooms). A read asks
//! `access.rs` whether the user may read the room at all, `visibility.rs` which events, and `client_event.rs` how they look.
//!
//! Invariants:
//! - A room in memory is only a cache of the log. It changes when the log is applied, never before.
//! - A refusal is never given on the word of the cache alone: it is checked against the database's version first.
//! - Nothing here knows HTTP, sync, federation or push; those follow the log.

pub mod access;
pub mod actions;
pub mod adopt;
mod aggregations;
pub mod aliases;
mod auth_graph;
mod build;
pub mod client_event;
pub mod context;
pub mod create;
pub mod directory;
mod erasure;
pub mod event_filter;
pub mod for_servers;
pub mod gone;
mod groups;
pub mod hierarchy;
mod holes;
pub mod intent;
mod loading;
pub mod members;
pub mod membership;
pub mod new_room;
mod outliers;
pub mod outside;
pub mod paginate;
mod pdus;
pub mod people;
mod policy;
pub mod ports;
pub mod preview;
pub mod receive;
mod relation;
pub mod relations;
mod resolve;
pub mod room;
pub mod seen_state;
pub mod send;
mod server_acl;
pub mod service;
mod state_at;
pub mod state_line;
pub mod thread_subscriptions;
mod timestamp;
mod unite;
pub mod upgrade;
mod visibility;
pub mod whole;
pub mod write;

pub use actions::RoomActions;
pub use intent::{Intent, Sender, WriteRequest};
pub use room::Room;
pub use service::{Rooms, RoomsOptions};
pub use write::WriteError;
