//! What talks to other servers.

use std::{path::Path, sync::Arc};

use anyhow::Context as _;
use federation::{
    ClientOptions, FederationClient, Keyring, RequestVerifier,
    discovery::{Dns, Hickory, NoDns},
    inbound::{fetch::Fetch, gaps::Gaps, transaction::Transactions},
    keyring::KeyringOptions,
};
use hs_model::clock::Clock;
use hs_outbound::{Guard, tls_config};
use hs_rooms::Rooms;
use rustls::ClientConfig;

use super::Foundation;
use crate::config::Config;

/// What talks to other servers.
#[derive(Clone, Debug)]
pub(super) struct FederationServices {
    pub(super) client: FederationClient,
    pub(super) keyring: Keyring,
    pub(super) verifier: RequestVerifier,
    pub(super) transactions: Transactions,
}

impl FederationServices {
    pub(super) fn new(
        foundation: &Foundation,
        rooms: &Rooms,
        clock: Arc<dyn Clock>,
        tls: ClientConfig,
    ) -> anyhow::Result<Self> {
        let config = &foundation.config;
        let policy = config.federation.policy();
        let options = ClientOptions {
            server_name: config.server.name.clone(),
            signing_key: foundation.signing_key.clone(),
            policy: policy.clone(),
            guard: Guard::new(config.federation.allowed_private_ranges.iter().copied()),
            tls,
        };
        let client = FederationClient::new(options, dns())?;
        let old_keys = config.signing.old_keys.iter().map(|key| {
            let public_key = key.public_key.trim_end_matches('=').to_owned();
            (key.id.to_string(), public_key, i64::try_from(key.expired_ts).unwrap_or(i64::MAX))
        });
        let options =
            KeyringOptions { signing_key: foundation.signing_key.clone(), old_keys: old_keys.collect() };
        let keyring = Keyring::new(client.clone(), clock.clone(), options);
        let verifier = RequestVerifier::new(config.server.name.clone(), keyring.clone(), policy);
        let fetch = Fetch::new(rooms.clone(), client.clone(), keyring.clone());
        let gaps = Gaps::new(rooms.clone(), fetch, clock.clone());
        supervise_gaps(foundation, &gaps);
        let transactions = Transactions::new(rooms.clone(), keyring.clone(), gaps, clock);
        Ok(Self { client, keyring, verifier, transactions })
    }
}

/// Events whose predecessors had not come when a server stopped are looked after by the next.
fn supervise_gaps(foundation: &Foundation, gaps: &Gaps) {
    let gaps = gaps.clone();
    foundation.tasks.supervise("gaps", move || {
        let gaps = gaps.clone();
        async move { gaps.run().await }
    });
}

/// Whose certificates are believed.
pub(super) fn tls(config: &Config) -> anyhow::Result<ClientConfig> {
    let extra = &config.federation.extra_ca_file;
    let extra: Option<&Path> = (!extra.as_os_str().is_empty()).then_some(extra);
    tls_config(extra).context("federation.extra_ca_file cannot be used")
}

/// The system's DNS. A machine without one (a container with no network) can still talk to addresses.
fn dns() -> Arc<dyn Dns> {
    match Hickory::from_system() {
        Ok(dns) => Arc::new(dns),
        Err(error) => {
            tracing::warn!(%error, "the system's DNS cannot be used: other servers are found by address only");
            Arc::new(NoDns(error))
        }
    }
}
