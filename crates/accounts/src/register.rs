//! Making an account by oneself.

use std::{net::IpAddr, time::Duration};

use hs_storage::{accounts::NewAccount, log::LogKind};
use ruma::{OwnedUserId, UserId};
use serde::Deserialize;
use serde_json::{Map, Value};

use crate::{
    Accounts, AuthError, Failure, InvalidUsername, LoggedIn, LoginError, NewSession, PasswordRuleError,
    RegistrationMode, UiaBody, UsernameError,
    error::fails_with_storage,
    registration_tokens::MAX_TOKEN_BYTES,
    secret,
    throttle::Throttled,
    uia::{Authorised, Operation, Stage},
    username,
};

/// A new account.
#[derive(Clone)]
pub enum Registered {
    /// With a session on its first device.
    LoggedIn(LoggedIn),
    /// Without, as the client wished.
    Account(OwnedUserId),
}

/// Why no account was made.
#[derive(Debug, thiserror::Error)]
pub enum RegisterError {
    /// Nobody may register here.
    #[error("Registration is closed on this server")]
    Closed,
    /// Nobody may come as a guest.
    #[error("Guest access is disabled on this server")]
    NoGuests,
    /// The token is not that of the guest with this name.
    #[error("This is not the access token of a guest with this user name")]
    NotThatGuest,
    /// The body is not what it should be.
    #[error("{0}")]
    Malformed(String),
    /// An account needs a password.
    #[error("A password is required")]
    MissingPassword,
    /// The name cannot be had.
    #[error(transparent)]
    InvalidUsername(#[from] InvalidUsername),
    /// Somebody has the name.
    #[error("This user name is taken")]
    UserInUse,
    /// The password is not good enough.
    #[error(transparent)]
    WeakPassword(#[from] PasswordRuleError),
    /// The device's id or name cannot be used.
    #[error("{0}")]
    InvalidDevice(&'static str),
    /// More has to be proven.
    #[error(transparent)]
    Auth(AuthError),
    /// Too many attempts.
    #[error("Too many attempts to register")]
    LimitExceeded(Duration),
    /// Our own fault.
    #[error(transparent)]
    Failure(#[from] Failure),
}
fails_with_storage!(RegisterError);

impl From<AuthError> for RegisterError {
    fn from(error: AuthError) -> Self {
        Self::Auth(error)
    }
}

impl From<Throttled> for RegisterError {
    fn from(throttled: Throttled) -> Self {
        Self::LimitExceeded(throttled.retry_after)
    }
}

impl From<UsernameError> for RegisterError {
    fn from(error: UsernameError) -> Self {
        match error {
            UsernameError::Invalid(error) => Self::InvalidUsername(error),
            UsernameError::InUse => Self::UserInUse,
            UsernameError::Failure(failure) => Self::Failure(failure),
        }
    }
}

/// Why it cannot be said whether a registration token is valid.
#[derive(Debug, thiserror::Error)]
pub enum TokenValidityError {
    /// Nobody may register here, so no token is valid.
    #[error("Registration is closed on this server")]
    Closed,
    /// Too many attempts.
    #[error("Too many attempts")]
    LimitExceeded(Duration),
    /// Our own fault.
    #[error(transparent)]
    Failure(#[from] Failure),
}
fails_with_storage!(TokenValidityError);

/// Where a session keeps the guest whose account becomes the new one. Never taken from a client.
const GUEST: &str = "kith.guest";
/// Where a client puts the guest's access token.
const GUEST_TOKEN: &str = "guest_access_token";

/// Where a session keeps the hash of the password, for clients that do not repeat it. Never taken from a client.
const PASSWORD_HASH: &str = "kith.password_hash";

#[derive(Deserialize)]
struct Params {
    username: Option<String>,
    password: Option<String>,
    #[serde(rename = "kith.password_hash")]
    password_hash: Option<String>,
    #[serde(rename = "kith.guest")]
    guest: Option<OwnedUserId>,
    device_id: Option<String>,
    initial_device_display_name: Option<String>,
    #[serde(default)]
    inhibit_login: Option<bool>,
    #[serde(default)]
    refresh_token: Option<bool>,
}

impl Params {
    fn parse(params: &Map<String, Value>) -> Result<Self, RegisterError> {
        Self::deserialize(params).map_err(|error| RegisterError::Malformed(error.to_string()))
    }

    fn session(&self) -> Result<NewSession, RegisterError> {
        let session = NewSession {
            device_id: self.device_id.clone(),
            initial_device_display_name: self.initial_device_display_name.clone(),
            wants_refresh_token: self.refresh_token.unwrap_or_default(),
        };
        match session.validate() {
            Err(LoginError::InvalidDevice(message)) => Err(RegisterError::InvalidDevice(message)),
            _ => Ok(session),
        }
    }
}

impl Accounts {
    /// One step of making an account: checks what can be checked, asks for what is left to prove, and makes it.
    pub async fn register(&self, mut body: UiaBody, ip: IpAddr) -> Result<Registered, RegisterError> {
        let flows = self.registration_flows().await?;
        if flows.is_empty() {
            return Err(RegisterError::Closed);
        }
        // Each session counts once, however many steps it takes.
        if body.auth.as_ref().is_none_or(|auth| auth.session.is_none()) {
            self.throttle.registration(ip)?;
        }
        body.params.remove(PASSWORD_HASH);
        body.params.remove(GUEST);
        if let Some(token) = body.params.remove(GUEST_TOKEN) {
            let guest = self.guest_of(token.as_str().unwrap_or_default()).await?;
            let guest = guest.ok_or(RegisterError::NotThatGuest)?;
            body.params.insert(GUEST.to_owned(), guest.as_str().into());
        }
        let params = Params::parse(&body.params)?;
        self.check_registration(&params).await?;
        if let Some(password) = params.password.as_deref().filter(|_| body.auth.is_none()) {
            let hash = self.passwords.hash(password).await?;
            body.params.insert(PASSWORD_HASH.to_owned(), hash.into());
        }
        let authorised = self.authorise(&Operation::anonymous("register"), &flows, body).await?;

        let params = Params::parse(&authorised.params)?;
        let user_id = self.check_registration(&params).await?;
        let password_hash = match (&params.password, &params.password_hash) {
            (Some(password), _) => self.passwords.hash(password).await?,
            (None, Some(hash)) => hash.clone(),
            (None, None) => return Err(RegisterError::MissingPassword),
        };
        self.insert_registration(&authorised, &params, user_id, &password_hash, ip).await
    }

    /// Whether a name can be registered, which says nothing about whether anybody may.
    pub async fn check_username_available(&self, username: &str) -> Result<(), UsernameError> {
        let user_id = username::chosen_user_id(username, self.server_name())?;
        self.check_unused(&user_id).await
    }

    /// Whether a registration token can be used.
    pub async fn check_registration_token(
        &self,
        token: &str,
        ip: IpAddr,
    ) -> Result<bool, TokenValidityError> {
        self.throttle
            .registration(ip)
            .map_err(|throttled| TokenValidityError::LimitExceeded(throttled.retry_after))?;
        if self.registration_flows().await?.is_empty() {
            return Err(TokenValidityError::Closed);
        }
        Ok(self.is_registration_token_valid(token).await?)
    }

    /// The token for the first administrator: whoever registers with it becomes one. Made when there is no account
    /// yet, and valid until it is used or an administrator is made in another way.
    pub async fn first_run_token(&self) -> Result<Option<String>, Failure> {
        let mut reader = self.store.reader().await?;
        if let Some(token) = reader.find_first_run_token().await? {
            return Ok(Some(token));
        }
        if reader.has_accounts().await? {
            return Ok(None);
        }
        drop(reader);
        let mut txn = self.store.begin().await?;
        let token = secret::random_letters(secret::SMALL_LETTERS, 24);
        txn.insert_first_run_token(&token, self.clock.now_ms()).await?;
        // Another replica may have been faster.
        let token = txn.find_first_run_token().await?;
        txn.commit().await?;
        Ok(token)
    }

    /// The ways to an account; none when registration is closed.
    async fn registration_flows(&self) -> Result<Vec<Vec<Stage>>, Failure> {
        let options = &self.options.registration;
        let has_first_run_token = self.store.reader().await?.find_first_run_token().await?.is_some();
        let terms: &[Stage] = if options.terms.is_empty() { &[] } else { &[Stage::Terms] };
        let by_token = [&[Stage::RegistrationToken], terms].concat();
        let by_anybody = if terms.is_empty() { vec![Stage::Dummy] } else { terms.to_vec() };
        Ok(match options.mode {
            RegistrationMode::Open if has_first_run_token => vec![by_anybody, by_token],
            RegistrationMode::Open => vec![by_anybody],
            RegistrationMode::Token => vec![by_token],
            RegistrationMode::Closed if has_first_run_token => vec![by_token],
            RegistrationMode::Closed => Vec::new(),
        })
    }

    pub(crate) async fn is_registration_token_valid(&self, token: &str) -> Result<bool, Failure> {
        if token.len() > MAX_TOKEN_BYTES {
            return Ok(false);
        }
        let found = self.store.reader().await?.find_registration_token(token, self.clock.now_ms()).await?;
        let are_all_accepted = self.options.registration.mode != RegistrationMode::Closed;
        Ok(found.is_some_and(|found| found.grants_admin || are_all_accepted))
    }

    /// What must be right before anybody is asked to prove anything; returns the user id, if a name is given.
    async fn check_registration(&self, params: &Params) -> Result<OwnedUserId, RegisterError> {
        params.session()?;
        if let Some(password) = &params.password {
            self.passwords.check_rules(password)?;
        }
        match &params.username {
            Some(username) => {
                let user_id = username::chosen_user_id(username, self.server_name())?;
                match &params.guest {
                    Some(guest) if *guest == user_id => {}
                    Some(_) => return Err(RegisterError::NotThatGuest),
                    None => self.check_unused(&user_id).await?,
                }
                Ok(user_id)
            }
            None if params.guest.is_some() => Err(RegisterError::NotThatGuest),
            None => Ok(username::random_user_id(self.server_name())?),
        }
    }

    pub(crate) async fn check_unused(&self, user_id: &UserId) -> Result<(), UsernameError> {
        if let Some(user) = self.store.find_user(user_id).await?
            && self.store.reader().await?.find_account(user).await?.is_some()
        {
            return Err(UsernameError::InUse);
        }
        Ok(())
    }

    async fn insert_registration(
        &self,
        authorised: &Authorised,
        params: &Params,
        user_id: OwnedUserId,
        password_hash: &str,
        ip: IpAddr,
    ) -> Result<Registered, RegisterError> {
        let user = self.store.intern_user(&user_id).await?;
        let now_ms = self.clock.now_ms();
        let mut txn = self.store.begin().await?;
        authorised.end(&mut txn).await?;
        let mut is_admin = false;
        if let Some(token) = authorised.result(Stage::RegistrationToken).and_then(Value::as_str) {
            is_admin = txn
                .use_registration_token(token, now_ms)
                .await?
                .ok_or(RegisterError::Auth(AuthError::WrongSession))?;
        }
        if is_admin {
            txn.delete_first_run_token().await?;
        }
        let accepted_terms = authorised.result(Stage::Terms).map(Value::to_string);
        let accepted_terms = accepted_terms.as_deref();
        let is_made = if params.guest.is_some() {
            txn.promote_guest(user, password_hash, (is_admin, accepted_terms)).await?
        } else {
            let account = NewAccount {
                password_hash: Some(password_hash),
                is_admin,
                user_type: None,
                accepted_terms,
                created_at: now_ms,
            };
            txn.insert_account(user, &account).await?
        };
        if !is_made {
            return Err(RegisterError::UserInUse);
        }
        let registered = if params.inhibit_login.unwrap_or_default() {
            Registered::Account(user_id.clone())
        } else {
            let (logged_in, _) =
                self.insert_session(&mut txn, user, user_id.clone(), &params.session()?, ip).await?;
            Registered::LoggedIn(logged_in)
        };
        if params.guest.is_some() {
            // Sessions in memory know their user as a guest.
            txn.log(LogKind::Session, None, Some(user)).await?;
        }
        // So that the user can be found, even without a profile.
        txn.log(LogKind::Profile, None, Some(user)).await?;
        txn.commit().await?;
        tracing::info!(%user_id, is_admin, "account registered");
        Ok(registered)
    }
}
