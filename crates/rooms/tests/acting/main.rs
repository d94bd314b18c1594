//! Acting on rooms, against a real database.

mod concurrency;
mod creation;
mod elsewhere;
mod everywhere;
mod forks;
mod memberships;
mod receiving;
mod redactions;
mod stage;
mod transactions;
mod upgrades;
