//! Keeping order: reports, locks and suspensions, and what administrators say and see.

mod commands;
mod ground;

mod locking;
mod notices;
mod reports;
mod suspension;
mod whois;
