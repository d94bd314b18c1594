//! Getting pages and pictures.

use std::{error::Error, time::Duration};

use bytes::{Bytes, BytesMut};
use hs_outbound::{ClientOptions, ForbiddenAddress, Guard, GuardedClient};
use reqwest::{
    Method, Response, Url,
    header::{
        ACCEPT, ACCEPT_LANGUAGE, CONTENT_DISPOSITION, CONTENT_ENCODING, CONTENT_TYPE, HeaderMap, HeaderName,
        LOCATION, USER_AGENT,
    },
};
use rustls::ClientConfig;

use super::{PreviewError, UrlPattern};

/// Asks for what URLs lead to, and follows redirects by itself: each step is judged like the first.
#[derive(Clone, Debug)]
pub(super) struct Fetcher {
    client: GuardedClient,
    denied: Vec<UrlPattern>,
    user_agent: String,
    max_redirects: usize,
}

/// What is asked for.
pub(super) struct Wanted<'a> {
    pub(super) url: Url,
    pub(super) accept: &'static str,
    pub(super) languages: &'a str,
    pub(super) max_bytes: usize,
    /// Whether the beginning of something longer will do.
    pub(super) beginning_will_do: bool,
}

/// What was found.
#[derive(Clone, Debug)]
pub(super) struct Found {
    /// Where, after redirects.
    pub(super) url: Url,
    pub(super) content_type: Option<String>,
    pub(super) disposition: Option<String>,
    pub(super) body: Bytes,
}

impl Fetcher {
    pub(super) fn new(
        guard: Guard,
        tls: ClientConfig,
        timeout: Duration,
        (denied, user_agent, max_redirects): (Vec<UrlPattern>, String, usize),
    ) -> Result<Self, reqwest::Error> {
        // The client's own redirects are off.
        let options = ClientOptions { timeout, max_redirects: 0, https_only: false, tls };
        Ok(Self { client: GuardedClient::new(guard, options)?, denied, user_agent, max_redirects })
    }

    /// Whether the operator lets requests go there at all.
    pub(super) fn check(&self, url: &Url) -> Result<(), PreviewError> {
        let is_web = matches!(url.scheme(), "http" | "https") && url.has_host();
        // Names and passwords in URLs are how one site is made to look like another.
        let has_credentials = !url.username().is_empty() || url.password().is_some();
        if !is_web || has_credentials || self.denied.iter().any(|pattern| pattern.matches(url)) {
            return Err(PreviewError::Forbidden);
        }
        Ok(())
    }

    pub(super) async fn fetch(&self, wanted: Wanted<'_>) -> Result<Found, PreviewError> {
        let mut url = wanted.url.clone();
        for _ in 0..=self.max_redirects {
            self.check(&url)?;
            let response = self.ask(&url, &wanted).await?;
            if response.status().is_redirection()
                && let Some(location) = header(response.headers(), &LOCATION)
            {
                let mut next =
                    url.join(location.trim()).map_err(|_| unreachable_because("a redirect leads nowhere"))?;
                next.set_fragment(None);
                url = next;
                continue;
            }
            return read(response, url, &wanted).await;
        }
        Err(unreachable_because("there are too many redirects"))
    }

    async fn ask(&self, url: &Url, wanted: &Wanted<'_>) -> Result<Response, PreviewError> {
        let request = self
            .client
            .request(Method::GET, url.clone())
            .map_err(|ForbiddenAddress| PreviewError::Forbidden)?;
        let request = request
            .header(USER_AGENT, &self.user_agent)
            .header(ACCEPT, wanted.accept)
            .header(ACCEPT_LANGUAGE, wanted.languages);
        request.send().await.map_err(from_client)
    }
}

async fn read(mut response: Response, url: Url, wanted: &Wanted<'_>) -> Result<Found, PreviewError> {
    if !response.status().is_success() {
        return Err(PreviewError::Unreachable(format!("the server answered {}", response.status().as_u16())));
    }
    // None was asked for, so that nothing unfolds into more than was read.
    let is_encoded = header(response.headers(), &CONTENT_ENCODING)
        .is_some_and(|coding| !coding.eq_ignore_ascii_case("identity"));
    if is_encoded {
        return Err(unreachable_because("the answer is compressed, which was not asked for"));
    }
    let content_type = header(response.headers(), &CONTENT_TYPE);
    let disposition = header(response.headers(), &CONTENT_DISPOSITION);
    let mut body = BytesMut::new();
    while let Some(chunk) = response.chunk().await.map_err(from_client)? {
        let room = wanted.max_bytes - body.len();
        body.extend_from_slice(&chunk[..chunk.len().min(room)]);
        if chunk.len() > room {
            if wanted.beginning_will_do {
                break;
            }
            return Err(unreachable_because("the answer is too long"));
        }
    }
    Ok(Found { url, content_type, disposition, body: body.freeze() })
}

/// A header as text. Locations and names are written in UTF-8 by many servers.
fn header(headers: &HeaderMap, name: &HeaderName) -> Option<String> {
    headers.get(name).map(|value| String::from_utf8_lossy(value.as_bytes()).into_owned())
}

fn from_client(error: reqwest::Error) -> PreviewError {
    let mut cause: Option<&(dyn Error + 'static)> = Some(&error);
    while let Some(error) = cause {
        if error.is::<ForbiddenAddress>() {
            return PreviewError::Forbidden;
        }
        cause = error.source();
    }
    unreachable_because(if error.is_timeout() { "it took too long" } else { "the connection failed" })
}

pub(super) fn unreachable_because(why: &str) -> PreviewError {
    PreviewError::Unreachable(why.to_owned())
}
