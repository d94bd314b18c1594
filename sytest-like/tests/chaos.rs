//! Five servers in one room, while the network is cut at random, servers are killed, and everybody goes on.
//!
//! What happens follows from a seed, as far as that can be: the order in which the servers do it does not. At the end
//! all must have the same state, and whatever one of them acknowledged must be readable on all.

mod dice;
mod storm;
