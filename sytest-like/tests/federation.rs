//! Servers that talk to each other: Kith with a scripted server, and with other Kiths.

mod ground;
pub(crate) mod scenes;
pub(crate) mod signals;

pub(crate) mod absence;
mod access_lists;
mod device_lists;
mod edus;
mod fast_joins;
mod forks;
mod gaps;
mod handshakes;
mod invites;
mod joins;
mod keys;
mod lies;
mod many;
mod narrow;
mod neighbours;
mod pairs;
mod past;
mod people;
mod policy;
mod reading;
mod redactions;
mod removals;
mod replicas;
mod requests;
mod send;
mod strange;
mod third_party;
mod through_others;
mod to_device;
