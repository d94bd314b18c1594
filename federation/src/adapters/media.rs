//! Media of other servers.
//!
//! <https://spec.matrix.org/v1.19/server-server-api/#content-repository>

mod multipart;

use std::time::Duration;

use bytes::Bytes;
use futures_util::{StreamExt as _, TryStreamExt as _, stream::BoxStream};
use hs_outbound::GuardedClient;
use http::{
    HeaderMap, Request, Response, StatusCode,
    header::{CONTENT_DISPOSITION, CONTENT_LENGTH, CONTENT_TYPE, HeaderName, LOCATION},
};
use http_body_util::BodyExt as _;
use hyper::body::{Body as _, Incoming};
use media_repo::{
    MediaId,
    ports::{FetchError, Fetching, RemoteFile, RemoteMedia},
};
use reqwest::{Method, Url};
use ruma::ServerName;

use self::multipart::{Multipart, boundary};
use crate::{FederationClient, RequestError};

/// How long a server may take to begin its answer, beside what it may wait for an upload.
const PATIENCE: Duration = Duration::from_secs(30);

/// Fetches media by the server-server API, or as it was before that had media.
#[derive(Clone, Debug)]
pub struct FederatedMedia {
    client: FederationClient,
    /// Follows where servers say that their media lie.
    web: GuardedClient,
}

impl FederatedMedia {
    /// Asks servers by `client`, and fetches by `web` what lies elsewhere.
    pub fn new(client: FederationClient, web: GuardedClient) -> Self {
        Self { client, web }
    }

    async fn fetch(
        &self,
        server: &ServerName,
        id: &MediaId,
        patience: Duration,
    ) -> Result<RemoteFile, FetchError> {
        let timeout_ms = patience.as_millis();
        let path = format!("/_matrix/federation/v1/media/download/{}?timeout_ms={timeout_ms}", id.as_str());
        match self.client.open(server, get(&path)?, PATIENCE + patience).await {
            Ok(response) => self.read_multipart(response).await,
            Err(error) if is_unknown_endpoint(&error) => self.fetch_openly(server, id, timeout_ms).await,
            Err(error) => Err(fetch_error(error)),
        }
    }

    /// As it was done before servers proved to each other who asks.
    async fn fetch_openly(
        &self,
        server: &ServerName,
        id: &MediaId,
        timeout_ms: u128,
    ) -> Result<RemoteFile, FetchError> {
        let path = format!(
            "/_matrix/media/v3/download/{server}/{}?allow_remote=false&allow_redirect=true&timeout_ms={timeout_ms}",
            id.as_str()
        );
        let response = self.client.open(server, get(&path)?, PATIENCE).await.map_err(fetch_error)?;
        if let Some(location) = text(response.headers(), &LOCATION) {
            return self.follow(&location).await;
        }
        if !response.status().is_success() {
            return Err(FetchError::Failed(format!("the answer has the status {}", response.status())));
        }
        let length = response.body().size_hint().exact();
        let headers = response.headers().clone();
        Ok(file(&headers, length, body(response)))
    }

    async fn read_multipart(&self, response: Response<Incoming>) -> Result<RemoteFile, FetchError> {
        let Some(boundary) = text(response.headers(), &CONTENT_TYPE).as_deref().and_then(boundary) else {
            return Err(FetchError::Failed("the answer is not of several parts".to_owned()));
        };
        let whole = response.body().size_hint().exact();
        let mut multipart = Multipart::new(body(response), &boundary);
        // What there is to know of the media: nothing so far.
        multipart.next_part().await?;
        let headers = multipart.next_part().await?;
        if let Some(location) = text(&headers, &LOCATION) {
            return self.follow(&location).await;
        }
        // How long the part is is known when it says so; what it cannot be longer than, when the answer does.
        let length = text(&headers, &CONTENT_LENGTH).and_then(|length| length.parse().ok());
        let length = length.filter(|length| whole.is_none_or(|whole| *length <= whole));
        Ok(file(&headers, length, multipart.into_body()))
    }

    /// Fetches a file from wherever a server says that it lies. Nobody proves anything there.
    async fn follow(&self, location: &str) -> Result<RemoteFile, FetchError> {
        let failed = |error: &dyn std::fmt::Display| FetchError::Failed(error.to_string());
        let url: Url = location.parse().map_err(|error| failed(&error))?;
        let request = self.web.request(Method::GET, url).map_err(|_| FetchError::Denied)?;
        let response = request.send().await.map_err(|error| failed(&error))?;
        match response.status() {
            StatusCode::NOT_FOUND | StatusCode::GONE => return Err(FetchError::NotFound),
            status if !status.is_success() => {
                return Err(FetchError::Failed(format!("the answer has the status {status}")));
            }
            _ => {}
        }
        let headers = response.headers().clone();
        let length = response.content_length();
        let body = futures_util::stream::try_unfold(response, |mut response| async move {
            let chunk = response.chunk().await.map_err(|error| FetchError::Failed(error.to_string()))?;
            Ok(chunk.map(|chunk| (chunk, response)))
        });
        Ok(file(&headers, length, body.boxed()))
    }
}

impl RemoteMedia for FederatedMedia {
    fn fetch<'a>(&'a self, server: &'a ServerName, id: &'a MediaId, patience: Duration) -> Fetching<'a> {
        Box::pin(self.fetch(server, id, patience))
    }
}

fn get(path: &str) -> Result<Request<Bytes>, FetchError> {
    Request::get(path).body(Bytes::new()).map_err(|error| FetchError::Failed(error.to_string()))
}

fn text(headers: &HeaderMap, name: &HeaderName) -> Option<String> {
    // Names in other scripts are sometimes sent as they are.
    Some(String::from_utf8_lossy(headers.get(name)?.as_bytes()).into_owned())
}

fn file(
    headers: &HeaderMap,
    length: Option<u64>,
    body: BoxStream<'static, Result<Bytes, FetchError>>,
) -> RemoteFile {
    RemoteFile {
        content_type: text(headers, &CONTENT_TYPE),
        disposition: text(headers, &CONTENT_DISPOSITION),
        length,
        body,
    }
}

fn body(response: Response<Incoming>) -> BoxStream<'static, Result<Bytes, FetchError>> {
    response
        .into_body()
        .into_data_stream()
        .map_err(|error| FetchError::Failed(format!("the answer broke off: {error}")))
        .boxed()
}

/// Whether a server does not know the endpoint, rather than the media.
fn is_unknown_endpoint(error: &RequestError) -> bool {
    match error {
        RequestError::Api { status, errcode, .. } => {
            errcode == "M_UNRECOGNIZED"
                || (errcode.is_empty()
                    && matches!(*status, StatusCode::NOT_FOUND | StatusCode::METHOD_NOT_ALLOWED))
        }
        _ => false,
    }
}

fn fetch_error(error: RequestError) -> FetchError {
    match error {
        RequestError::Denied => FetchError::Denied,
        RequestError::TooLarge => FetchError::TooLarge,
        RequestError::Api { errcode, .. } if errcode == "M_NOT_YET_UPLOADED" => FetchError::NotYetUploaded,
        RequestError::Api { errcode, .. } if errcode == "M_TOO_LARGE" => FetchError::TooLarge,
        RequestError::Api { status: StatusCode::TOO_MANY_REQUESTS, retry_after, .. } => {
            FetchError::LimitExceeded(retry_after)
        }
        RequestError::Api { status: StatusCode::NOT_FOUND, .. } => FetchError::NotFound,
        other => FetchError::Failed(other.to_string()),
    }
}
