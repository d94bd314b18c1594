//! Two equal replicas on one database: whatever is done on one is known on the other.

mod rooms;
mod sessions;
