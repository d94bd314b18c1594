//! Closing an account for good.

use hs_model::ids::UserNid;
use hs_storage::{StorageError, Txn, errands::ErrandKind, log::LogKind};
use serde::Deserialize;

use crate::{
    Accounts, AuthError, Failure, Session, UiaBody,
    error::fails_with_storage,
    uia::{Operation, Stage},
};

/// Why an account was not closed.
#[derive(Debug, thiserror::Error)]
pub enum DeactivateError {
    /// The body is not what it should be.
    #[error("{0}")]
    Malformed(String),
    /// The user must prove who they are.
    #[error(transparent)]
    Auth(#[from] AuthError),
    /// Our own fault.
    #[error(transparent)]
    Failure(#[from] Failure),
}
fails_with_storage!(DeactivateError);

#[derive(Deserialize)]
struct Params {
    erase: Option<bool>,
}

impl Accounts {
    /// One step of closing the account of the user: nobody can log in to it again, and nobody gets its name. That its
    /// rooms are left is asked for, and done soon after.
    pub async fn deactivate(&self, session: &Session, body: UiaBody) -> Result<(), DeactivateError> {
        Params::deserialize(body.params()).map_err(|error| DeactivateError::Malformed(error.to_string()))?;
        let authorised =
            self.authorise(&Operation::of(session, "deactivate"), &[vec![Stage::Password]], body).await?;
        let params = Params::deserialize(&authorised.params)
            .map_err(|error| DeactivateError::Malformed(error.to_string()))?;
        let mut txn = self.store.begin().await?;
        authorised.end(&mut txn).await?;
        self.close_account(&mut txn, session.user, params.erase.unwrap_or_default()).await?;
        txn.commit().await?;
        tracing::info!(user_id = %session.user_id, "account deactivated");
        Ok(())
    }

    /// Closes an account within a transaction; `false` when it was closed already. Takes positions: call it last.
    pub(crate) async fn close_account(
        &self,
        txn: &mut Txn,
        user: UserNid,
        erase: bool,
    ) -> Result<bool, StorageError> {
        if !txn.deactivate_account(user, erase, self.clock.now_ms()).await? {
            return Ok(false);
        }
        txn.request_room_errand(user, ErrandKind::Leave).await?;
        txn.delete_login_tokens(user).await?;
        txn.delete_all_devices(user, None).await?;
        txn.delete_encryption_data(user).await?;
        if erase {
            txn.delete_account_data(user).await?;
            txn.delete_filters(user).await?;
            txn.delete_profile(user).await?;
        }
        let position = txn.log(LogKind::Session, None, Some(user)).await?;
        if erase {
            txn.set_erased_position(user, position).await?;
        }
        txn.log(LogKind::DeviceList, None, Some(user)).await?;
        Ok(true)
    }
}
