//! Kith and Synapse in one room, each of them first.

mod files;
mod kith_first;
mod outages;
mod synapse_first;
