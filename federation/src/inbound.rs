//! What other servers send, and what they ask.

pub mod edus;
pub mod fetch;
pub mod gaps;
pub mod partial_rooms;
pub mod rooms;
pub mod transaction;
