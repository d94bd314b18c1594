//! Hashing passwords and comparing them, off the async threads and a few at a time.

use std::{num::NonZeroUsize, sync::Arc, thread::available_parallelism};

use argon2::{
    Algorithm, Argon2, Params, PasswordHasher as _, PasswordVerifier as _, Version,
    password_hash::{Error, phc::PasswordHash},
};
use tokio::sync::Semaphore;
use zeroize::Zeroizing;

use crate::{
    Failure,
    options::{InvalidOptions, PasswordOptions},
};

/// Longer ones only cost time; no person and no password manager makes them.
const MAX_PASSWORD_BYTES: usize = 512;

/// Why a new password is refused.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum PasswordRuleError {
    /// Too few characters.
    #[error("The password must have at least {0} characters")]
    TooShort(usize),
    /// Too many bytes.
    #[error("The password is too long")]
    TooLong,
}

/// What comparing a password said.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Verdict {
    Wrong,
    Right,
    /// Right, but hashed with other costs than those of now.
    RightButOutdated,
}

#[derive(Debug)]
pub(crate) struct Passwords {
    min_length: usize,
    argon2: Argon2<'static>,
    /// Each hash takes a core and its megabytes; more at once would only make all of them slower.
    permits: Arc<Semaphore>,
}

impl Passwords {
    pub(crate) fn new(options: &PasswordOptions) -> Result<Self, InvalidOptions> {
        let params = Params::new(options.hash_memory_kib, options.hash_iterations, 1, None)
            .map_err(|error| InvalidOptions(error.to_string()))?;
        let permits = match options.max_concurrent_hashes {
            0 => available_parallelism().map_or(1, NonZeroUsize::get),
            permits => permits,
        };
        Ok(Self {
            min_length: options.min_length,
            argon2: Argon2::new(Algorithm::Argon2id, Version::V0x13, params),
            permits: Arc::new(Semaphore::new(permits)),
        })
    }

    /// Whether a new password is good enough.
    pub(crate) fn check_rules(&self, password: &str) -> Result<(), PasswordRuleError> {
        check_length(password)?;
        if password.chars().count() < self.min_length {
            return Err(PasswordRuleError::TooShort(self.min_length));
        }
        Ok(())
    }

    /// Hashes a password, as a PHC string.
    pub(crate) async fn hash(&self, password: &str) -> Result<String, Failure> {
        let (argon2, password) = (self.argon2.clone(), Zeroizing::new(password.to_owned()));
        self.off_thread(move || hash(&argon2, &password)).await
    }

    /// Compares a password with a hash. Without one it takes just as long and says no, so that the time does not tell
    /// whether the user exists.
    pub(crate) async fn verify(&self, password: &str, stored: Option<&str>) -> Result<Verdict, Failure> {
        if password.len() > MAX_PASSWORD_BYTES {
            return Ok(Verdict::Wrong);
        }
        let (argon2, password) = (self.argon2.clone(), Zeroizing::new(password.to_owned()));
        let stored = stored.map(str::to_owned);
        self.off_thread(move || match stored {
            Some(stored) => verify(&argon2, &password, &stored),
            None => hash(&argon2, &password).map(|_| Verdict::Wrong),
        })
        .await
    }

    async fn off_thread<T: Send + 'static>(
        &self,
        work: impl FnOnce() -> Result<T, Error> + Send + 'static,
    ) -> Result<T, Failure> {
        let permit = self.permits.clone().acquire_owned().await;
        let done = tokio::task::spawn_blocking(move || {
            let _permit = permit;
            work()
        });
        match done.await {
            Ok(Ok(value)) => Ok(value),
            Ok(Err(error)) => Err(Failure::Hashing(error.to_string())),
            Err(error) => Err(Failure::Hashing(error.to_string())),
        }
    }
}

/// What is asked even of passwords that an administrator chooses.
pub(crate) fn check_length(password: &str) -> Result<(), PasswordRuleError> {
    if password.len() > MAX_PASSWORD_BYTES { Err(PasswordRuleError::TooLong) } else { Ok(()) }
}

fn hash(argon2: &Argon2<'_>, password: &str) -> Result<String, Error> {
    let salt: [u8; 16] = rand::random();
    let hash: PasswordHash = argon2.hash_password_with_salt(password.as_bytes(), &salt)?;
    Ok(hash.to_string())
}

fn verify(argon2: &Argon2<'_>, password: &str, stored: &str) -> Result<Verdict, Error> {
    let stored = PasswordHash::new(stored)?;
    match argon2.verify_password(password.as_bytes(), &stored) {
        Ok(()) => {}
        Err(Error::PasswordInvalid) => return Ok(Verdict::Wrong),
        Err(error) => return Err(error),
    }
    let params = Params::try_from(&stored)?;
    let wanted = argon2.params();
    let is_current = stored.algorithm == Algorithm::Argon2id.ident()
        && params.m_cost() == wanted.m_cost()
        && params.t_cost() == wanted.t_cost();
    Ok(if is_current { Verdict::Right } else { Verdict::RightButOutdated })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn passwords(hash_memory_kib: u32) -> Passwords {
        let options = PasswordOptions { hash_memory_kib, hash_iterations: 1, ..PasswordOptions::default() };
        Passwords::new(&options).unwrap()
    }

    #[tokio::test]
    async fn only_the_right_password_fits() {
        let passwords = passwords(8);
        let hash = passwords.hash("correct horse").await.unwrap();

        assert!(hash.starts_with("$argon2id$"));
        assert_eq!(passwords.verify("correct horse", Some(&hash)).await.unwrap(), Verdict::Right);
        assert_eq!(passwords.verify("wrong horse", Some(&hash)).await.unwrap(), Verdict::Wrong);
        assert_eq!(passwords.verify("correct horse", None).await.unwrap(), Verdict::Wrong);
    }

    #[tokio::test]
    async fn hash_with_other_costs_is_outdated() {
        let hash = passwords(8).hash("correct horse").await.unwrap();

        let verdict = passwords(16).verify("correct horse", Some(&hash)).await.unwrap();

        assert_eq!(verdict, Verdict::RightButOutdated);
    }

    #[test]
    fn rules_count_characters_from_below_and_bytes_from_above() {
        let passwords = passwords(8);

        assert_eq!(passwords.check_rules("1234567"), Err(PasswordRuleError::TooShort(8)));
        assert_eq!(passwords.check_rules("12345678"), Ok(()));
        assert_eq!(passwords.check_rules("ööööööö"), Err(PasswordRuleError::TooShort(8)));
        assert_eq!(passwords.check_rules(&"x".repeat(513)), Err(PasswordRuleError::TooLong));
    }

    #[test]
    fn impossible_costs_are_refused() {
        assert!(
            Passwords::new(&PasswordOptions { hash_iterations: 0, ..PasswordOptions::default() }).is_err()
        );
    }
}
