//! The client against servers of this process, over TLS.

use std::{
    convert::Infallible,
    io::Write as _,
    net::{IpAddr, Ipv4Addr, SocketAddr},
    path::PathBuf,
    sync::{
        Arc,
        atomic::{AtomicU32, Ordering},
    },
    time::Duration,
};

use bytes::Bytes;
use hs_outbound::{Guard, tls_config};
use hs_room_rules::sign::{SigningKey, is_valid_signature};
use http::{Request, Response, StatusCode};
use http_body_util::{BodyExt as _, Full};
use hyper::{body::Incoming, service::service_fn};
use hyper_util::{
    rt::{TokioExecutor, TokioIo},
    server::conn::auto,
};
use rcgen::{BasicConstraints, CertificateParams, CertifiedIssuer, IsCa, KeyPair};
use ruma::{OwnedServerName, api::federation::discovery::get_server_version};
use rustls::{
    ServerConfig,
    crypto::ring,
    pki_types::{PrivateKeyDer, PrivatePkcs8KeyDer},
};
use tokio::{net::TcpListener, sync::Mutex};
use tokio_rustls::TlsAcceptor;

use super::client::{ClientOptions, FederationClient, Limits, RequestError};
use crate::{
    ServerPolicy, XMatrix,
    discovery::{Dns, DnsFuture, SrvRecord},
    request_auth::SignedRequest,
};

static COUNTER: AtomicU32 = AtomicU32::new(1);

/// What a server saw of the last request.
#[derive(Clone, Debug)]
struct Seen {
    method: http::Method,
    uri: String,
    authority: String,
    authorization: String,
    body: Bytes,
    version: http::Version,
}

struct Server {
    address: SocketAddr,
    seen: Arc<Mutex<Option<Seen>>>,
    ca_file: PathBuf,
}

impl Drop for Server {
    fn drop(&mut self) {
        // A file left behind in the directory for such files does no harm.
        let _ = std::fs::remove_file(&self.ca_file);
    }
}

/// How a server answers.
#[derive(Clone, Copy, Debug)]
enum Answer {
    Version,
    Error,
    BadGateway,
    Huge,
    Nonsense,
    Redirect,
    Never,
}

impl Server {
    /// A server on an address of its own, with a certificate for `name`, by an authority of its own.
    async fn start(name: &str, answer: Answer) -> Self {
        let number = COUNTER.fetch_add(1, Ordering::SeqCst);
        let [_, high, middle, low] = (std::process::id() << 8 | number).to_be_bytes();
        let address = Ipv4Addr::new(127, high.max(1), middle, low);
        let listener = TcpListener::bind((address, 0)).await.unwrap();
        let address = listener.local_addr().unwrap();
        let name = if name.is_empty() { address.ip().to_string() } else { name.to_owned() };
        let (tls, ca) = certificate(&name);
        let ca_file = std::env::temp_dir().join(format!("kith-ca-{}-{number}.pem", std::process::id()));
        std::fs::File::create(&ca_file).unwrap().write_all(ca.as_bytes()).unwrap();
        let seen = Arc::new(Mutex::new(None));
        serve(listener, TlsAcceptor::from(Arc::new(tls)), seen.clone(), answer);
        Self { address, seen, ca_file }
    }

    fn name(&self) -> OwnedServerName {
        self.address.to_string().try_into().unwrap()
    }

    /// A client that trusts this server, and may talk to it.
    fn client(&self) -> FederationClient {
        self.client_with(Guard::new(["127.0.0.0/8".parse().unwrap()]), ServerPolicy::new(vec![], vec![]))
    }

    fn client_with(&self, guard: Guard, policy: ServerPolicy) -> FederationClient {
        let options = ClientOptions {
            server_name: "here.example".try_into().unwrap(),
            signing_key: Arc::new(signing_key()),
            policy,
            guard,
            tls: tls_config(Some(&self.ca_file)).unwrap(),
        };
        FederationClient::new(options, Arc::new(OneHost(self.address))).unwrap()
    }
}

fn signing_key() -> SigningKey {
    SigningKey::from_seed("a", &[1; 32]).unwrap()
}

fn certificate(name: &str) -> (ServerConfig, String) {
    let mut params = CertificateParams::new(Vec::new()).unwrap();
    params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
    let ca = CertifiedIssuer::self_signed(params, KeyPair::generate().unwrap()).unwrap();
    let key = KeyPair::generate().unwrap();
    let certificate = CertificateParams::new(vec![name.to_owned()]).unwrap().signed_by(&key, &ca).unwrap();
    let key = PrivateKeyDer::Pkcs8(PrivatePkcs8KeyDer::from(key.serialize_der()));
    let mut config = ServerConfig::builder_with_provider(Arc::new(ring::default_provider()))
        .with_safe_default_protocol_versions()
        .unwrap()
        .with_no_client_auth()
        .with_single_cert(vec![certificate.der().clone()], key)
        .unwrap();
    config.alpn_protocols = vec![b"h2".to_vec(), b"http/1.1".to_vec()];
    (config, ca.pem())
}

#[expect(clippy::disallowed_methods, reason = "the tasks end with the runtime of the test")]
fn serve(listener: TcpListener, tls: TlsAcceptor, seen: Arc<Mutex<Option<Seen>>>, answer: Answer) {
    tokio::spawn(async move {
        while let Ok((stream, _)) = listener.accept().await {
            let (tls, seen) = (tls.clone(), seen.clone());
            tokio::spawn(async move {
                let Ok(stream) = tls.accept(stream).await else { return };
                let service = service_fn(move |request| respond(request, seen.clone(), answer));
                // The client may leave whenever it likes.
                let _ = auto::Builder::new(TokioExecutor::new())
                    .serve_connection(TokioIo::new(stream), service)
                    .await;
            });
        }
    });
}

async fn respond(
    request: Request<Incoming>,
    seen: Arc<Mutex<Option<Seen>>>,
    answer: Answer,
) -> Result<Response<Full<Bytes>>, Infallible> {
    let (parts, body) = request.into_parts();
    let header = |name: &str| parts.headers.get(name).map(|value| value.to_str().unwrap().to_owned());
    *seen.lock().await = Some(Seen {
        method: parts.method.clone(),
        uri: parts.uri.path_and_query().unwrap().to_string(),
        authority: parts.uri.authority().map(ToString::to_string).or_else(|| header("host")).unwrap(),
        authorization: header("authorization").unwrap(),
        body: body.collect().await.unwrap().to_bytes(),
        version: parts.version,
    });
    let (status, body) = match answer {
        Answer::Version => (StatusCode::OK, r#"{"server":{"name":"Other","version":"1"}}"#.to_owned()),
        Answer::Error => {
            (StatusCode::FORBIDDEN, r#"{"errcode":"M_FORBIDDEN","error":"no","retry_after_ms":5}"#.to_owned())
        }
        Answer::BadGateway => (StatusCode::BAD_GATEWAY, "<html>".to_owned()),
        Answer::Huge => (StatusCode::OK, format!("\"{}\"", "x".repeat(10_000))),
        Answer::Nonsense => (StatusCode::OK, "[]".to_owned()),
        Answer::Redirect => (StatusCode::FOUND, String::new()),
        Answer::Never => std::future::pending().await,
    };
    let response = Response::builder().status(status).header("location", "https://127.0.0.1/");
    Ok(response.body(Full::new(Bytes::from(body))).unwrap())
}

/// A DNS in which every name is one machine.
#[derive(Debug)]
struct OneHost(SocketAddr);

impl Dns for OneHost {
    fn addresses<'a>(&'a self, _: &'a str) -> DnsFuture<'a, Vec<IpAddr>> {
        Box::pin(std::future::ready(Ok(vec![self.0.ip()])))
    }

    fn srv<'a>(&'a self, _: &'a str) -> DnsFuture<'a, Vec<SrvRecord>> {
        Box::pin(std::future::ready(Ok(Vec::new())))
    }
}

fn limits() -> Limits {
    Limits { timeout: Duration::from_secs(5), max_response_bytes: 1_000 }
}

async fn ask(server: &Server) -> Result<Option<String>, RequestError> {
    ask_as(&server.client(), &server.name()).await
}

async fn ask_as(client: &FederationClient, name: &OwnedServerName) -> Result<Option<String>, RequestError> {
    let answer = client.send(name, get_server_version::v1::Request::new(), limits()).await?;
    Ok(answer.server.and_then(|server| server.name))
}

#[tokio::test]
async fn request_is_signed_for_its_destination_and_answered() {
    let server = Server::start("", Answer::Version).await;

    assert_eq!(ask(&server).await.unwrap().as_deref(), Some("Other"));

    let seen = server.seen.lock().await.clone().unwrap();
    let claim = XMatrix::parse(&seen.authorization).unwrap();
    assert_eq!(
        (claim.origin.as_str(), claim.destination.as_deref()),
        ("here.example", Some(&*server.name()))
    );
    assert_eq!((seen.uri.as_str(), seen.version), ("/_matrix/federation/v1/version", http::Version::HTTP_2));
    assert_eq!((seen.authority, seen.body.len()), (server.address.to_string(), 0));
    let signed = SignedRequest {
        method: &seen.method,
        uri: &seen.uri,
        origin: &claim.origin,
        destination: claim.destination.as_deref(),
        body: None,
    };
    assert!(is_valid_signature(&signed.text().unwrap(), &signing_key().public_key(), &claim.signature));
}

#[tokio::test]
async fn body_is_part_of_what_is_signed() {
    let server = Server::start("", Answer::Version).await;
    let body = Bytes::from_static(b"{ \"b\": [1, \"\xc3\xa9\"],\n \"a\": {} }");
    let request = Request::put("/_matrix/federation/v1/send/1?x=%20y").body(body.clone()).unwrap();

    server.client().exchange(&server.name(), request, Limits::default()).await.unwrap();

    let seen = server.seen.lock().await.clone().unwrap();
    let claim = XMatrix::parse(&seen.authorization).unwrap();
    assert_eq!((&seen.body, seen.uri.as_str()), (&body, "/_matrix/federation/v1/send/1?x=%20y"));
    let text = format!(
        "{{\"content\":{{\"a\":{{}},\"b\":[1,\"é\"]}},\"destination\":\"{}\",\"method\":\"PUT\",\
         \"origin\":\"here.example\",\"uri\":\"/_matrix/federation/v1/send/1?x=%20y\"}}",
        server.name()
    );
    assert!(is_valid_signature(&text, &signing_key().public_key(), &claim.signature));
}

#[tokio::test]
async fn certificate_must_be_for_the_name_and_by_a_trusted_authority() {
    let named = Server::start("a.example", Answer::Version).await;
    let by_name = |name: &str| format!("{name}:{}", named.address.port()).try_into().unwrap();
    assert!(ask_as(&named.client(), &by_name("a.example")).await.is_ok());
    assert!(matches!(ask(&named).await, Err(RequestError::Unreachable(_))));
    assert!(matches!(
        ask_as(&named.client(), &by_name("b.example")).await,
        Err(RequestError::Unreachable(_))
    ));
    let other = Server::start("", Answer::Version).await;
    assert!(matches!(ask_as(&named.client(), &other.name()).await, Err(RequestError::Unreachable(_))));
}

#[tokio::test]
async fn own_network_is_out_of_reach_unless_allowed() {
    let server = Server::start("", Answer::Version).await;
    let client = server.client_with(Guard::default(), ServerPolicy::new(vec![], vec![]));
    assert!(matches!(ask_as(&client, &server.name()).await, Err(RequestError::Denied)));
    // A name that leads there is no way around it.
    let named = format!("a.example:{}", server.address.port()).try_into().unwrap();
    assert!(matches!(ask_as(&client, &named).await, Err(RequestError::Denied)));
    assert!(server.seen.lock().await.is_none());
}

#[tokio::test]
async fn denied_servers_and_ourselves_are_not_asked() {
    let server = Server::start("", Answer::Version).await;
    let guard = || Guard::new(["127.0.0.0/8".parse().unwrap()]);
    let deny = ServerPolicy::new(vec![], vec![server.address.ip().to_string().parse().unwrap()]);
    for policy in [deny, ServerPolicy::nobody()] {
        let client = server.client_with(guard(), policy);
        assert!(matches!(ask_as(&client, &server.name()).await, Err(RequestError::Denied)));
    }
    let ourselves = "here.example".try_into().unwrap();
    assert!(matches!(ask_as(&server.client(), &ourselves).await, Err(RequestError::Denied)));
    assert!(server.seen.lock().await.is_none());
}

#[tokio::test]
async fn errors_are_told_apart() {
    let error = async |answer| ask(&Server::start("", answer).await).await.unwrap_err();

    let refused = error(Answer::Error).await;
    assert!(refused.is_errcode("M_FORBIDDEN") && !refused.is_outage());
    let RequestError::Api { status, message, retry_after, .. } = refused else { panic!("{refused}") };
    assert_eq!((status, message.as_str()), (StatusCode::FORBIDDEN, "no"));
    assert_eq!(retry_after, Some(Duration::from_millis(5)));

    assert!(error(Answer::BadGateway).await.is_outage());
    assert!(matches!(error(Answer::Huge).await, RequestError::TooLarge));
    assert!(matches!(error(Answer::Nonsense).await, RequestError::Malformed(_)));
    // What is signed for one server is not carried to another.
    let redirected = error(Answer::Redirect).await;
    assert!(matches!(redirected, RequestError::Api { status: StatusCode::FOUND, .. }));
}

#[tokio::test]
async fn silence_and_refused_connections_are_outages() {
    let silent = Server::start("", Answer::Never).await;
    let limits = Limits { timeout: Duration::from_millis(300), max_response_bytes: 1_000 };
    let sent = silent.client().send(&silent.name(), get_server_version::v1::Request::new(), limits).await;
    assert!(matches!(sent, Err(RequestError::Timeout)));

    let nobody: OwnedServerName = format!("{}:1", silent.address.ip()).try_into().unwrap();
    let refused = ask_as(&silent.client(), &nobody).await.unwrap_err();
    assert!(matches!(refused, RequestError::Unreachable(_)) && refused.is_outage());
}

#[tokio::test]
async fn server_that_did_not_answer_is_left_alone_until_it_is_heard() {
    let server = Server::start("", Answer::Version).await;
    let client = server.client();
    let nobody: OwnedServerName = format!("{}:1", server.address.ip()).try_into().unwrap();
    assert!(matches!(ask_as(&client, &nobody).await, Err(RequestError::Unreachable(_))));

    assert!(client.is_away(&nobody) && !client.is_away(&server.name()));
    assert!(matches!(ask_as(&client, &nobody).await, Err(RequestError::BackingOff)));
    assert!(matches!(ask_as(&client.insisting(), &nobody).await, Err(RequestError::Unreachable(_))));
    ask_as(&client, &server.name()).await.unwrap();

    client.heard_from(&nobody);
    assert!(matches!(ask_as(&client, &nobody).await, Err(RequestError::Unreachable(_))));
}
