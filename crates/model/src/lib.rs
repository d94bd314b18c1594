//! The words the other crates share: numeric ids, stream positions, the clock and the plain rows that storage hands out.
//!
//! Start with [`ids`] and [`stream`].
//!
//! Invariants: no async, no I/O, no SQL, nothing that depends on another crate of Kith.

pub mod clock;
pub mod hit_rate;
pub mod ids;
pub mod membership;
pub mod notices;
pub mod records;
pub mod stream;
