//! Changing one's password.

use hs_storage::log::LogKind;
use serde::Deserialize;

use crate::{
    Accounts, AuthError, Failure, PasswordRuleError, Session, UiaBody,
    error::fails_with_storage,
    uia::{Operation, Stage},
};

/// Why a password was not changed.
#[derive(Debug, thiserror::Error)]
pub enum ChangePasswordError {
    /// The body is not what it should be.
    #[error("{0}")]
    Malformed(String),
    /// There is no new password.
    #[error("A new password is required")]
    MissingPassword,
    /// The password is not good enough.
    #[error(transparent)]
    WeakPassword(#[from] PasswordRuleError),
    /// The user must prove who they are.
    #[error(transparent)]
    Auth(#[from] AuthError),
    /// Our own fault.
    #[error(transparent)]
    Failure(#[from] Failure),
}
fails_with_storage!(ChangePasswordError);

#[derive(Deserialize)]
struct Params {
    new_password: Option<String>,
    logout_devices: Option<bool>,
}

impl Accounts {
    /// One step of changing the password of the user. All other sessions end, unless the user wishes otherwise.
    pub async fn change_password(&self, session: &Session, body: UiaBody) -> Result<(), ChangePasswordError> {
        let params = Params::deserialize(body.params())
            .map_err(|error| ChangePasswordError::Malformed(error.to_string()))?;
        if let Some(password) = &params.new_password {
            self.passwords.check_rules(password)?;
        }
        let authorised = self
            .authorise(&Operation::of(session, "change_password"), &[vec![Stage::Password]], body)
            .await?;

        let password = params.new_password.as_deref().ok_or(ChangePasswordError::MissingPassword)?;
        let password_hash = self.passwords.hash(password).await?;
        let mut txn = self.store.begin().await?;
        authorised.end(&mut txn).await?;
        txn.set_password_hash(session.user, &password_hash).await?;
        if params.logout_devices.unwrap_or(true) {
            txn.delete_login_tokens(session.user).await?;
            if txn.delete_all_devices(session.user, Some(session.device)).await? > 0 {
                txn.log(LogKind::Session, None, Some(session.user)).await?;
                txn.log(LogKind::DeviceList, None, Some(session.user)).await?;
            }
        }
        txn.commit().await?;
        tracing::info!(user_id = %session.user_id, "password changed");
        Ok(())
    }
}
