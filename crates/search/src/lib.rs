//! Finding messages by their words, and people by their names.
//!
//! Start with [`Search`]: `indexer.rs` keeps the tables of `hs_storage::search` and `hs_storage::user_directory` up to what
//! the log says, `find.rs` asks them. `words.rs` decides what a word is, in any language.
//!
//! Invariants:
//! - The index follows the log: no writer knows of it. One replica at a time, the holder of a lease, works on it; whatever it
//!   does twice does no harm.
//! - What is found is a list of candidates. Whether somebody may see an event is for the caller to ask.
//! - Redacted events have no words here once the log has been followed past their redaction.
//! - All of it can be made anew from the other tables ([`Search::request_rebuild`]).

mod find;
mod indexer;
mod words;

pub use find::{FoundMessages, FoundUsers, MessageQuery, PersonQuery, Reach};
pub use indexer::{Progress, Search};
pub use words::Query;
