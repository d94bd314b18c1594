//! What every request to somewhere else has in common: where it may lead, whom it trusts, how long and how much it reads.
//!
//! Start with [`Guard`], which keeps requests out of the server's own network, and [`GuardedClient`], the HTTP client for
//! URLs that users or other servers choose. Federation connects by itself, with the same guard and the same
//! [`tls_config`].
//!
//! Invariants: an address is checked where it is connected to, not where its name is looked up for the first time; each
//! request has a deadline, and each answer that is read has a bound.

mod client;
mod guard;
mod tls;

pub use client::{ClientOptions, GuardedClient, ReadError, read_limited};
pub use guard::{ForbiddenAddress, Guard};
pub use tls::{TlsError, tls_config};
