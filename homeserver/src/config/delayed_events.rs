//! `[delayed_events]`

use super::{Invalid, section::section};

section! {
    /// Events that clients ask the server to send later: what a call needs to end when a client vanishes.
    pub struct DelayedEvents {
        /// The longest delay.
        pub max_delay_seconds: u64 = 604_800,
        /// How many events a user may have scheduled at once. 0: nobody schedules any.
        pub max_per_user: u32 = 100,
    }
}

impl DelayedEvents {
    /// Checks what the types do not.
    pub(super) fn validate(&self) -> Result<(), Invalid> {
        const LONGEST_SECONDS: u64 = 10 * 366 * 24 * 60 * 60;
        if !(1..=LONGEST_SECONDS).contains(&self.max_delay_seconds) {
            return Err(Invalid::new(
                "max_delay_seconds",
                "is out of range",
                "write a number from 1 to 316224000",
            ));
        }
        Ok(())
    }
}
