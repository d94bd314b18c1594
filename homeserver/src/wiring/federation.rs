//! What talks to other servers.

use std::{path::Path, sync::Arc, time::Duration};

use anyhow::Context as _;
use federation::{
    ClientOptions, FederationClient, History, Keyring, RequestVerifier,
    adapters::{
        FederatedDirectory, FederatedKeys, RemoteProfiles, RemotePublicRooms, rooms::RemoteRoomClient,
    },
    discovery::{Dns, Hickory, NoDns},
    history::Closing,
    inbound::{edus::Edus, fetch::Fetch, gaps::Gaps, partial_rooms::PartialRooms, transaction::Transactions},
    keyring::KeyringOptions,
    outbound::{Sender, SenderOptions},
};
use hs_e2ee::E2ee;
use hs_ephemeral::Ephemeral;
use hs_model::clock::Clock;
use hs_outbound::{Guard, tls_config};
use hs_rooms::{RoomActions, Rooms, ports::RemoteDirectory};
use rustls::ClientConfig;

use super::Foundation;
use crate::{config::Config, tasks::Tasks};

/// What talks to other servers.
#[derive(Clone, Debug)]
pub(super) struct FederationServices {
    pub(super) client: FederationClient,
    pub(super) keyring: Keyring,
    pub(super) verifier: RequestVerifier,
    pub(super) transactions: Transactions,
    pub(super) history: History,
    pub(super) profiles: RemoteProfiles,
    pub(super) public_rooms: RemotePublicRooms,
}

/// How long to wait before the sender is started again after a failure.
const SENDER_PAUSE: Duration = Duration::from_secs(1);

impl FederationServices {
    pub(super) fn new(
        foundation: &Foundation,
        clock: Arc<dyn Clock>,
        client: FederationClient,
        (rooms, ephemeral, e2ee): (&Rooms, &Ephemeral, &E2ee),
        replica: &str,
    ) -> Self {
        let config = &foundation.config;
        let policy = config.federation.policy();
        let old_keys = config.signing.old_keys.iter().map(|key| {
            let public_key = key.public_key.trim_end_matches('=').to_owned();
            (key.id.to_string(), public_key, i64::try_from(key.expired_ts).unwrap_or(i64::MAX))
        });
        let options = KeyringOptions {
            server_name: config.server.name.clone(),
            signing_key: foundation.signing_key.clone(),
            old_keys: old_keys.collect(),
            notaries: config.federation.trusted_notaries.clone(),
        };
        // The keys of a server that speaks up again are needed at once, and those of others are not asked for without pauses.
        let source = Arc::new(client.insisting());
        let keyring = Keyring::new(source, foundation.store.clone(), clock.clone(), options);
        let is_allowed = policy.clone();
        let options = SenderOptions {
            is_allowed: Arc::new(move |server| is_allowed.allows(server)),
            ..SenderOptions::new(replica.to_owned())
        };
        let transport = Arc::new(client.insisting());
        let sender = Sender::new(rooms.clone(), e2ee.clone(), clock.clone(), transport, options);
        let verifier = RequestVerifier::new(config.server.name.clone(), keyring.clone(), policy);
        let verifier = verifier.waking(sender.clone(), client.clone());
        let fetch = Fetch::new(rooms.clone(), client.clone(), keyring.clone());
        let history = History::new(rooms.clone(), client.clone(), fetch);
        // What works on gaps and on members has pauses of its own too.
        let fetch = Fetch::new(rooms.clone(), client.insisting(), keyring.clone());
        let closing = Closing::new(history.clone());
        let gaps = Gaps::new(rooms.clone(), fetch.clone(), closing, clock.clone());
        let partial_rooms = PartialRooms::new(rooms.clone(), fetch, gaps.clone(), clock.clone());
        if config.federation.enabled {
            start_sender(foundation, sender);
            supervise_gaps(foundation, &gaps);
            supervise_partial_rooms(foundation, &partial_rooms);
        }
        let edus = Edus::new(rooms.clone(), ephemeral.clone(), e2ee.clone());
        let transactions = Transactions::new(rooms.clone(), keyring.clone(), gaps, edus, clock);
        let profiles = RemoteProfiles::new(client.clone());
        let public_rooms = RemotePublicRooms::new(client.insisting());
        Self { client, keyring, verifier, transactions, history, profiles, public_rooms }
    }

    /// The aliases of other servers.
    pub(super) fn directory(&self) -> Arc<dyn RemoteDirectory> {
        Arc::new(FederatedDirectory::new(self.client.insisting()))
    }

    /// Has rooms ask other servers for help, unless this one talks to none.
    pub(super) fn help(&self, actions: RoomActions) -> RoomActions {
        if !self.verifier.policy().is_enabled() {
            return actions;
        }
        actions.with_remote_rooms(Arc::new(RemoteRoomClient::new(self.client.clone(), self.keyring.clone())))
    }

    /// Lets users know the keys of users of other servers, unless this one talks to none.
    pub(super) fn give_keys_to(&self, e2ee: &E2ee, tasks: &Tasks) {
        if !self.verifier.policy().is_enabled() {
            return;
        }
        e2ee.set_remote_keys(Arc::new(FederatedKeys::new(self.client.clone())));
        let e2ee = e2ee.clone();
        tasks.supervise("device lists of other servers", move || {
            let e2ee = e2ee.clone();
            async move { e2ee.run_resyncs().await }
        });
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

/// What was left out when this server came into a room is fetched by whichever replica is free.
fn supervise_partial_rooms(foundation: &Foundation, partial_rooms: &PartialRooms) {
    let partial_rooms = partial_rooms.clone();
    foundation.tasks.supervise("members of joined rooms", move || {
        let partial_rooms = partial_rooms.clone();
        async move { partial_rooms.run().await }
    });
}

/// Has the sender follow the log, which must not be followed yet. It is not simply dropped when the server stops: then it
/// writes down how far it has come.
fn start_sender(foundation: &Foundation, sender: Sender) {
    foundation.store.tail().register(sender.applier());
    let stop = foundation.tasks.stop_token();
    foundation.tasks.spawn("federation sender", async move {
        while !stop.is_cancelled() {
            if let Err(error) = sender.run(stop.clone()).await {
                tracing::error!(%error, "sending to other servers failed; starting again");
                let _ = stop.run_until_cancelled(tokio::time::sleep(SENDER_PAUSE)).await;
            }
        }
    });
}

/// The client by which other servers are asked.
pub(super) fn client(foundation: &Foundation, tls: ClientConfig) -> anyhow::Result<FederationClient> {
    let config = &foundation.config;
    let options = ClientOptions {
        server_name: config.server.name.clone(),
        signing_key: foundation.signing_key.clone(),
        policy: config.federation.policy(),
        guard: Guard::new(config.federation.allowed_private_ranges.iter().copied()),
        tls,
    };
    Ok(FederationClient::new(options, dns())?)
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
