//! Files that people attach.

use std::{sync::Arc, time::Duration};

use anyhow::Context as _;
use federation::adapters::FederatedMedia;
use hs_model::clock::{Clock, SystemClock};
use hs_outbound::{ClientOptions, Guard, GuardedClient};
use hs_storage::Store;
use media_repo::{
    MediaNews, Repository,
    ports::RemoteMedia,
    preview::{PreviewParts, Previewer},
    thumbnail::Thumbnailer,
};
use rustls::ClientConfig;

use super::{Foundation, federation::FederationServices};
use crate::{
    client_api::{MediaLimits, MediaServices},
    config::Config,
};

/// How long a file that lies elsewhere may take to come.
const WEB_TIMEOUT: Duration = Duration::from_mins(10);
/// How many redirects it may be behind.
const WEB_REDIRECTS: usize = 5;

/// The repository, without other servers: for commands.
pub(crate) fn open(
    config: &Config,
    store: Store,
    thumbnailer: Thumbnailer,
    remote: Option<Arc<dyn RemoteMedia>>,
) -> anyhow::Result<Repository> {
    let options = config.media.options(config.server.name.clone(), &config.server.data_dir);
    let repository = Repository::open(store, Arc::new(SystemClock), options, thumbnailer, remote);
    repository.context("the store of media cannot be opened: see [media]")
}

/// The repository, and what it does by itself. The log must not be followed yet.
pub(super) fn start(
    foundation: &Foundation,
    federation: &FederationServices,
    tls: ClientConfig,
) -> anyhow::Result<MediaServices> {
    let config = &foundation.config;
    let thumbnailer = Thumbnailer::new(config.media.thumbnail_options());
    let remote = if config.federation.enabled {
        let guard = Guard::new(config.federation.allowed_private_ranges.iter().copied());
        let options = ClientOptions {
            timeout: WEB_TIMEOUT,
            max_redirects: WEB_REDIRECTS,
            https_only: true,
            tls: tls.clone(),
        };
        let web = GuardedClient::new(guard, options)?;
        let remote: Arc<dyn RemoteMedia> = Arc::new(FederatedMedia::new(federation.client.clone(), web));
        Some(remote)
    } else {
        None
    };
    let repository = open(config, foundation.store.clone(), thumbnailer.clone(), remote)?;
    run(foundation, &repository);
    let limits = Arc::new(MediaLimits::new(&config.rate_limits));
    foundation.on_reload({
        let limits = limits.clone();
        move |config| limits.set_rates(&config.rate_limits)
    });
    let previewer = previewer(foundation, &repository, thumbnailer, tls)?;
    Ok(MediaServices { repository, previewer, limits })
}

fn run(foundation: &Foundation, repository: &Repository) {
    let news = Arc::new(MediaNews::default());
    foundation.store.tail().register(news.clone());
    let follower = repository.clone();
    foundation.tasks.supervise("uses of media", move || {
        let (follower, news) = (follower.clone(), news.clone());
        async move { follower.follow(news).await }
    });
    let cleaner = repository.clone();
    foundation.tasks.supervise("cleaning of media", move || {
        let cleaner = cleaner.clone();
        async move { cleaner.keep_clean().await }
    });
}

fn previewer(
    foundation: &Foundation,
    repository: &Repository,
    thumbnailer: Thumbnailer,
    tls: ClientConfig,
) -> anyhow::Result<Option<Previewer>> {
    let config = &foundation.config.url_previews;
    if !config.enabled {
        return Ok(None);
    }
    let clock: Arc<dyn Clock> = Arc::new(SystemClock);
    let parts = PreviewParts {
        store: foundation.store.clone(),
        clock,
        images: Arc::new(repository.clone()),
        thumbnailer,
        guard: Guard::new(config.allowed_private_ranges.iter().copied()),
        tls,
    };
    Ok(Some(Previewer::new(parts, config.options())?))
}
