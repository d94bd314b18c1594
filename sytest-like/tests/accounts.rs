//! Accounts, sessions, devices, profiles and what else belongs to a user and not to a room.

mod registration;
