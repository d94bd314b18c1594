//! The fake server's listener: TLS, HTTP/1.1, and whether requests are signed as they should be.

use std::net::SocketAddr;
use std::sync::{Arc, Weak};

use bytes::Bytes;
use http::header::{AUTHORIZATION, CONTENT_TYPE};
use http_body_util::BodyExt as _;
use hyper::body::Incoming;
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper_util::rt::TokioIo;
use serde_json::{Value, json};
use tokio::net::TcpListener;
use tokio::task::{JoinHandle, JoinSet};
use tokio_rustls::TlsAcceptor;

use super::json::verifies;
use super::received::{Received, Reply, ReplyBody, parse_query};
use super::server::{FakeServer, Inner};

/// Listens until the task is aborted; its connections end with it.
pub(super) async fn listen(
    address: SocketAddr,
    tls: Arc<rustls::ServerConfig>,
    server: Weak<Inner>,
) -> JoinHandle<()> {
    let listener = TcpListener::bind(address).await.expect("the address was free");
    let acceptor = TlsAcceptor::from(tls);
    tokio::spawn(async move {
        let mut connections = JoinSet::new();
        while let Ok((stream, _)) = listener.accept().await {
            stream.set_nodelay(true).ok();
            let (acceptor, server) = (acceptor.clone(), server.clone());
            connections.spawn(async move {
                let Ok(stream) = acceptor.accept(stream).await else { return };
                let service = service_fn(move |request| serve(server.clone(), request));
                // A peer may go away in the middle; that is its affair.
                http1::Builder::new().serve_connection(TokioIo::new(stream), service).await.ok();
            });
            while connections.try_join_next().is_some() {}
        }
    })
}

/// The connection is to be closed without an answer.
#[derive(Debug)]
struct HangUp;

impl std::fmt::Display for HangUp {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        formatter.write_str("told to hang up")
    }
}

impl std::error::Error for HangUp {}

async fn serve(
    server: Weak<Inner>,
    request: http::Request<Incoming>,
) -> Result<http::Response<ReplyBody>, HangUp> {
    let inner = server.upgrade().ok_or(HangUp)?;
    let server = FakeServer { inner };
    let (parts, body) = request.into_parts();
    let bytes = body.collect().await.map_err(|_| HangUp)?.to_bytes();
    let uri = parts.uri.path_and_query().map_or("/", |path| path.as_str()).to_owned();
    let mut received = Received {
        method: parts.method,
        path: parts.uri.path().to_owned(),
        query: parse_query(parts.uri.query().unwrap_or_default()),
        headers: parts.headers,
        body: serde_json::from_slice(&bytes).unwrap_or_default(),
        origin: None,
    };
    let reply = match authenticate(&server, &received, &uri, &bytes).await {
        Ok(origin) => {
            received.origin = origin;
            let handlers = server.handlers_for(&received);
            if handlers.is_empty() {
                // Who waits for a request finds the rooms as they are after it.
                let reply = server.honest_reply(&received).await;
                server.record(received);
                reply
            } else {
                server.record(received.clone());
                // A handler that waits must not keep the server alive.
                let weak = Arc::downgrade(&server.inner);
                drop(server);
                decide(&weak, handlers, received).await.ok_or(HangUp)?
            }
        }
        Err(fault) => {
            server.complain(format!("{} {uri}: {fault}", received.method));
            Reply::error(401, "M_UNAUTHORIZED")
        }
    };
    if reply.hang_up {
        return Err(HangUp);
    }
    let mut response =
        http::Response::builder().status(reply.status).header(CONTENT_TYPE, reply.content_type);
    for (name, value) in reply.headers {
        response = response.header(name, value);
    }
    response.body(reply.body).map_err(|_| HangUp)
}

async fn decide(
    server: &Weak<Inner>,
    handlers: Vec<super::server::Handler>,
    received: Received,
) -> Option<Reply> {
    for handler in handlers {
        if let Some(reply) = handler(received.clone()).await {
            return Some(reply);
        }
    }
    let server = FakeServer { inner: server.upgrade()? };
    Some(server.honest_reply(&received).await)
}

/// Who signed the request; `None` for what needs no signature.
async fn authenticate(
    server: &FakeServer,
    received: &Received,
    uri: &str,
    bytes: &Bytes,
) -> Result<Option<String>, String> {
    const OPEN: &[&str] = &["key/v2/server", "key/v2/query", "version", "openid/userinfo"];
    if OPEN.iter().any(|endpoint| received.is(endpoint)) || !received.path.starts_with("/_matrix/federation/")
    {
        return Ok(None);
    }
    if !bytes.is_empty() && received.body.is_null() {
        return Err("the body is no JSON".to_owned());
    }
    let header = received.headers.get(AUTHORIZATION).and_then(|value| value.to_str().ok());
    let fields = header.and_then(|header| header.strip_prefix("X-Matrix ")).ok_or("no X-Matrix header")?;
    let field = |name: &str| {
        fields.split(',').find_map(|part| {
            let (key, value) = part.trim().split_once('=')?;
            key.eq_ignore_ascii_case(name).then(|| value.trim_matches('"').to_owned())
        })
    };
    let origin = field("origin").ok_or("no origin")?;
    if field("destination").as_deref() != Some(server.name()) {
        return Err(format!("meant for {:?}", field("destination")));
    }
    let (key_id, signature) = (field("key").ok_or("no key")?, field("sig").ok_or("no signature")?);
    let mut signed = json!({
        "method": received.method.as_str(),
        "uri": uri,
        "origin": origin,
        "destination": server.name(),
    });
    if !bytes.is_empty() {
        signed["content"] = received.body.clone();
    }
    let key = server
        .public_key(&origin, &key_id)
        .await
        .ok_or_else(|| format!("{origin} does not publish the key {key_id}"))?;
    if !verifies(&signed, &key, &signature) {
        return Err(format!("the signature of {origin} is wrong"));
    }
    Ok(Some(origin))
}

/// Whether a PDU has the hash and the signature that it needs; what is wrong otherwise.
pub(super) async fn check_pdu(
    server: &FakeServer,
    origin: &str,
    pdu: &Value,
    version: super::version::Version,
) -> Result<(), String> {
    if pdu["hashes"]["sha256"] != super::json::content_hash(pdu) {
        return Err(format!("the content hash is wrong: {pdu}"));
    }
    let signatures = pdu["signatures"][origin].as_object().ok_or("no signature of the sender's server")?;
    let redacted = super::json::redact(pdu, version);
    for (key_id, signature) in signatures {
        let Some(key) = server.public_key(origin, key_id).await else { continue };
        if verifies(&redacted, &key, signature.as_str().unwrap_or_default()) {
            return Ok(());
        }
    }
    Err(format!("no valid signature of {origin}: {pdu}"))
}
