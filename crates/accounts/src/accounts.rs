//! The service.

use std::{collections::HashMap, sync::Arc, time::Duration};

use hs_model::{clock::Clock, hit_rate::HitCounts, ids::DeviceNid};
use hs_storage::{Store, devices::DeviceSeen};
use parking_lot::Mutex;
use ruma::ServerName;

use crate::{
    AccountRates, AccountsOptions, InvalidOptions, passwords::Passwords, profile_cache::ProfileCache,
    session_cache::SessionCache, throttle::Throttle,
};

/// How often it is written down which devices were in use.
const WRITE_SEEN_INTERVAL: Duration = Duration::from_secs(20);

/// Everything about local users. See the other files of this crate for its methods.
#[derive(Debug)]
pub struct Accounts {
    pub(crate) store: Store,
    pub(crate) clock: Arc<dyn Clock>,
    pub(crate) options: AccountsOptions,
    pub(crate) passwords: Passwords,
    pub(crate) throttle: Throttle,
    pub(crate) sessions: Arc<SessionCache>,
    pub(crate) profiles: Arc<ProfileCache>,
    pub(crate) seen: Mutex<HashMap<DeviceNid, DeviceSeen>>,
}

impl Accounts {
    /// The database.
    pub fn store(&self) -> &Store {
        &self.store
    }

    /// Adds its caches to those that follow the log, so it must be made before the log's tail runs.
    pub fn new(
        store: Store,
        clock: Arc<dyn Clock>,
        options: AccountsOptions,
    ) -> Result<Self, InvalidOptions> {
        let sessions = Arc::new(SessionCache::new());
        let profiles = Arc::new(ProfileCache::new());
        store.tail().register(sessions.clone());
        store.tail().register(profiles.clone());
        Ok(Self {
            passwords: Passwords::new(&options.passwords)?,
            throttle: Throttle::new(&options.rates),
            seen: Mutex::default(),
            store,
            clock,
            options,
            sessions,
            profiles,
        })
    }

    /// The name of this server.
    pub fn server_name(&self) -> &ServerName {
        &self.options.server_name
    }

    /// How often each cache had what it was asked for.
    pub fn hit_counts(&self) -> [(&'static str, HitCounts); 2] {
        [("sessions", self.sessions.hits.counts()), ("profiles", self.profiles.hits.counts())]
    }

    /// Uses other limits from now on.
    pub fn set_rates(&self, rates: &AccountRates) {
        self.throttle.set_rates(rates);
    }

    /// Does what has to be done from time to time, until the future is dropped.
    pub async fn run(&self) {
        loop {
            tokio::time::sleep(WRITE_SEEN_INTERVAL).await;
            if let Err(error) = self.write_seen().await {
                tracing::warn!(%error, "could not write down which devices were in use");
            }
        }
    }
}
