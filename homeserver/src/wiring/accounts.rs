//! The accounts, as the configuration wants them.

use std::{convert::Infallible, sync::Arc};

use anyhow::Context;
use hs_accounts::{
    AccountRates, Accounts, AccountsOptions, PasswordOptions, Policy, RegistrationMode, RegistrationOptions,
};
use hs_model::clock::SystemClock;
use hs_storage::Store;
use zeroize::Zeroizing;

use super::Foundation;
use crate::config::{self, Config};

/// The accounts of a database, without anything running: enough for the commands.
pub(crate) fn open(config: &Config, store: Store) -> anyhow::Result<Accounts> {
    Accounts::new(store, Arc::new(SystemClock), options(config))
        .context("cannot use the settings of [passwords]")
}

/// Starts what goes on in the background, and tells how to make the first account.
pub(super) async fn run(foundation: &Foundation, accounts: &Arc<Accounts>) -> anyhow::Result<()> {
    foundation.on_reload({
        let accounts = Arc::clone(accounts);
        move |config| accounts.set_rates(&rates(config))
    });
    foundation.tasks.supervise("accounts", {
        let accounts = Arc::clone(accounts);
        move || {
            let accounts = Arc::clone(&accounts);
            async move {
                accounts.run().await;
                Ok::<(), Infallible>(())
            }
        }
    });
    if let Some(token) = accounts.first_run_token().await.context("cannot look for accounts")? {
        tracing::info!(
            token,
            "there is no administrator yet: register with this token to become one, or run `kith user create --admin`"
        );
    }
    Ok(())
}

fn options(config: &Config) -> AccountsOptions {
    let config::Passwords { min_length, hash_memory_kib, hash_iterations, max_concurrent_hashes } =
        config.passwords.clone();
    let mut options = AccountsOptions::new(config.server.name.clone());
    options.registration = registration(&config.registration);
    options.passwords =
        PasswordOptions { min_length, hash_memory_kib, hash_iterations, max_concurrent_hashes };
    options.rates = rates(config);
    options
}

fn registration(config: &config::Registration) -> RegistrationOptions {
    let mode = match config.mode {
        config::RegistrationMode::Closed => RegistrationMode::Closed,
        config::RegistrationMode::Token => RegistrationMode::Token,
        config::RegistrationMode::Open => RegistrationMode::Open,
    };
    let secret = &config.shared_secret;
    let terms = config.terms.iter().map(|term| Policy {
        id: term.id.clone(),
        version: term.version.clone(),
        language: term.language.clone(),
        name: term.name.clone(),
        url: term.url.clone(),
    });
    RegistrationOptions {
        guests: config.guests,
        mode,
        shared_secret: (!secret.is_empty()).then(|| Zeroizing::new(secret.expose().to_owned())),
        terms: terms.collect(),
    }
}

fn rates(config: &Config) -> AccountRates {
    let limits = &config.rate_limits;
    AccountRates {
        login: limits.rate(|limits| limits.login),
        login_failures: limits.rate(|limits| limits.login_failures),
        registration: limits.rate(|limits| limits.registration),
    }
}
