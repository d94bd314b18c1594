//! Previews of URLs: what a page says of itself, and a picture of it.
//!
//! Start with [`Previewer`]. `fetch.rs` gets pages, `charset.rs` reads their letters, `page.rs` their tags, `oembed.rs`
//! descriptions of another kind; `assemble.rs` makes the preview out of all that, `text.rs` cleans what is shown.
//!
//! Invariants:
//! - No request goes into the server's own network or where the operator forbids it, at first or after a redirect, and
//!   however often a name changes what it stands for: addresses are judged where they are connected to.
//! - What a page says is data of a stranger. Its length and number are bounded, addresses in it are those of the web, and a
//!   picture is named only if we have it ourselves.
//! - A page is asked for once while it is on its way, however many want its preview, and not again until that expires.

mod assemble;
mod charset;
mod fetch;
mod oembed;
mod page;
mod ports;
mod rules;
mod text;

pub use ports::{NotKept, PreviewImage, PreviewImages, PreviewImagesFuture};
pub use rules::{NotAPattern, UrlPattern};

use std::{sync::Arc, time::Duration};

use assemble::{Candidates, assemble, pictures, wants_oembed, web_address};
use fetch::{Fetcher, Found, Wanted, unreachable_because};
use hs_model::clock::Clock;
use hs_outbound::Guard;
use hs_storage::{
    StorageError, Store,
    url_previews::{UrlPreview, UrlPreviewKey},
};
use moka::future::Cache;
use oembed::Described;
use page::Page;
use reqwest::Url;
use rustls::ClientConfig;
use serde_json::{Map, Value};
use sha2::{Digest, Sha256};
use tokio::{sync::Semaphore, time::timeout};

use crate::{
    content::{Kind, essence, file_name, sniff},
    figures,
    thumbnail::{Source, Thumbnailer},
};

/// How previews behave.
#[derive(Clone, Debug)]
pub struct PreviewOptions {
    /// URLs that no previews are made of.
    pub denied: Vec<UrlPattern>,
    /// What pages are told about who asks.
    pub user_agent: String,
    /// The languages that pages are asked for when a client names none.
    pub languages: String,
    /// For everything that one preview takes, in all.
    pub timeout: Duration,
    /// How many redirects are followed.
    pub max_redirects: usize,
    /// How much of a page is read.
    pub max_page_bytes: usize,
    /// The longest picture that is kept.
    pub max_image_bytes: usize,
    /// How many pages are asked for at once.
    pub max_concurrent: usize,
    /// How long a preview is good for.
    pub expiry: Duration,
    /// How long it is kept beyond that, for those who ask what the page looked like.
    pub retention: Duration,
}

impl Default for PreviewOptions {
    fn default() -> Self {
        Self {
            denied: Vec::new(),
            user_agent: concat!("Kith/", env!("CARGO_PKG_VERSION"), " (bot; previews of links in messages)")
                .to_owned(),
            languages: "en".to_owned(),
            timeout: Duration::from_secs(15),
            max_redirects: 5,
            max_page_bytes: 2 << 20,
            max_image_bytes: 10 << 20,
            max_concurrent: 32,
            expiry: Duration::from_hours(12),
            retention: Duration::from_hours(24 * 30),
        }
    }
}

/// Why there is no preview.
#[derive(Clone, Debug, thiserror::Error)]
pub enum PreviewError {
    /// That is no URL.
    #[error("this is not a URL of the web")]
    InvalidUrl,
    /// No request may go there.
    #[error("previews of this URL are not made")]
    Forbidden,
    /// The page cannot be had.
    #[error("the page cannot be read: {0}")]
    Unreachable(String),
    /// The database failed.
    #[error(transparent)]
    Storage(Arc<StorageError>),
}

impl PreviewError {
    /// What figures call it.
    const fn name(&self) -> &'static str {
        match self {
            Self::InvalidUrl => "invalid",
            Self::Forbidden => "forbidden",
            Self::Unreachable(_) => "unreachable",
            Self::Storage(_) => "failed",
        }
    }
}

impl From<StorageError> for PreviewError {
    fn from(error: StorageError) -> Self {
        Self::Storage(Arc::new(error))
    }
}

/// A preview: properties of Open Graph by name, with `og:image` an `mxc://` URI.
pub type Preview = Arc<Map<String, Value>>;

/// How long what was found is remembered in memory, so that a room full of clients costs one look into the database.
const REMEMBERED: Duration = Duration::from_mins(5);
/// How long a page that could not be had is left alone.
const FAILURE_REMEMBERED: Duration = Duration::from_mins(1);
const MAX_REMEMBERED: u64 = 2000;

const MAX_URL_BYTES: usize = 4096;
const MAX_LANGUAGES_BYTES: usize = 200;
/// A picture that merely stands in a page has to be so wide and high to stand for it.
const LEAST_FOUND_SIDE: u32 = 128;
/// How many pictures are tried, of those that a page names and of those that stand in it.
const MAX_TRIES: usize = 2;
/// How many old previews one new one clears away.
const CLEARED_AT_ONCE: i64 = 20;

const ACCEPT_PAGES: &str = "text/html, application/xhtml+xml, image/*;q=0.8, */*;q=0.5";
const ACCEPT_PICTURES: &str = "image/webp, image/png, image/jpeg, image/gif, image/avif;q=0.5";
const ACCEPT_OEMBED: &str = "application/json";

#[derive(Clone, Debug, PartialEq, Eq, Hash)]
struct Key {
    url: String,
    languages: String,
    /// Whole days: what a page looked like then. All who ask of now have the same key.
    day: Option<i64>,
}

/// Makes previews. Cloning is cheap.
#[derive(Clone, Debug)]
pub struct Previewer {
    shared: Arc<Shared>,
}

#[derive(Debug)]
struct Shared {
    store: Store,
    clock: Arc<dyn Clock>,
    images: Arc<dyn PreviewImages>,
    thumbnailer: Thumbnailer,
    fetcher: Fetcher,
    options: PreviewOptions,
    running: Semaphore,
    remembered: Cache<Key, Preview>,
    failed: Cache<Key, PreviewError>,
}

/// What previews are made with.
#[derive(Debug)]
pub struct PreviewParts {
    /// Where they are kept.
    pub store: Store,
    /// What time it is.
    pub clock: Arc<dyn Clock>,
    /// Where their pictures are kept.
    pub images: Arc<dyn PreviewImages>,
    /// What looks at pictures.
    pub thumbnailer: Thumbnailer,
    /// Where requests may go.
    pub guard: Guard,
    /// Whose certificates are believed.
    pub tls: ClientConfig,
}

impl Previewer {
    /// A maker of previews.
    pub fn new(parts: PreviewParts, options: PreviewOptions) -> Result<Self, reqwest::Error> {
        let PreviewParts { store, clock, images, thumbnailer, guard, tls } = parts;
        let rules = (options.denied.clone(), options.user_agent.clone(), options.max_redirects);
        let fetcher = Fetcher::new(guard, tls, options.timeout, rules)?;
        let remembered = REMEMBERED.min(options.expiry);
        Ok(Self {
            shared: Arc::new(Shared {
                store,
                clock,
                images,
                thumbnailer,
                fetcher,
                running: Semaphore::new(options.max_concurrent.max(1)),
                options,
                remembered: Cache::builder().max_capacity(MAX_REMEMBERED).time_to_live(remembered).build(),
                failed: Cache::builder()
                    .max_capacity(MAX_REMEMBERED)
                    .time_to_live(FAILURE_REMEMBERED)
                    .build(),
            }),
        })
    }

    /// The preview of a URL, in the first of the languages (as in `Accept-Language`) that the page has; of the time `ts`,
    /// if one of about then is kept.
    pub async fn preview(
        &self,
        url: &str,
        ts: Option<i64>,
        languages: Option<&str>,
    ) -> Result<Preview, PreviewError> {
        let shared = &self.shared;
        let url = parse(url)?;
        shared.fetcher.check(&url)?;
        let now_ms = shared.clock.now_ms();
        let key = Key {
            languages: languages
                .and_then(clean_languages)
                .unwrap_or_else(|| shared.options.languages.clone()),
            day: ts.map(day).filter(|then| *then < day(now_ms)),
            url: url.to_string(),
        };
        if let Some(error) = shared.failed.get(&key).await {
            return Err(error);
        }
        // All who ask meanwhile wait for the first; if that one goes away, the next takes over.
        let found = shared.remembered.try_get_with(key.clone(), shared.find_or_make(&key, url, ts)).await;
        match found {
            Ok(preview) => Ok(preview),
            Err(error) => {
                let error = PreviewError::clone(&error);
                if let PreviewError::Unreachable(_) | PreviewError::Forbidden = error {
                    shared.failed.insert(key, error.clone()).await;
                }
                Err(error)
            }
        }
    }
}

impl Shared {
    async fn find_or_make(&self, key: &Key, url: Url, ts: Option<i64>) -> Result<Preview, PreviewError> {
        let now_ms = self.clock.now_ms();
        let stored_key =
            UrlPreviewKey { url_hash: Sha256::digest(&key.url).into(), languages: key.languages.clone() };
        let stored = self.store.reader().await?.find_url_preview(&stored_key, ts.unwrap_or(now_ms)).await?;
        if let Some(stored) = stored
            && is_good(&stored, now_ms, ts)
            && let Ok(preview) = serde_json::from_str(&stored.body)
        {
            return Ok(Arc::new(preview));
        }
        let making = async {
            let _permit =
                self.running.acquire().await.map_err(|_| unreachable_because("the server is stopping"))?;
            self.make(url, &key.languages).await
        };
        let preview = timeout(self.options.timeout, making)
            .await
            .unwrap_or_else(|_| Err(unreachable_because("it took too long")));
        figures::preview(preview.as_ref().map_or_else(PreviewError::name, |_| "ok"));
        let preview = preview?;
        self.keep(stored_key, &preview).await?;
        Ok(Arc::new(preview))
    }

    async fn keep(&self, key: UrlPreviewKey, preview: &Map<String, Value>) -> Result<(), StorageError> {
        let now_ms = self.clock.now_ms();
        let row = UrlPreview {
            fetched_at: now_ms,
            expires_at: now_ms.saturating_add(self.options.expiry.as_millis() as i64),
            body: Value::Object(preview.clone()).to_string(),
            image_uri: preview.get("og:image").and_then(Value::as_str).map(str::to_owned),
        };
        let forgotten_before = now_ms.saturating_sub(self.options.retention.as_millis() as i64);
        let mut txn = self.store.begin().await?;
        let unused = txn.delete_url_previews(forgotten_before, CLEARED_AT_ONCE).await?;
        txn.insert_url_preview(&key, &row).await?;
        txn.commit().await?;
        if !unused.is_empty() {
            self.images.discard(unused).await;
        }
        Ok(())
    }

    async fn make(&self, url: Url, languages: &str) -> Result<Map<String, Value>, PreviewError> {
        let wanted = Wanted {
            url,
            accept: ACCEPT_PAGES,
            languages,
            max_bytes: self.options.max_page_bytes.max(self.options.max_image_bytes),
            beginning_will_do: true,
        };
        let found = self.fetcher.fetch(wanted).await?;
        if sniff(&found.body).is_some_and(Kind::is_picture) {
            return Ok(self.of_picture(found).await);
        }
        match found.content_type.as_deref().map(essence).as_deref() {
            Some("text/html" | "application/xhtml+xml") | None => Ok(self.of_page(found, languages).await),
            Some("text/plain") => Ok(of_text(&found)),
            Some(_) => Ok(of_file(&found)),
        }
    }

    async fn of_page(&self, found: Found, languages: &str) -> Map<String, Value> {
        let body = found.body.slice(..found.body.len().min(self.options.max_page_bytes));
        let host = found.url.host_str().map(str::to_owned);
        let content_type = found.content_type;
        // Two megabytes of tags take a while.
        let reading = tokio::task::spawn_blocking(move || {
            Page::read(&charset::decode(&body, content_type.as_deref(), host.as_deref()))
        });
        let page = reading.await.unwrap_or_default();
        let base = page.base.as_deref().and_then(|base| web_address(&found.url, base));
        let base = base.unwrap_or_else(|| found.url.clone());
        let described = self.described(&page, &base, languages).await;
        let mut preview = assemble(&page, &described, &found.url);
        self.add_picture(&mut preview, pictures(&page, &described, &base), languages).await;
        preview
    }

    /// What oEmbed says, where the page itself says too little. Nothing is lost if that cannot be had.
    async fn described(&self, page: &Page, base: &Url, languages: &str) -> Described {
        const MAX_OEMBED_BYTES: usize = 256 << 10;
        let Some(url) =
            page.oembed.as_deref().filter(|_| wants_oembed(page)).and_then(|url| web_address(base, url))
        else {
            return Described::default();
        };
        let wanted = Wanted {
            url,
            accept: ACCEPT_OEMBED,
            languages,
            max_bytes: MAX_OEMBED_BYTES,
            beginning_will_do: false,
        };
        match self.fetcher.fetch(wanted).await {
            Ok(found) => Described::read(&found.body).unwrap_or_default(),
            Err(_) => Described::default(),
        }
    }

    async fn add_picture(&self, preview: &mut Map<String, Value>, candidates: Candidates, languages: &str) {
        let named = candidates.named.into_iter().take(MAX_TRIES).map(|url| (url, 1));
        let found = candidates.found.into_iter().take(MAX_TRIES).map(|url| (url, LEAST_FOUND_SIDE));
        for (url, least_side) in named.chain(found) {
            let wanted = Wanted {
                url,
                accept: ACCEPT_PICTURES,
                languages,
                max_bytes: self.options.max_image_bytes,
                beginning_will_do: false,
            };
            let Ok(found) = self.fetcher.fetch(wanted).await else { continue };
            if self.put_picture(preview, &found, least_side).await {
                return;
            }
        }
    }

    /// Keeps a picture and says so. Whether that was one.
    async fn put_picture(&self, preview: &mut Map<String, Value>, found: &Found, least_side: u32) -> bool {
        if found.body.len() > self.options.max_image_bytes {
            return false;
        }
        let Ok(info) = self.thumbnailer.inspect(Source::Bytes(found.body.clone())).await else {
            return false;
        };
        if info.width < least_side || info.height < least_side {
            return false;
        }
        let image = PreviewImage {
            bytes: found.body.clone(),
            content_type: info.content_type,
            width: info.width,
            height: info.height,
        };
        let uri = match self.images.keep(image).await {
            Ok(uri) => uri,
            Err(error) => {
                tracing::warn!(%error, "a preview has to do without its picture");
                return false;
            }
        };
        preview.insert("og:image".to_owned(), uri.into());
        preview.insert("og:image:type".to_owned(), info.content_type.into());
        preview.insert("og:image:width".to_owned(), info.width.into());
        preview.insert("og:image:height".to_owned(), info.height.into());
        preview.insert("matrix:image:size".to_owned(), found.body.len().into());
        // As in MSC2448: clients show it while the picture is on its way.
        if let Ok(blurhash) = self.thumbnailer.blurhash(Source::Bytes(found.body.clone())).await {
            preview.insert("matrix:image:blurhash".to_owned(), blurhash.into());
        }
        true
    }

    async fn of_picture(&self, found: Found) -> Map<String, Value> {
        let mut preview = of_file(&found);
        self.put_picture(&mut preview, &found, 1).await;
        preview
    }
}

/// Whether a preview that is kept answers the question: it has not expired, or is nearer to the time that was asked for
/// than a new one would be.
fn is_good(stored: &UrlPreview, now_ms: i64, ts: Option<i64>) -> bool {
    now_ms < stored.expires_at || ts.is_some_and(|ts| stored.fetched_at.abs_diff(ts) <= now_ms.abs_diff(ts))
}

fn day(ms: i64) -> i64 {
    ms.div_euclid(24 * 60 * 60 * 1000)
}

fn parse(url: &str) -> Result<Url, PreviewError> {
    if url.len() > MAX_URL_BYTES {
        return Err(PreviewError::InvalidUrl);
    }
    let mut url: Url = url.parse().map_err(|_| PreviewError::InvalidUrl)?;
    if !matches!(url.scheme(), "http" | "https") {
        return Err(PreviewError::InvalidUrl);
    }
    // Servers never see it.
    url.set_fragment(None);
    Ok(url)
}

/// What a client accepts, if it can stand in a header and is not absurdly long.
fn clean_languages(languages: &str) -> Option<String> {
    let languages = languages.trim().to_ascii_lowercase();
    let is_sane = languages.bytes().all(|byte| byte.is_ascii_alphanumeric() || b" ,;=.*-".contains(&byte));
    (!languages.is_empty() && languages.len() <= MAX_LANGUAGES_BYTES && is_sane).then_some(languages)
}

/// A file that says nothing of itself but its name.
fn of_file(found: &Found) -> Map<String, Value> {
    let named = found.disposition.as_deref().and_then(file_name);
    let in_url = || {
        let segment = found.url.path_segments()?.next_back()?;
        percent_decoded(segment)
    };
    let mut preview = Map::new();
    if let Some(name) = named.or_else(in_url).and_then(|name| text::line(&name, 200)) {
        preview.insert("og:title".to_owned(), name.into());
    }
    preview
}

fn of_text(found: &Found) -> Map<String, Value> {
    let body = &found.body[..found.body.len().min(16 << 10)];
    let decoded = charset::decode(body, found.content_type.as_deref(), found.url.host_str());
    let mut preview = of_file(found);
    if let Some(summary) = text::summary(decoded.lines()) {
        preview.insert("og:description".to_owned(), summary.into());
    }
    preview
}

fn percent_decoded(segment: &str) -> Option<String> {
    // A query of one name without a value is decoded in the same way, but for `+`.
    let escaped = segment.replace('+', "%2B").replace('&', "%26").replace('=', "%3D");
    Url::parse(&format!("https://x/?{escaped}")).ok()?.query_pairs().next().map(|(name, _)| name.into_owned())
}

#[cfg(test)]
mod tests;
