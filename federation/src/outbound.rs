//! What this server asks of others, and what it tells them by itself.
//!
//! Everything goes through one [`client`]. Events and EDUs are told by the [`Sender`], in transactions: it follows the log and
//! keeps a short queue in memory for each server that has something to be told (`destination`). Nothing is written per event
//! and server: a position of the log for all of them, and a row for each server that lacks something, whose arrears are
//! looked up when it answers again (`catch_up`). The client remembers for itself who did not answer lately (`outages`).
//!
//! Invariants of the sender:
//! - A server has one transaction under way, and events of a room in order.
//! - The stored position never passes what a server lacks, unless that server's row covers it.
//! - A transaction keeps its id as long as its content is the same, so that a repetition is recognised.
//! - Memory is bounded, whatever the number of servers that do not answer.

mod audience;
mod backoff;
mod carrier;
mod catch_up;
pub mod client;
mod connector;
mod delivery;
mod destination;
mod device_updates;
mod edus;
mod feed;
mod follower;
mod lease;
mod outages;
mod policy_servers;
mod repeats;
mod response;
mod sender;
mod serving;
mod transaction;

pub use policy_servers::FederatedPolicyServers;
pub use sender::{IsAllowed, Sender, SenderOptions};
pub use transaction::{SendFailure, SendFuture, Transaction, Transport};

#[cfg(test)]
mod tests;
