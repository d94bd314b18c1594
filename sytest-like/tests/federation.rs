//! Servers that talk to each other: Kith with a scripted server, with other Kiths, and with Synapse.

mod ground;

mod joins;
mod keys;
mod requests;
mod send;
