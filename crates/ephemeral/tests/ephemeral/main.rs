//! Typing, receipts and presence as a server has them: over a database, with the log followed, on one replica and on two.

#![expect(clippy::disallowed_methods, reason = "what a test spawns ends with it")]

mod presence;
mod receipts;
mod replica;
mod typing;
