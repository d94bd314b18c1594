//! Who is told of what: push rules, whom events notify, and what is unread.
//!
//! Start with [`Push`] (`service.rs`). `ruleset.rs` is what a user's rules are: the predefined ones, and what the user
//! changed; `rules.rs` reads and edits them. `evaluate.rs` decides whom an event notifies while it is written, over
//! `personal.rs` (users' rules in memory) and `audience.rs` (who in a room has rules of their own). `unread.rs` counts what
//! is unread, over `tally.rs` (the newest events with a notice).
//!
//! Invariants:
//! - A user's rules are account data of the type [`RULES_TYPE`]. What is stored is merged with the predefined rules of
//!   this version whenever it is read, so new predefined rules need no migration. Nothing is stored for users who have
//!   changed nothing.
//! - Whom an event notifies is decided once, and stored with it. What it means to everybody is one number; rows for single
//!   users exist only where they are named or their rules differ. A message to 5,000 members writes no 5,000 rows.
//! - A user is quiet in a room when their rules say so of the whole room (it is muted). For them, only rows of their own
//!   notify. Whether they are quiet is asked when it is counted: muting a room takes its messages out of the count.
//! - What is in memory is a cache of the database, kept true by the log; so all replicas count the same.
//! - No HTTP status codes.

mod addresses;
mod attention;
mod audience;
mod evaluate;
mod ignored;
mod notifications;
mod personal;
mod pushers;
mod rules;
mod ruleset;
mod service;
mod tally;
mod unread;

pub use addresses::AddressPatterns;
pub use attention::tweaks;
pub use notifications::{Notification, Page};
pub use pushers::{PusherKind, SetPusherError};
pub use rules::{EditRulesError, NewRule, Place};
pub use ruleset::{RULES_TYPE, RuleChangeError, RuleKind, client_content, ruleset};
pub use service::{Push, PushOptions};
pub use unread::{Count, JoinedRoom, Unread};
