//! The tokens that people register with, as administrators manage them.

use hs_storage::registration_tokens::RegistrationTokenRow;

use crate::{Accounts, Failure, error::fails_with_storage, secret};

/// The longest registration token.
///
/// <https://spec.matrix.org/v1.19/client-server-api/#token-authenticated-registration>
pub(crate) const MAX_TOKEN_BYTES: usize = 64;
/// How long a token is when nobody says.
const USUAL_LENGTH: usize = 16;

/// A token to make.
#[derive(Clone, Debug, Default)]
pub struct NewRegistrationToken {
    /// The token; `None`: a random one.
    pub token: Option<String>,
    /// How long a random one is.
    pub length: Option<usize>,
    /// How often it may be used; `None`: any number of times.
    pub uses_allowed: Option<i32>,
    /// When it expires, in milliseconds; `None`: never.
    pub expires_at: Option<i64>,
}

/// Why no token was made.
#[derive(Debug, thiserror::Error)]
pub enum CreateTokenError {
    /// It cannot be like that.
    #[error("{0}")]
    Invalid(&'static str),
    /// It exists.
    #[error("This registration token exists already")]
    Exists,
    /// Our own fault.
    #[error(transparent)]
    Failure(#[from] Failure),
}
fails_with_storage!(CreateTokenError);

impl Accounts {
    /// Makes a token that people can register with.
    pub async fn admin_create_registration_token(
        &self,
        new: &NewRegistrationToken,
    ) -> Result<RegistrationTokenRow, CreateTokenError> {
        let now_ms = self.clock.now_ms();
        let row = RegistrationTokenRow {
            token: new_token(new, now_ms)?,
            uses_allowed: new.uses_allowed,
            uses_completed: 0,
            expires_at: new.expires_at,
            grants_admin: false,
        };
        let mut txn = self.store.begin().await?;
        if !txn.insert_registration_token(&row, now_ms).await? {
            return Err(CreateTokenError::Exists);
        }
        txn.commit().await?;
        Ok(row)
    }

    /// All tokens but the one for the first administrator.
    pub async fn admin_list_registration_tokens(&self) -> Result<Vec<RegistrationTokenRow>, Failure> {
        Ok(self.store.reader().await?.list_registration_tokens().await?)
    }

    /// Deletes a token; `false` when there was none.
    pub async fn admin_delete_registration_token(&self, token: &str) -> Result<bool, Failure> {
        let mut txn = self.store.begin().await?;
        let was_there = txn.delete_registration_token(token).await?;
        txn.commit().await?;
        Ok(was_there)
    }
}

fn new_token(new: &NewRegistrationToken, now_ms: i64) -> Result<String, CreateTokenError> {
    if new.uses_allowed.is_some_and(i32::is_negative) {
        return Err(CreateTokenError::Invalid("A token cannot be used less than never"));
    }
    if new.expires_at.is_some_and(|expires_at| expires_at <= now_ms) {
        return Err(CreateTokenError::Invalid("The token would have expired already"));
    }
    if let Some(token) = &new.token {
        let is_opaque_identifier = (1..=MAX_TOKEN_BYTES).contains(&token.len())
            && token.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"._~-".contains(&byte));
        return if is_opaque_identifier {
            Ok(token.clone())
        } else {
            Err(CreateTokenError::Invalid("A token has 1 to 64 letters, digits, and ._~-"))
        };
    }
    match new.length.unwrap_or(USUAL_LENGTH) {
        length @ 1..=MAX_TOKEN_BYTES => Ok(secret::random_letters(secret::SMALL_LETTERS, length)),
        _ => Err(CreateTokenError::Invalid("A token has 1 to 64 characters")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn make(new: &NewRegistrationToken) -> Result<String, String> {
        new_token(new, 1_000).map_err(|error| error.to_string())
    }

    #[test]
    fn token_is_random_unless_chosen() {
        assert_eq!(make(&NewRegistrationToken::default()).unwrap().len(), USUAL_LENGTH);
        let chosen = NewRegistrationToken { token: Some("Open~sesame".to_owned()), ..Default::default() };
        assert_eq!(make(&chosen).unwrap(), "Open~sesame");
    }

    #[test]
    fn impossible_tokens_are_refused() {
        for new in [
            NewRegistrationToken { token: Some(String::new()), ..Default::default() },
            NewRegistrationToken { token: Some("a b".to_owned()), ..Default::default() },
            NewRegistrationToken { token: Some("a".repeat(65)), ..Default::default() },
            NewRegistrationToken { length: Some(0), ..Default::default() },
            NewRegistrationToken { uses_allowed: Some(-1), ..Default::default() },
            NewRegistrationToken { expires_at: Some(1_000), ..Default::default() },
        ] {
            assert!(make(&new).is_err(), "{new:?}");
        }
    }
}
