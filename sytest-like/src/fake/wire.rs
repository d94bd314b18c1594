//! TLS connections to other servers, one for each request: nothing of an earlier request can disturb the next.

use std::time::Duration;

use bytes::Bytes;
use http::header::HOST;
use http::{HeaderValue, Method};
use http_body_util::{BodyExt as _, Full};
use hyper::client::conn::http1;
use hyper_util::rt::TokioIo;
use rustls::pki_types::ServerName;
use tokio::net::TcpStream;
use tokio_rustls::TlsConnector;

use crate::Response;
use crate::authority::Authority;

/// No single answer takes longer than this; a server that hangs fails the case instead of the run.
const ANSWER_WITHIN: Duration = Duration::from_secs(90);
/// Where federation is when a name has no port.
const DEFAULT_PORT: u16 = 8448;

/// Sends one request to the server with this name, which is an address.
pub(super) async fn send(destination: &str, request: http::Request<Full<Bytes>>) -> Result<Response, String> {
    let what = format!("{} https://{destination}{}", request.method(), request.uri());
    let answer = async { exchange(destination, request).await.map_err(|error| format!("{what}: {error}")) };
    let (parts, body) = tokio::time::timeout(ANSWER_WITHIN, answer)
        .await
        .map_err(|_| format!("{what}: no answer within {ANSWER_WITHIN:?}"))??;
    Ok(Response::new(what, parts.status.as_u16(), parts.headers, body))
}

async fn exchange(
    destination: &str,
    mut request: http::Request<Full<Bytes>>,
) -> Result<(http::response::Parts, Bytes), String> {
    let text = |error: &dyn std::fmt::Display| error.to_string();
    let (host, port) = destination.rsplit_once(':').unwrap_or((destination, ""));
    let port = port.parse().unwrap_or(DEFAULT_PORT);
    let stream = TcpStream::connect((host, port)).await.map_err(|error| text(&error))?;
    stream.set_nodelay(true).ok();
    let name = ServerName::try_from(host.to_owned()).map_err(|error| text(&error))?;
    let stream = TlsConnector::from(Authority::get().client())
        .connect(name, stream)
        .await
        .map_err(|error| text(&error))?;
    let (mut sender, connection) =
        http1::handshake(TokioIo::new(stream)).await.map_err(|error| text(&error))?;
    tokio::spawn(connection);
    let host = HeaderValue::from_str(destination).map_err(|error| text(&error))?;
    request.headers_mut().insert(HOST, host);
    let (parts, body) = sender.send_request(request).await.map_err(|error| text(&error))?.into_parts();
    let body = body.collect().await.map_err(|error| text(&error))?.to_bytes();
    Ok((parts, body))
}

/// A request without authentication.
pub(super) async fn get(destination: &str, path: &str) -> Result<Response, String> {
    let mut request = http::Request::new(Full::default());
    *request.method_mut() = Method::GET;
    *request.uri_mut() = path.parse().map_err(|error| format!("{path}: {error}"))?;
    send(destination, request).await
}
