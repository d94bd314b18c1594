//! A preview out of what a page says.

use reqwest::Url;
use serde_json::{Map, Value};

use super::{oembed::Described, page::Page, text};

/// Bounds of what a page can put into an answer.
const MAX_TITLE_CHARS: usize = 300;
const MAX_DESCRIPTION_CHARS: usize = 1000;
const MAX_OTHER_CHARS: usize = 1000;
const MAX_PROPERTIES: usize = 50;

/// Pictures of a page to try, best first.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Candidates {
    /// Those that the page says stand for it.
    pub(super) named: Vec<Url>,
    /// Those that merely stand in it. Only a big one is worth showing.
    pub(super) found: Vec<Url>,
}

/// Whether a page leaves out what oEmbed may know.
pub(super) fn wants_oembed(page: &Page) -> bool {
    let has = |names: &[&str]| page.first_meta(names).is_some();
    !(has(&["og:title", "twitter:title"])
        && has(&["og:description", "twitter:description", "description"])
        && has(&["og:image", "og:image:url", "og:image:secure_url", "twitter:image", "twitter:image:src"]))
}

/// Everything but the picture.
pub(super) fn assemble(page: &Page, described: &Described, url: &Url) -> Map<String, Value> {
    let mut preview = open_graph(page, url);
    let mut put = |name: &str, said: Option<&str>, max_chars: usize| {
        if !preview.contains_key(name)
            && let Some(said) = said.and_then(|said| text::line(said, max_chars))
        {
            preview.insert(name.to_owned(), said.into());
        }
    };
    let title = page
        .first_meta(&["twitter:title"])
        .or(described.title.as_deref())
        .or(page.title.as_deref())
        .or_else(|| page.first_meta(&["dc.title", "title"]))
        .or(page.heading.as_deref());
    put("og:title", title, MAX_TITLE_CHARS);
    let summary = text::summary(page.paragraphs.iter().map(String::as_str));
    let description = page
        .first_meta(&["twitter:description"])
        .or(described.description.as_deref())
        .or_else(|| page.first_meta(&["description", "dc.description"]))
        .or(summary.as_deref());
    put("og:description", description, MAX_DESCRIPTION_CHARS);
    let site =
        described.site_name.as_deref().or_else(|| page.first_meta(&["application-name", "twitter:site"]));
    put("og:site_name", site, MAX_TITLE_CHARS);
    put("og:type", described.kind, MAX_TITLE_CHARS);
    preview
}

/// What the page says in Open Graph's own words.
///
/// Nothing about pictures: those are ours to say, once there is one. And no addresses but those of the web, as clients
/// make links of them.
fn open_graph(page: &Page, url: &Url) -> Map<String, Value> {
    let mut preview = Map::new();
    for (name, said) in &page.meta {
        let is_open_graph = name.starts_with("og:") && name.len() < 64 && name.bytes().all(is_name_byte);
        if !is_open_graph
            || is_about_pictures(name)
            || preview.contains_key(name)
            || preview.len() >= MAX_PROPERTIES
        {
            continue;
        }
        let said = match name.as_str() {
            "og:title" => text::line(said, MAX_TITLE_CHARS),
            "og:description" => text::line(said, MAX_DESCRIPTION_CHARS),
            name if is_address(name) => web_address(url, said).map(String::from),
            _ => text::line(said, MAX_OTHER_CHARS),
        };
        if let Some(said) = said {
            preview.insert(name.clone(), said.into());
        }
    }
    preview
}

fn is_name_byte(byte: u8) -> bool {
    byte.is_ascii_lowercase() || byte.is_ascii_digit() || matches!(byte, b':' | b'_' | b'-' | b'.')
}

fn is_about_pictures(name: &str) -> bool {
    name == "og:image" || name.starts_with("og:image:")
}

fn is_address(name: &str) -> bool {
    name == "og:url"
        || name.ends_with(":url")
        || name.ends_with(":secure_url")
        || matches!(name, "og:video" | "og:audio" | "og:see_also")
}

/// The address that a page means.
pub(super) fn web_address(base: &Url, said: &str) -> Option<Url> {
    let url = base.join(said.trim()).ok()?;
    (matches!(url.scheme(), "http" | "https") && url.as_str().len() <= 4096).then_some(url)
}

/// Which pictures to try.
pub(super) fn pictures(page: &Page, described: &Described, base: &Url) -> Candidates {
    const OPEN_GRAPH: [&str; 3] = ["og:image:secure_url", "og:image:url", "og:image"];
    const OTHERS: [&str; 3] = ["twitter:image", "twitter:image:src", "image"];
    let named = page
        .first_meta(&OPEN_GRAPH)
        .into_iter()
        .chain(page.first_meta(&OTHERS))
        .chain(described.image.as_deref())
        .chain(page.image_src.as_deref());
    let mut candidates = Candidates::default();
    for said in named {
        if let Some(url) = web_address(base, said)
            && !candidates.named.contains(&url)
        {
            candidates.named.push(url);
        }
    }
    candidates.found = page.images.iter().filter_map(|said| web_address(base, said)).collect();
    candidates
}
