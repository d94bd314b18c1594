//! Logging in and out.

use std::{net::IpAddr, time::Duration};

use hs_model::ids::UserNid;
use hs_storage::{
    Txn,
    devices::{DeviceLogin, UpsertedDevice},
    log::LogKind,
    tokens::NewTokens,
};
use ruma::{OwnedDeviceId, OwnedUserId};

use crate::{
    Accounts, AuthError, Failure, Session, UiaBody,
    error::fails_with_storage,
    passwords::Verdict,
    secret::{self, Kind},
    throttle::Throttled,
    uia::{Operation, Stage},
    username,
};

/// How long a token for `m.login.token` is valid.
///
/// <https://spec.matrix.org/v1.19/client-server-api/#post_matrixclientv1loginget_token>
const LOGIN_TOKEN_LIFETIME: Duration = Duration::from_mins(2);
/// The most bytes of a device id; ours have 10.
const MAX_DEVICE_ID_BYTES: usize = 255;
/// The most bytes of a device's name.
pub(crate) const MAX_DEVICE_NAME_BYTES: usize = 512;

/// How somebody who logs in says who they are.
#[derive(Clone, Debug)]
pub enum LoginIdentifier {
    /// By localpart or user id.
    User(String),
    /// By an address or a phone number. There are none here, so this names nobody.
    ThirdParty,
}

/// What a client wants of its new session.
#[derive(Clone, Debug, Default)]
pub struct NewSession {
    /// The device; `None`: a new one.
    pub device_id: Option<String>,
    /// What to call the device when it is new.
    pub initial_device_display_name: Option<String>,
    /// Whether the client can refresh its access token.
    pub wants_refresh_token: bool,
}

/// A new session.
#[derive(Clone)]
pub struct LoggedIn {
    /// Who.
    pub user_id: OwnedUserId,
    /// On which device.
    pub device_id: OwnedDeviceId,
    /// The token for requests.
    pub access_token: String,
    /// The token for the next access token.
    pub refresh_token: Option<String>,
    /// How long the access token lasts; `None`: until logout.
    pub expires_in: Option<Duration>,
}

/// A token with which another device can log in, once.
#[derive(Clone)]
pub struct LoginToken {
    /// The token.
    pub token: String,
    /// How long it is valid.
    pub expires_in: Duration,
}

/// Why somebody cannot log in.
#[derive(Debug, thiserror::Error)]
pub enum LoginError {
    /// Wrong password, unknown user, or a token that is not valid: which of them is nobody's business.
    #[error("Wrong user name or password")]
    Refused,
    /// The login token is not valid.
    #[error("This login token is not valid")]
    InvalidToken,
    /// The account was closed.
    #[error("This account has been deactivated")]
    Deactivated,
    /// The account is locked.
    #[error("This account has been locked")]
    Locked,
    /// The device's id or name cannot be used.
    #[error("{0}")]
    InvalidDevice(&'static str),
    /// Too many attempts.
    #[error("Too many attempts to log in")]
    LimitExceeded(Duration),
    /// Our own fault.
    #[error(transparent)]
    Failure(#[from] Failure),
}
fails_with_storage!(LoginError);

impl From<Throttled> for LoginError {
    fn from(throttled: Throttled) -> Self {
        Self::LimitExceeded(throttled.retry_after)
    }
}

/// Why no login token was made.
#[derive(Debug, thiserror::Error)]
pub enum CreateLoginTokenError {
    /// The user must prove who they are.
    #[error(transparent)]
    Auth(#[from] AuthError),
    /// Our own fault.
    #[error(transparent)]
    Failure(#[from] Failure),
}
fails_with_storage!(CreateLoginTokenError);

impl Accounts {
    /// Logs in by password.
    pub async fn log_in_with_password(
        &self,
        identifier: &LoginIdentifier,
        password: &str,
        session: &NewSession,
        ip: IpAddr,
    ) -> Result<LoggedIn, LoginError> {
        self.throttle.login(ip)?;
        session.validate()?;
        let user_id = match identifier {
            LoginIdentifier::User(name) => username::named_user_id(name, self.server_name()),
            LoginIdentifier::ThirdParty => None,
        };
        let known = match user_id {
            Some(user_id) => self.store.find_user(&user_id).await?.map(|user| (user, user_id)),
            None => None,
        };
        let Some((user, user_id)) = known else {
            self.passwords.verify(password, None).await?;
            return Err(LoginError::Refused);
        };
        self.check_password(user, password).await?;
        self.start_session(user, user_id, session, ip).await
    }

    /// Logs in by a token that another session of the user has made.
    pub async fn log_in_with_token(
        &self,
        token: &str,
        session: &NewSession,
        ip: IpAddr,
    ) -> Result<LoggedIn, LoginError> {
        self.throttle.login(ip)?;
        session.validate()?;
        let now_ms = self.clock.now_ms();
        let mut txn = self.store.begin().await?;
        let user = txn.take_login_token(&secret::hash(token), now_ms).await?;
        let user = user.ok_or(LoginError::InvalidToken)?;
        txn.commit().await?;
        let user_id = self.store.user_id(user).await?;
        self.start_session(user, user_id, session, ip).await
    }

    /// Compares the password of an account, and hashes it again where the costs have changed.
    pub(crate) async fn check_password(&self, user: UserNid, password: &str) -> Result<(), LoginError> {
        self.throttle.may_try(user)?;
        let account = self.store.reader().await?.find_account(user).await?;
        let stored = account.as_ref().and_then(|account| account.password_hash.as_deref());
        match self.passwords.verify(password, stored).await? {
            Verdict::Right => Ok(()),
            Verdict::RightButOutdated => {
                if let Some(old) = stored {
                    let new = self.passwords.hash(password).await?;
                    let mut txn = self.store.begin().await?;
                    txn.renew_password_hash(user, old, &new).await?;
                    txn.commit().await?;
                }
                Ok(())
            }
            Verdict::Wrong if account.is_some_and(|account| account.deactivated_at.is_some()) => {
                Err(LoginError::Deactivated)
            }
            Verdict::Wrong => {
                self.throttle.note_failure(user);
                Err(LoginError::Refused)
            }
        }
    }

    async fn start_session(
        &self,
        user: UserNid,
        user_id: OwnedUserId,
        session: &NewSession,
        ip: IpAddr,
    ) -> Result<LoggedIn, LoginError> {
        let mut txn = self.store.begin().await?;
        if !txn.lock_account(user).await? {
            return Err(LoginError::Deactivated);
        }
        if let Some(chosen) = session.device_id.as_deref()
            && txn.list_own_cross_signing_keys(user).await?.iter().any(|key| key.public_key == chosen)
        {
            return Err(LoginError::InvalidDevice("The device id is that of one of your keys"));
        }
        if txn.find_account(user).await?.is_some_and(|account| account.locked_at.is_some()) {
            return Err(LoginError::Locked);
        }
        let (logged_in, device) = self.insert_session(&mut txn, user, user_id, session, ip).await?;
        // A new device is no news for others before it has keys.
        if !device.is_new {
            txn.log(LogKind::Session, None, Some(user)).await?;
        }
        txn.commit().await?;
        Ok(logged_in)
    }

    /// Makes a device, if it is new, and the tokens of its session; a known device loses the tokens it had.
    pub(crate) async fn insert_session(
        &self,
        txn: &mut Txn,
        user: UserNid,
        user_id: OwnedUserId,
        session: &NewSession,
        ip: IpAddr,
    ) -> Result<(LoggedIn, UpsertedDevice), hs_storage::StorageError> {
        let now_ms = self.clock.now_ms();
        let device_id = match session.device_id.as_deref() {
            Some(chosen) if !chosen.is_empty() => chosen.to_owned(),
            _ => secret::random_letters(secret::CAPITALS, 10),
        };
        let ip = ip.to_string();
        let login = DeviceLogin {
            device_id: &device_id,
            display_name: session.initial_device_display_name.as_deref(),
            ip: Some(&ip),
            now_ms,
        };
        let device = txn.upsert_device(user, &login).await?;
        if !device.is_new {
            txn.delete_tokens_of_device(device.device).await?;
        }
        let access = secret::generate(Kind::Access);
        let refresh = session.wants_refresh_token.then(|| secret::generate(Kind::Refresh));
        let expires_in = refresh.is_some().then_some(self.options.refreshable_token_lifetime);
        let tokens = NewTokens {
            access: access.hash,
            expires_at: expires_in.map(|lifetime| now_ms + lifetime.as_millis() as i64),
            refresh: refresh.as_ref().map(|secret| secret.hash),
            replaces: None,
            now_ms,
        };
        txn.insert_tokens(device.device, &tokens).await?;
        let logged_in = LoggedIn {
            user_id,
            device_id: device_id.into(),
            access_token: access.text,
            refresh_token: refresh.map(|secret| secret.text),
            expires_in,
        };
        Ok((logged_in, device))
    }

    /// Makes a token with which another device can log in as this user, once.
    pub async fn create_login_token(
        &self,
        session: &Session,
        body: UiaBody,
    ) -> Result<LoginToken, CreateLoginTokenError> {
        let authorised = self
            .authorise(&Operation::of(session, "get_login_token"), &[vec![Stage::Password]], body)
            .await?;
        let secret = secret::generate(Kind::Login);
        let now_ms = self.clock.now_ms();
        let expires_at = now_ms + LOGIN_TOKEN_LIFETIME.as_millis() as i64;
        let mut txn = self.store.begin().await?;
        authorised.end(&mut txn).await?;
        txn.insert_login_token(&secret.hash, session.user, expires_at, now_ms).await?;
        txn.commit().await?;
        Ok(LoginToken { token: secret.text, expires_in: LOGIN_TOKEN_LIFETIME })
    }

    /// Ends a session and deletes its device.
    pub async fn log_out(&self, session: &Session) -> Result<(), Failure> {
        self.remove_devices(session.user, &[session.device_id.to_string()]).await
    }

    /// Ends all sessions of a user and deletes all their devices.
    pub async fn log_out_everywhere(&self, session: &Session) -> Result<(), Failure> {
        let mut txn = self.store.begin().await?;
        txn.delete_all_devices(session.user, None).await?;
        txn.delete_login_tokens(session.user).await?;
        txn.log(LogKind::Session, None, Some(session.user)).await?;
        txn.log(LogKind::DeviceList, None, Some(session.user)).await?;
        Ok(txn.commit().await?)
    }
}

impl NewSession {
    pub(crate) fn validate(&self) -> Result<(), LoginError> {
        if self.device_id.as_ref().is_some_and(|id| id.len() > MAX_DEVICE_ID_BYTES) {
            return Err(LoginError::InvalidDevice("The device id is too long"));
        }
        if self.initial_device_display_name.as_ref().is_some_and(|name| name.len() > MAX_DEVICE_NAME_BYTES) {
            return Err(LoginError::InvalidDevice("The name of the device is too long"));
        }
        Ok(())
    }
}
