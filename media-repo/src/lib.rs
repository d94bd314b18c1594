//! The media repository: files that people attach, and pictures of them.
//!
//! Invariants: nothing here knows rooms or other servers; what it needs of them comes through [`ports`].

pub mod content;
pub mod ports;
pub mod preview;
pub mod thumbnail;
