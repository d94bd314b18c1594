//! Simplified sliding sync (MSC4186), in the unstable dialect that clients speak and in that of the proposal.

mod configs;
mod connections;
mod dialects;
mod encryption;
mod extensions;
mod hostile;
mod lists;
mod membership;
mod polling;
mod profiles;
mod rooms;
mod slider;
mod survival;
mod threads;
