//! What other servers send.

pub mod edus;
pub mod fetch;
pub mod gaps;
pub mod transaction;
