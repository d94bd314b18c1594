//! What administrators do to accounts, from the command line or an API: nobody is asked to prove anything here.

use std::net::IpAddr;

use hs_model::ids::UserNid;
use hs_storage::{
    accounts::{AccountSummary, NewAccount},
    log::LogKind,
    moderation::Measure,
};
use ruma::OwnedUserId;
use serde_json::value::to_raw_value;

use crate::{
    Accounts, Failure, InvalidUsername, LoggedIn, NewSession, PasswordRuleError, SetProfileFieldError,
    UsernameError,
    error::fails_with_storage,
    passwords::check_length,
    profiles::{self, DISPLAYNAME},
    username,
};

/// A user to make.
#[derive(Clone, Default)]
pub struct NewUser {
    /// The name.
    pub username: String,
    /// The password; `None`: the user cannot log in by password yet.
    pub password: Option<String>,
    /// Whether the user administrates this server.
    pub is_admin: bool,
    /// What the account is for: `bot`, `support`, or nothing special.
    pub user_type: Option<String>,
    /// What to call the user.
    pub displayname: Option<String>,
}

/// Why an account was not made or changed.
#[derive(Debug, thiserror::Error)]
pub enum AdminError {
    /// The name cannot be had.
    #[error(transparent)]
    InvalidUsername(#[from] InvalidUsername),
    /// Somebody has the name, or had it.
    #[error("This user name is taken")]
    UserInUse,
    /// There is no such account here.
    #[error("There is no such account")]
    NotFound,
    /// The account was closed.
    #[error("This account has been deactivated")]
    Deactivated,
    /// The password is too long.
    #[error(transparent)]
    Password(#[from] PasswordRuleError),
    /// The display name cannot be used.
    #[error("{0}")]
    InvalidDisplayname(&'static str),
    /// Our own fault.
    #[error(transparent)]
    Failure(#[from] Failure),
}
fails_with_storage!(AdminError);

impl From<UsernameError> for AdminError {
    fn from(error: UsernameError) -> Self {
        match error {
            UsernameError::Invalid(error) => Self::InvalidUsername(error),
            UsernameError::InUse => Self::UserInUse,
            UsernameError::Failure(failure) => Self::Failure(failure),
        }
    }
}

impl From<SetProfileFieldError> for AdminError {
    fn from(error: SetProfileFieldError) -> Self {
        match error {
            SetProfileFieldError::InvalidValue(message) => Self::InvalidDisplayname(message),
            SetProfileFieldError::InvalidKey
            | SetProfileFieldError::KeyTooLarge
            | SetProfileFieldError::ProfileTooLarge => {
                Self::InvalidDisplayname("The display name cannot be used")
            }
            SetProfileFieldError::Failure(failure) => Self::Failure(failure),
        }
    }
}

impl Accounts {
    /// Makes an account.
    pub async fn admin_create_user(&self, user: &NewUser) -> Result<OwnedUserId, AdminError> {
        Ok(self.insert_user(user, None).await?.0)
    }

    /// Gives an account another password; with `logout_devices` all its sessions end.
    pub async fn admin_set_password(
        &self,
        user: &str,
        password: &str,
        logout_devices: bool,
    ) -> Result<OwnedUserId, AdminError> {
        let (user, user_id) = self.find_active(user).await?;
        self.passwords.check_rules(password)?;
        let password_hash = self.passwords.hash(password).await?;
        let mut txn = self.store.begin().await?;
        txn.set_password_hash(user, &password_hash).await?;
        if logout_devices {
            txn.delete_login_tokens(user).await?;
            txn.delete_all_devices(user, None).await?;
            txn.log(LogKind::Session, None, Some(user)).await?;
            txn.log(LogKind::DeviceList, None, Some(user)).await?;
        }
        txn.commit().await?;
        Ok(user_id)
    }

    /// Makes a user an administrator, or no longer.
    pub async fn admin_set_admin(&self, user: &str, is_admin: bool) -> Result<OwnedUserId, AdminError> {
        let (user, user_id) = self.find_active(user).await?;
        let mut txn = self.store.begin().await?;
        txn.set_admin(user, is_admin).await?;
        if is_admin {
            txn.delete_first_run_token().await?;
        }
        txn.log(LogKind::Session, None, Some(user)).await?;
        txn.commit().await?;
        Ok(user_id)
    }

    /// Locks or suspends an account, or no longer.
    pub async fn admin_set_measure(
        &self,
        user: &str,
        measure: Measure,
        is_wanted: bool,
    ) -> Result<OwnedUserId, AdminError> {
        let (user, user_id) = self.find_active(user).await?;
        self.write_measure(user, measure, is_wanted).await?;
        Ok(user_id)
    }

    /// Closes an account for good.
    pub async fn admin_deactivate(&self, user: &str, erase: bool) -> Result<OwnedUserId, AdminError> {
        let (user, user_id) = self.find_active(user).await?;
        let mut txn = self.store.begin().await?;
        self.close_account(&mut txn, user, erase).await?;
        txn.commit().await?;
        Ok(user_id)
    }

    /// Accounts in the order of their user ids, those after `after`.
    pub async fn admin_list_users(&self, after: &str, limit: i64) -> Result<Vec<AccountSummary>, Failure> {
        Ok(self.store.reader().await?.list_accounts(after, limit).await?)
    }

    /// Makes an account, and a session on it where one is wanted.
    pub(crate) async fn insert_user(
        &self,
        user: &NewUser,
        session: Option<(&NewSession, IpAddr)>,
    ) -> Result<(OwnedUserId, Option<LoggedIn>), AdminError> {
        let user_id = username::provisioned_user_id(&user.username, self.server_name())?;
        self.check_unused(&user_id).await?;
        let password_hash = match &user.password {
            Some(password) => {
                check_length(password)?;
                Some(self.passwords.hash(password).await?)
            }
            None => None,
        };
        let displayname = user.displayname.as_ref().and_then(|name| to_raw_value(name).ok());
        if let Some(displayname) = &displayname {
            profiles::check_value(DISPLAYNAME, displayname)?;
        }
        let nid = self.store.intern_user(&user_id).await?;
        let mut txn = self.store.begin().await?;
        let account = NewAccount {
            password_hash: password_hash.as_deref(),
            is_admin: user.is_admin,
            user_type: user.user_type.as_deref(),
            accepted_terms: None,
            created_at: self.clock.now_ms(),
        };
        if !txn.insert_account(nid, &account).await? {
            return Err(AdminError::UserInUse);
        }
        if user.is_admin {
            txn.delete_first_run_token().await?;
        }
        let logged_in = match session {
            Some((session, ip)) => {
                Some(self.insert_session(&mut txn, nid, user_id.clone(), session, ip).await?.0)
            }
            None => None,
        };
        if let Some(displayname) = displayname.filter(|name| name.get() != "\"\"") {
            txn.upsert_profile_field(nid, DISPLAYNAME, displayname.get()).await?;
        } else {
            // So that the user can be found, name or not.
            txn.log(LogKind::Profile, None, Some(nid)).await?;
        }
        txn.commit().await?;
        tracing::info!(%user_id, is_admin = user.is_admin, "account made");
        Ok((user_id, logged_in))
    }

    /// A user by localpart or full id.
    async fn find_active(&self, name: &str) -> Result<(UserNid, OwnedUserId), AdminError> {
        let user_id = username::named_user_id(name, self.server_name()).ok_or(AdminError::NotFound)?;
        let user = self.store.find_user(&user_id).await?.ok_or(AdminError::NotFound)?;
        let account = self.store.reader().await?.find_account(user).await?.ok_or(AdminError::NotFound)?;
        if account.deactivated_at.is_some() {
            return Err(AdminError::Deactivated);
        }
        Ok((user, user_id))
    }
}
