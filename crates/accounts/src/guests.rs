//! Guests, who look around before they register.
//!
//! <https://spec.matrix.org/v1.19/client-server-api/#guest-access>

use std::net::IpAddr;

use ruma::OwnedUserId;

use crate::{Accounts, Failure, LoggedIn, NewSession, RegisterError, secret, username};

impl Accounts {
    /// Makes an account for a guest, with a session.
    pub async fn register_guest(
        &self,
        display_name: Option<String>,
        ip: IpAddr,
    ) -> Result<LoggedIn, RegisterError> {
        if !self.options.registration.guests {
            return Err(RegisterError::NoGuests);
        }
        self.throttle.registration(ip)?;
        let session = NewSession {
            device_id: None,
            initial_device_display_name: display_name,
            wants_refresh_token: false,
        };
        session.validate().map_err(|_| RegisterError::InvalidDevice("The name of the device is too long"))?;
        let user_id = username::random_user_id(self.server_name())?;
        let user = self.store.intern_user(&user_id).await?;
        let mut txn = self.store.begin().await?;
        if !txn.insert_guest(user, self.clock.now_ms()).await? {
            return Err(RegisterError::UserInUse);
        }
        let (logged_in, _) = self.insert_session(&mut txn, user, user_id.clone(), &session, ip).await?;
        txn.commit().await?;
        tracing::info!(%user_id, "guest registered");
        Ok(logged_in)
    }

    /// The guest whom an access token stands for.
    pub(crate) async fn guest_of(&self, token: &str) -> Result<Option<OwnedUserId>, Failure> {
        let row = self.store.reader().await?.find_access_token(&secret::hash(token)).await?;
        let guest = row.filter(|row| row.is_guest && !row.is_locked);
        Ok(guest.and_then(|row| row.user_id.as_str().try_into().ok()))
    }
}
