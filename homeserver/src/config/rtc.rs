//! `[rtc]`

use super::{Invalid, section::section};

section! {
    /// Calls of many.
    pub struct Rtc {
        /// The services that give clients access to LiveKit servers for calls. Empty: clients use what they know
        /// themselves.
        #[example = "[\"https://rtc.example.org\"]"]
        pub livekit_service_urls: Vec<String> = Vec::new(),
    }
}

impl Rtc {
    /// Checks what the types do not.
    pub(super) fn validate(&self) -> Result<(), Invalid> {
        match self.livekit_service_urls.iter().find(|url| !url.starts_with("http")) {
            Some(url) => Err(Invalid::new(
                "livekit_service_urls",
                format!("`{url}` is no address"),
                "write https://HOST",
            )),
            None => Ok(()),
        }
    }
}
