//! What other servers send.

pub mod fetch;
pub mod gaps;
pub mod transaction;
