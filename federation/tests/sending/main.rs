//! The sender, with a scripted transport and a real database.

mod catching_up;
mod live;
mod removed;
mod replicas;
mod scene;
