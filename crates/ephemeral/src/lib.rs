//! What passes: who is typing, how far people have read, who is there.
//!
//! Start with [`Ephemeral`] (`service.rs`): handlers write through it, `/sync` asks it what changed between two positions
//! of the log. `events.rs` turns the answers into the events that clients get.
//!
//! Invariants:
//! - The database holds the truth, so that every replica tells the same; memory is a bounded cache of the log.
//! - Every visible change takes a position. What merely goes on (typing renewed, a person still active) takes none.
//! - Time comes from the [`Clock`](hs_model::clock::Clock); what happens by time can be called directly by tests.
//! - What other servers say of their users ends by itself: a server that dies leaves nobody typing or present.
//! - Nothing here knows whether somebody is in a room: the caller has checked that.

pub mod events;
pub mod options;
pub mod presence;
pub mod receipts;
pub mod service;
pub mod typing;

pub use options::{EphemeralOptions, PresenceOptions};
pub use presence::{RemotePresence, Syncing};
pub use receipts::{ReceiptError, ReceiptRequest, RemoteReceipt};
pub use service::Ephemeral;
pub use typing::TypingNow;
