//! Locking and suspending accounts.
//!
//! <https://spec.matrix.org/v1.19/client-server-api/#account-moderation>

use hs_model::ids::UserNid;
use hs_storage::{accounts::AccountRow, log::LogKind, moderation::Measure};
use ruma::UserId;

use crate::{Accounts, Failure, Session, error::fails_with_storage};

/// What a user may still do here.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Standing {
    /// Everything.
    #[default]
    Free,
    /// Read, and tidy up.
    Suspended,
    /// Log out.
    Locked,
}

impl Standing {
    pub(crate) fn new(is_locked: bool, is_suspended: bool) -> Self {
        match (is_locked, is_suspended) {
            (true, _) => Self::Locked,
            (false, true) => Self::Suspended,
            (false, false) => Self::Free,
        }
    }
}

/// Why a measure was not taken, or not told of.
#[derive(Debug, thiserror::Error)]
pub enum ModerationError {
    /// Only administrators may.
    #[error("You are not a server admin")]
    NotAdmin,
    /// Nobody takes measures against themself.
    #[error("You cannot do this to your own account")]
    Oneself,
    /// Administrators are out of each other's reach.
    #[error("This user is a server admin too")]
    TargetIsAdmin,
    /// The user is not of this server.
    #[error("This user does not belong to this server")]
    NotLocal,
    /// There is no such account, or it is closed.
    #[error("There is no such account")]
    NotFound,
    /// Our own fault.
    #[error(transparent)]
    Failure(#[from] Failure),
}
fails_with_storage!(ModerationError);

impl Accounts {
    /// Whether a measure is in force against an account.
    pub async fn is_measure_in_force(
        &self,
        asker: &Session,
        user_id: &UserId,
        measure: Measure,
    ) -> Result<bool, ModerationError> {
        let account = self.account_below(asker, user_id).await?;
        Ok(match measure {
            Measure::Lock => account.locked_at.is_some(),
            Measure::Suspension => account.suspended_at.is_some(),
        })
    }

    /// Takes a measure against an account, or lifts it.
    pub async fn set_measure(
        &self,
        asker: &Session,
        user_id: &UserId,
        measure: Measure,
        is_wanted: bool,
    ) -> Result<(), ModerationError> {
        let account = self.account_below(asker, user_id).await?;
        if account.user == asker.user {
            return Err(ModerationError::Oneself);
        }
        self.write_measure(account.user, measure, is_wanted).await?;
        tracing::info!(%user_id, by = %asker.user_id, ?measure, is_wanted, "account moderated");
        Ok(())
    }

    pub(crate) async fn write_measure(
        &self,
        user: UserNid,
        measure: Measure,
        is_wanted: bool,
    ) -> Result<(), hs_storage::StorageError> {
        let mut txn = self.store.begin().await?;
        txn.set_measure(user, measure, is_wanted.then(|| self.clock.now_ms())).await?;
        // Sessions in memory know what their users may do.
        txn.log(LogKind::Session, None, Some(user)).await?;
        txn.commit().await
    }

    /// An open account that an administrator may look after: not another administrator's. Who asks is looked at first, so
    /// that others do not learn who has an account.
    async fn account_below(&self, asker: &Session, user_id: &UserId) -> Result<AccountRow, ModerationError> {
        if !asker.is_admin {
            return Err(ModerationError::NotAdmin);
        }
        if user_id.server_name() != self.server_name() {
            return Err(ModerationError::NotLocal);
        }
        let user = self.store.find_user(user_id).await?.ok_or(ModerationError::NotFound)?;
        let account = self.store.reader().await?.find_account(user).await?;
        let account = account.filter(|account| account.deactivated_at.is_none());
        let account = account.ok_or(ModerationError::NotFound)?;
        if account.is_admin && account.user != asker.user {
            return Err(ModerationError::TargetIsAdmin);
        }
        Ok(account)
    }
}
