//! Descriptions of pages by oEmbed.
//!
//! <https://oembed.com>

use serde_json::Value;

use super::{page::Page, text};

/// What such a description says.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Described {
    pub(super) title: Option<String>,
    pub(super) description: Option<String>,
    pub(super) site_name: Option<String>,
    pub(super) kind: Option<&'static str>,
    pub(super) image: Option<String>,
}

impl Described {
    /// `None` where the text is no such description.
    pub(super) fn read(json: &[u8]) -> Option<Self> {
        let object: Value = serde_json::from_slice(json).ok()?;
        let said = |name: &str| object.get(name)?.as_str().map(str::trim).filter(|said| !said.is_empty());
        // "1.0" as a text, as a number in many places.
        let is_version_1 = match object.get("version")? {
            Value::String(version) => version.starts_with('1'),
            Value::Number(version) => version.as_f64() == Some(1.0),
            _ => false,
        };
        if !is_version_1 {
            return None;
        }
        let kind = said("type").unwrap_or_default();
        let html = || said("html").map(Page::read);
        Some(Self {
            title: said("title").or_else(|| said("author_name")).map(str::to_owned),
            // A rich description is the thing itself: a message, say.
            description: (kind == "rich")
                .then(html)
                .flatten()
                .and_then(|page| text::summary(page.paragraphs.iter().map(String::as_str))),
            site_name: said("provider_name").map(str::to_owned),
            kind: match kind {
                "video" => Some("video.other"),
                "photo" => Some("photo"),
                _ => None,
            },
            image: said("thumbnail_url")
                .or_else(|| said("url").filter(|_| kind == "photo"))
                .map(str::to_owned),
        })
    }
}
