//! `/sync`: what has happened for a user since a token, waiting for it if need be.
//!
//! Start with [`Sync`] (`service.rs`): the long poll. `feed.rs` knows what changed for whom; `v3.rs` and the files below it
//! make the response, one section each. `sliding.rs` does the same for sliding sync.
//!
//! Invariants:
//! - A token is one position of the log. A response holds everything that concerns the user after the token and up to
//!   `next_batch`, and nothing else, however many writers and replicas there are.
//! - Rooms without news are not looked at.
//! - Nothing here writes, except for what a connection of sliding sync was told.

mod feed;
mod filter;
mod lazy_members;
mod peek;
mod service;
pub mod sliding;
mod sticky;
mod v3;

pub use peek::Peeked;
pub use service::{SlidingError, Sync, SyncError, SyncOptions};
pub use v3::{
    Request, Response,
    old::{EventStream, InitialState},
};
