//! Acting on rooms, against a real database.

mod concurrency;
mod creation;
mod everywhere;
mod memberships;
mod redactions;
mod stage;
mod transactions;
mod upgrades;
