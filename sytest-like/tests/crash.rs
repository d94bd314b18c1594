//! What is left after servers and databases are killed in the middle of the work.
//!
//! Every case runs the same load (`load`): clients that send, sure of nothing but what was acknowledged, and clients
//! that watch. Between the rounds something is killed. At the end every acknowledged event must be there once, and
//! every watcher must have heard of it once, in the order that all others heard it.

mod load;

mod kills;
mod uploads;
