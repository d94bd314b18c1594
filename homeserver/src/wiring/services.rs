//! The services below the APIs, in the order in which they depend on each other.

use std::{convert::Infallible, sync::Arc};

use ::federation::{FederationClient, outbound::FederatedPolicyServers};
use anyhow::Context as _;
use hs_accounts::Accounts;
use hs_e2ee::E2ee;
use hs_ephemeral::{Ephemeral, EphemeralOptions, PresenceOptions};
use hs_model::clock::{Clock, SystemClock};
use hs_push::{AddressPatterns, Push, PushOptions};
use hs_rooms::{RoomActions, Rooms, RoomsOptions};
use hs_search::Search;
use hs_storage::{append::appender, ephemeral::ephemeral_writer};
use hs_sync::{Sync, SyncOptions};
use metrics::{counter, describe_counter, describe_gauge, gauge};
use rand::{RngExt as _, distr::Alphanumeric};

use super::{
    Foundation, accounts,
    federation::{self, FederationServices},
    media,
    profiles::AccountProfiles,
};
use crate::{
    client_api::{MediaServices, RoomLimits},
    delayed_events::DelayedEvents,
    errands, guests, jobs, push_delivery, replicas,
};

/// What the APIs call.
#[derive(Clone, Debug)]
pub(super) struct Services {
    pub(super) accounts: Arc<Accounts>,
    pub(super) rooms: Rooms,
    pub(super) actions: RoomActions,
    pub(super) delayed: DelayedEvents,
    pub(super) room_limits: Arc<RoomLimits>,
    pub(super) push: Push,
    pub(super) ephemeral: Ephemeral,
    pub(super) e2ee: E2ee,
    pub(super) sync: Arc<Sync>,
    pub(super) search: Search,
    pub(super) federation: FederationServices,
    pub(super) media: MediaServices,
}

impl Services {
    /// Makes the services and starts them, the log included: caches must be registered with it before it is followed, and
    /// those that read from others after these.
    pub(super) async fn start(foundation: &Foundation) -> anyhow::Result<Self> {
        let store = &foundation.store;
        let clock: Arc<dyn Clock> = Arc::new(SystemClock);
        store.tail().start(store).await.context("cannot read the log")?;

        let accounts = Arc::new(accounts::open(&foundation.config, store.clone())?);
        let push = push(foundation, clock.clone());
        let tls = federation::tls(&foundation.config)?;
        let client = federation::client(foundation, tls.clone())?;
        let rooms = rooms(foundation, clock.clone(), &push, &client);
        store.tail().register(Arc::new(rooms.clone()));
        store.tail().register(Arc::new(push.clone()));
        // Names this process among the replicas.
        let replica: String = rand::rng().sample_iter(Alphanumeric).take(16).map(char::from).collect();
        let ephemeral = ephemeral(foundation, clock.clone(), &replica);
        ephemeral.start().await.context("cannot read who is there")?;
        let e2ee = E2ee::new(store.clone(), clock.clone(), foundation.config.server.name.clone());
        e2ee.start();
        let sync = Sync::new(
            store.clone(),
            rooms.clone(),
            ephemeral.clone(),
            e2ee.clone(),
            push.clone(),
            SyncOptions::default(),
            foundation.draining.clone(),
        );
        store.tail().register(sync.start());
        let federation =
            FederationServices::new(foundation, clock, client, (&rooms, &ephemeral, &e2ee), &replica);
        let actions = RoomActions::new(rooms.clone(), Arc::new(AccountProfiles(accounts.clone())))
            .with_remote_directory(federation.directory());
        let actions = federation.help(actions);
        federation.give_keys_to(&e2ee, &foundation.tasks);
        errands::start(&foundation.tasks, store, &actions);
        guests::start(&foundation.tasks, store, &actions);
        let search = search(foundation, &replica);
        let media = media::start(foundation, &federation, tls.clone())?;
        super::follow_log(foundation);
        replicas::start(&foundation.tasks, store, replica).await.context("cannot look for other replicas")?;

        accounts::run(foundation, &accounts).await?;
        supervise_ephemeral(foundation, &ephemeral);
        jobs::start(&foundation.tasks, store, &e2ee);
        push_delivery::start(foundation, &rooms, &push, tls).context("cannot send notifications")?;
        let room_limits = Arc::new(RoomLimits::new(&foundation.config.rate_limits));
        foundation.on_reload({
            let room_limits = room_limits.clone();
            move |config| room_limits.set_rates(&config.rate_limits)
        });
        let delayed = delayed_events(foundation, &actions, &room_limits);
        let services = Self {
            accounts,
            rooms,
            actions,
            delayed,
            room_limits,
            push,
            ephemeral,
            e2ee,
            sync: Arc::new(sync),
            search,
            federation,
            media,
        };
        services.report_figures(foundation);
        Ok(services)
    }

    fn report_figures(&self, foundation: &Foundation) {
        describe_gauge!("kith_rooms_in_memory", "Rooms that this process has in memory.");
        describe_gauge!(
            "kith_syncing_users",
            "Users with a feed: they sync at this process, or did so lately."
        );
        describe_counter!("kith_cache_hits_total", "What was asked of a cache, and was there.");
        describe_counter!("kith_cache_misses_total", "What was asked of a cache, and had to be fetched.");
        let (rooms, sync) = (self.rooms.clone(), self.sync.clone());
        let (accounts, store) = (self.accounts.clone(), foundation.store.clone());
        let search = self.search.clone();
        foundation.metrics.on_scrape(move || {
            gauge!("kith_log_lag", "follower" => "search").set(search.lag().unwrap_or(0) as f64);
            let events = [("events", store.event_cache_hits())];
            let caches = events.into_iter().chain(rooms.hit_counts()).chain(accounts.hit_counts());
            for (cache, counts) in caches {
                counter!("kith_cache_hits_total", "cache" => cache).absolute(counts.hits);
                counter!("kith_cache_misses_total", "cache" => cache).absolute(counts.misses);
            }
            gauge!("kith_rooms_in_memory").set(rooms.cached_count() as f64);
            gauge!("kith_syncing_users").set(sync.active_users() as f64);
        });
    }
}

fn push(foundation: &Foundation, clock: Arc<dyn Clock>) -> Push {
    let email = &foundation.config.email;
    let patterns = if email.smtp_host.is_empty() { &[] } else { email.notification_addresses.as_slice() };
    let options = PushOptions {
        server_name: foundation.config.server.name.clone(),
        mail_addresses: AddressPatterns::new(patterns.iter().map(String::as_str)),
    };
    Push::new(foundation.store.clone(), clock, options)
}

fn rooms(foundation: &Foundation, clock: Arc<dyn Clock>, push: &Push, client: &FederationClient) -> Rooms {
    let (appender, worker) = appender(foundation.store.clone());
    foundation.tasks.spawn("event writer", worker.run(foundation.tasks.stop_token()));
    let config = &foundation.config;
    let options = RoomsOptions {
        default_version: config.rooms.default_version.clone(),
        notifier: Some(Arc::new(push.clone())),
        policy_servers: Some(Arc::new(FederatedPolicyServers(client.insisting()))),
        ..RoomsOptions::new(config.server.name.clone())
    };
    Rooms::new(foundation.store.clone(), appender, clock, foundation.signing_key.clone(), options)
}

fn ephemeral(foundation: &Foundation, clock: Arc<dyn Clock>, replica: &str) -> Ephemeral {
    let (writer, worker) = ephemeral_writer(foundation.store.clone());
    foundation.tasks.spawn("ephemeral writer", worker.run(foundation.tasks.stop_token()));
    let presence = PresenceOptions { is_enabled: foundation.config.presence.enabled };
    let options = EphemeralOptions { replica: replica.into(), presence };
    Ephemeral::new(foundation.store.clone(), writer, clock, options)
}

/// The index, which registers with the log and follows it.
fn search(foundation: &Foundation, replica: &str) -> Search {
    let search = Search::new(foundation.store.clone(), replica.to_owned());
    foundation.store.tail().register(search.applier());
    let worker = search.clone();
    foundation.tasks.supervise("search index", move || {
        let worker = worker.clone();
        async move { worker.run().await }
    });
    search
}

/// Delayed events, and who sends them.
fn delayed_events(foundation: &Foundation, actions: &RoomActions, limits: &Arc<RoomLimits>) -> DelayedEvents {
    let options = foundation.config.delayed_events.clone();
    let clock = Arc::new(SystemClock);
    let delayed =
        DelayedEvents::new(foundation.store.clone(), actions.clone(), limits.clone(), clock, options);
    let worker = delayed.clone();
    foundation.tasks.supervise("delayed events", move || {
        let worker = worker.clone();
        async move { worker.run().await }
    });
    delayed
}

fn supervise_ephemeral(foundation: &Foundation, ephemeral: &Ephemeral) {
    let ephemeral = ephemeral.clone();
    foundation.tasks.supervise("ephemeral", move || {
        let ephemeral = ephemeral.clone();
        async move {
            ephemeral.run().await;
            Ok::<(), Infallible>(())
        }
    });
}
