//! Who wants to be told of what: push rules.
//!
//! Start with [`Push`] (`service.rs`). `ruleset.rs` is what a user's rules are: the predefined ones, and what the user
//! changed; `rules.rs` reads and edits them.
//!
//! Invariants:
//! - A user's rules are account data of the type [`RULES_TYPE`]. What is stored is merged with the predefined rules of
//!   this version whenever it is read, so new predefined rules need no migration. Nothing is stored for users who have
//!   changed nothing.
//! - No HTTP status codes.

mod rules;
mod ruleset;
mod service;

pub use rules::{EditRulesError, NewRule, Place};
pub use ruleset::{RULES_TYPE, RuleChangeError, RuleKind, client_content, ruleset};
pub use service::Push;
