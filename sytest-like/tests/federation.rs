//! Servers that talk to each other: Kith with a scripted server, with other Kiths, and with Synapse.

mod ground;

mod device_lists;
mod edus;
mod joins;
mod keys;
mod people;
mod policy;
mod requests;
mod send;
mod to_device;
