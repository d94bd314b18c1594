//! `[url_previews]`

use std::time::Duration;

use ipnet::IpNet;
use media_repo::preview::{NotAPattern, PreviewOptions, UrlPattern};

use super::{Invalid, section::section};

section! {
    /// Pictures and titles of pages that people link to. The server asks those pages itself, so they learn its address, and
    /// not that of the reader.
    pub struct UrlPreviews {
        /// Whether there are any.
        pub enabled: bool = true,
        /// Hosts and URLs that no previews are made of: `example.org`, `*.example.org`, `https://example.org/private/*`.
        #[example = "[\"*.internal.example.org\"]"]
        pub deny: Vec<String> = Vec::new(),
        /// Private and loopback networks that pages may be in. Requests to all others of these are refused, at first and after
        /// redirects, so that nobody can read the server's own network.
        #[example = "[\"10.1.0.0/16\"]"]
        pub allowed_private_ranges: Vec<IpNet> = Vec::new(),
        /// The languages that pages are asked for when a client names none, as in Accept-Language.
        pub languages: String = "en".to_owned(),
        /// How long a preview may take to make.
        pub timeout_seconds: u64 = 15,
        /// How long a preview is good for.
        pub keep_hours: u64 = 12,
    }
}

impl UrlPreviews {
    /// Checks what the types do not.
    pub(super) fn validate(&self) -> Result<(), Invalid> {
        const REMEDY: &str = "write a host, such as example.org or *.example.org, or a URL with * in it";
        match patterns(&self.deny) {
            Ok(_) => Ok(()),
            Err(error) => Err(Invalid::new("deny", error.to_string(), REMEDY)),
        }
    }

    /// How previews behave.
    pub fn options(&self) -> PreviewOptions {
        PreviewOptions {
            // What is no pattern was refused when the configuration was read.
            denied: patterns(&self.deny).unwrap_or_default(),
            languages: self.languages.clone(),
            timeout: Duration::from_secs(self.timeout_seconds.max(1)),
            expiry: Duration::from_secs(self.keep_hours.saturating_mul(3600)),
            ..PreviewOptions::default()
        }
    }
}

fn patterns(texts: &[String]) -> Result<Vec<UrlPattern>, NotAPattern> {
    texts.iter().map(|text| text.parse()).collect()
}
