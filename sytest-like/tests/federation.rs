//! Servers that talk to each other: Kith with a scripted server, and with other Kiths.

mod ground;
pub(crate) mod scenes;
pub(crate) mod signals;

mod device_lists;
mod edus;
mod joins;
mod keys;
mod people;
mod policy;
pub(crate) mod absence;
mod access_lists;
mod gaps;
mod pairs;
mod redactions;
mod requests;
mod send;
mod to_device;
