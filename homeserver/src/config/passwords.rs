//! `[passwords]`

use super::{Invalid, section::section};

section! {
    /// What a password must be like, and how it is hashed (Argon2id). Changes apply to passwords set from then on;
    /// older hashes stay valid.
    pub struct Passwords {
        /// The fewest characters of a new password.
        pub min_length: usize = 8,
        /// Memory that hashing takes, in KiB. More makes a stolen database harder to break.
        pub hash_memory_kib: u32 = 19_456,
        /// How many passes hashing makes over that memory.
        pub hash_iterations: u32 = 2,
        /// How many passwords are hashed at once; further ones wait. 0: as many as the machine has cores.
        pub max_concurrent_hashes: usize = 0,
    }
}

impl Passwords {
    /// Checks what the types do not.
    pub(super) fn validate(&self) -> Result<(), Invalid> {
        if !(1..=512).contains(&self.min_length) {
            return Err(Invalid::new("min_length", "no password could fit it", "set it between 1 and 512"));
        }
        if !(8..=4 * 1024 * 1024).contains(&self.hash_memory_kib) {
            return Err(Invalid::new(
                "hash_memory_kib",
                "Argon2 cannot work with it here",
                "set it between 8 (for tests) and 4194304; 19456 is the recommended least",
            ));
        }
        if !(1..=100).contains(&self.hash_iterations) {
            return Err(Invalid::new(
                "hash_iterations",
                "Argon2 cannot work with it",
                "set it between 1 and 100",
            ));
        }
        Ok(())
    }
}
