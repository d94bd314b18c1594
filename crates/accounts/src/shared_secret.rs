//! Making accounts with a secret that the server and a provisioning tool share, as Synapse introduced it.

use std::net::IpAddr;

use base64::{Engine as _, engine::general_purpose::URL_SAFE_NO_PAD};
use hmac::{Hmac, KeyInit, Mac};
use sha1::Sha1;

use crate::{Accounts, AdminError, Failure, LoggedIn, NewSession, NewUser, error::fails_with_storage};

/// How long a nonce can be used.
const NONCE_LIFETIME_MS: i64 = 60 * 1000;
/// What an account can be for.
const USER_TYPES: [&str; 2] = ["bot", "support"];

/// A request for an account.
#[derive(Clone)]
pub struct SharedSecretRegistration {
    /// The nonce that was asked for before.
    pub nonce: String,
    /// The name.
    pub username: String,
    /// What to call the user.
    pub displayname: Option<String>,
    /// The password.
    pub password: String,
    /// Whether the user administrates this server.
    pub is_admin: bool,
    /// What the account is for.
    pub user_type: Option<String>,
    /// HMAC-SHA1 over all this, in hexadecimal digits.
    pub mac: String,
}

/// Why no account was made.
#[derive(Debug, thiserror::Error)]
pub enum SharedSecretError {
    /// No secret is configured.
    #[error("Registration by shared secret is not enabled")]
    Disabled,
    /// The nonce is unknown, used or expired.
    #[error("This nonce is not valid")]
    UnknownNonce,
    /// Whoever asks does not know the secret.
    #[error("The HMAC is wrong")]
    WrongMac,
    /// Accounts are not for that.
    #[error("This user type is not known")]
    InvalidUserType,
    /// The account cannot be made.
    #[error(transparent)]
    Refused(#[from] AdminError),
    /// Our own fault.
    #[error(transparent)]
    Failure(#[from] Failure),
}
fails_with_storage!(SharedSecretError);

impl Accounts {
    /// A nonce for one request.
    pub async fn create_registration_nonce(&self) -> Result<String, SharedSecretError> {
        if self.options.registration.shared_secret.is_none() {
            return Err(SharedSecretError::Disabled);
        }
        let nonce = URL_SAFE_NO_PAD.encode(rand::random::<[u8; 32]>());
        let now_ms = self.clock.now_ms();
        let mut txn = self.store.begin().await?;
        txn.insert_registration_nonce(&nonce, now_ms + NONCE_LIFETIME_MS, now_ms).await?;
        txn.commit().await?;
        Ok(nonce)
    }

    /// Makes an account and logs in to it.
    pub async fn register_by_shared_secret(
        &self,
        request: SharedSecretRegistration,
        ip: IpAddr,
    ) -> Result<LoggedIn, SharedSecretError> {
        let secret = self.options.registration.shared_secret.as_ref().ok_or(SharedSecretError::Disabled)?;
        let mut txn = self.store.begin().await?;
        if !txn.take_registration_nonce(&request.nonce, self.clock.now_ms()).await? {
            return Err(SharedSecretError::UnknownNonce);
        }
        txn.commit().await?;
        if !has_right_mac(&request, secret) {
            return Err(SharedSecretError::WrongMac);
        }
        if request.user_type.as_deref().is_some_and(|user_type| !USER_TYPES.contains(&user_type)) {
            return Err(SharedSecretError::InvalidUserType);
        }
        let user = NewUser {
            username: request.username,
            password: Some(request.password),
            is_admin: request.is_admin,
            user_type: request.user_type,
            displayname: request.displayname,
        };
        let session = NewSession::default();
        let logged_in = self.insert_user(&user, Some((&session, ip))).await?;
        logged_in.1.ok_or(SharedSecretError::Disabled)
    }
}

/// The MAC covers nonce, name, password, `admin` or `notadmin`, and the type if there is one, with NULs between.
fn has_right_mac(request: &SharedSecretRegistration, secret: &str) -> bool {
    let Ok(mut mac) = Hmac::<Sha1>::new_from_slice(secret.as_bytes()) else { return false };
    let role = if request.is_admin { "admin" } else { "notadmin" };
    let fields = [&request.nonce, &request.username, &request.password, role];
    for (index, field) in fields.into_iter().chain(request.user_type.as_deref()).enumerate() {
        if index > 0 {
            mac.update(b"\0");
        }
        mac.update(field.as_bytes());
    }
    // Compares in constant time.
    from_hex(&request.mac).is_some_and(|claimed| mac.verify_slice(&claimed).is_ok())
}

fn from_hex(text: &str) -> Option<Vec<u8>> {
    let digits = text.as_bytes().chunks(2);
    digits.map(|pair| u8::from_str_radix(std::str::from_utf8(pair).ok()?, 16).ok()).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn request(mac: &str, user_type: Option<&str>) -> SharedSecretRegistration {
        SharedSecretRegistration {
            nonce: "thisisanonce".to_owned(),
            username: "pepper_roni".to_owned(),
            displayname: None,
            password: "pizza".to_owned(),
            is_admin: true,
            user_type: user_type.map(str::to_owned),
            mac: mac.to_owned(),
        }
    }

    #[test]
    fn mac_proves_the_secret() {
        // printf 'thisisanonce\0pepper_roni\0pizza\0admin' | openssl dgst -sha1 -hmac shared_secret
        let right = request("48715842ad67d5dc9a9ee938a3bda4fcfae8d7c7", None);

        assert!(has_right_mac(&right, "shared_secret"));
        assert!(!has_right_mac(&right, "other_secret"));
        assert!(!has_right_mac(&request("", None), "shared_secret"));
        assert!(!has_right_mac(&SharedSecretRegistration { is_admin: false, ..right }, "shared_secret"));
    }

    #[test]
    fn mac_covers_the_user_type() {
        // printf 'thisisanonce\0pepper_roni\0pizza\0admin\0bot' | openssl dgst -sha1 -hmac shared_secret
        let right = request("2ab701ea6618f3a4ffffc98f2116ea6ff5157182", Some("bot"));

        assert!(has_right_mac(&right, "shared_secret"));
        assert!(!has_right_mac(&SharedSecretRegistration { user_type: None, ..right }, "shared_secret"));
    }
}
