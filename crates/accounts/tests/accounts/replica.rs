//! [`Replica`]: what the tests work with.

#![expect(clippy::disallowed_methods, reason = "what a test spawns ends with it")]
#![expect(clippy::unwrap_used, reason = "the helpers of a test fail as the test does")]

use std::{
    net::{IpAddr, Ipv4Addr},
    ops::Deref,
    sync::Arc,
};

use hs_accounts::{
    AccountRates, Accounts, AccountsOptions, LoggedIn, LoginError, LoginIdentifier, NewSession,
    PasswordOptions, RegistrationMode, Session, UiaBody,
};
use hs_http::rate_limit::Rate;
use hs_model::clock::TestClock;
use hs_storage::Store;
use hs_testkit::TestDb;
use ruma::server_name;
use serde_json::Value;
use tokio::task::JoinHandle;

/// Where all requests come from.
pub(crate) const IP: IpAddr = IpAddr::V4(Ipv4Addr::new(192, 0, 2, 1));
/// The password of all users.
pub(crate) const PASSWORD: &str = "correct horse";

/// Accounts with their own connections, caches and tail of the log.
pub(crate) struct Replica {
    accounts: Arc<Accounts>,
    pub(crate) store: Store,
    pub(crate) clock: TestClock,
    tail: JoinHandle<()>,
}

impl Deref for Replica {
    type Target = Accounts;

    fn deref(&self) -> &Accounts {
        &self.accounts
    }
}

impl Drop for Replica {
    fn drop(&mut self) {
        self.tail.abort();
    }
}

pub(crate) fn options() -> AccountsOptions {
    let mut options = AccountsOptions::new(server_name!("test.example").to_owned());
    options.registration.mode = RegistrationMode::Open;
    options.passwords =
        PasswordOptions { hash_memory_kib: 8, hash_iterations: 1, ..PasswordOptions::default() };
    let rates = AccountRates {
        login: Rate::UNLIMITED,
        login_failures: Rate::UNLIMITED,
        registration: Rate::UNLIMITED,
    };
    options.rates = rates;
    options
}

impl Replica {
    pub(crate) async fn start(db: &TestDb) -> Self {
        Self::start_with(db, options()).await
    }

    pub(crate) async fn start_with(db: &TestDb, options: AccountsOptions) -> Self {
        let store = db.store().await;
        let clock = TestClock::at(1_700_000_000_000);
        let accounts = Accounts::new(store.clone(), Arc::new(clock.clone()), options).unwrap();
        store.tail().start(&store).await.unwrap();
        let followed = store.clone();
        let tail = tokio::spawn(async move { followed.tail().run(&followed).await });
        Self { accounts: Arc::new(accounts), store, clock, tail }
    }

    /// Waits until this replica knows all that is committed.
    pub(crate) async fn catch_up(&self) {
        let head = self.store.reader().await.unwrap().find_log_head().await.unwrap();
        self.store.tail().wait_applied(head).await;
    }

    /// Makes an account and logs in to it on a device.
    pub(crate) async fn make_user(&self, username: &str, device_id: &str) -> LoggedIn {
        let user = hs_accounts::NewUser {
            username: username.to_owned(),
            password: Some(PASSWORD.to_owned()),
            ..hs_accounts::NewUser::default()
        };
        self.admin_create_user(&user).await.unwrap();
        self.log_in(username, PASSWORD, device_id).await.unwrap()
    }

    pub(crate) async fn log_in(
        &self,
        username: &str,
        password: &str,
        device_id: &str,
    ) -> Result<LoggedIn, LoginError> {
        let session = NewSession {
            device_id: Some(device_id.to_owned()),
            wants_refresh_token: true,
            ..NewSession::default()
        };
        self.log_in_with_password(&LoginIdentifier::User(username.to_owned()), password, &session, IP).await
    }

    pub(crate) async fn session(&self, access_token: &str) -> Arc<Session> {
        self.resolve_session(access_token, IP).await.unwrap()
    }
}

pub(crate) fn body(value: Value) -> UiaBody {
    serde_json::from_value(value).unwrap()
}
