use std::net::SocketAddr;

use axum::routing::get;
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::{TcpStream, UnixStream},
};

use super::*;

const PATIENCE: Duration = Duration::from_secs(10);

fn http() -> Http {
    Http { header_timeout_seconds: 1, ..Http::default() }
}

async fn serve(http: &Http, router: Router) -> (HttpServer, SocketAddr) {
    let bound = Bound::new(&Bind::Tcp(SocketAddr::from(([127, 0, 0, 1], 0))), None).await.unwrap();
    let address = bound.socket.tcp_address().unwrap();
    let mut server = HttpServer::new(http);
    server.serve(bound, router);
    (server, address)
}

/// Sends `request` and reads until the server closes the connection.
async fn exchange(mut stream: impl AsyncReadExt + AsyncWriteExt + Unpin, request: &str) -> String {
    stream.write_all(request.as_bytes()).await.unwrap();
    let mut answer = String::new();
    tokio::time::timeout(PATIENCE, stream.read_to_string(&mut answer)).await.unwrap().unwrap();
    answer
}

const REQUEST: &str = "GET / HTTP/1.1\r\nhost: x\r\nconnection: close\r\n\r\n";

#[tokio::test]
async fn request_is_answered_over_tcp_and_unix_socket() {
    let router = Router::new().route("/", get(async || "hello"));
    let (mut server, address) = serve(&http(), router.clone()).await;
    let path = std::env::temp_dir().join(format!("kith-listener-{}.sock", std::process::id()));
    let unix = Bound::new(&Bind::Unix(path.clone()), None).await.unwrap();
    server.serve(unix, router);

    let tcp = exchange(TcpStream::connect(address).await.unwrap(), REQUEST).await;
    let unix = exchange(UnixStream::connect(&path).await.unwrap(), REQUEST).await;

    assert!(tcp.ends_with("hello"), "{tcp}");
    assert!(unix.ends_with("hello"), "{unix}");
    server.drain(PATIENCE).await;
    assert!(!path.exists());
}

#[tokio::test]
async fn silent_client_is_disconnected() {
    let (_server, address) = serve(&http(), Router::new()).await;

    for beginning in ["", "P", "GET / HT", "GET / HTTP/1.1\r\nhost: x\r\n"] {
        let answer = exchange(TcpStream::connect(address).await.unwrap(), beginning).await;

        assert!(!answer.contains("200"), "{answer}");
    }
}

#[tokio::test]
async fn request_under_way_is_finished_when_draining() {
    let (started, mut has_started) = tokio::sync::mpsc::channel(1);
    let (finish, may_finish) = tokio::sync::watch::channel(false);
    let handler = async move || {
        started.send(()).await.unwrap();
        may_finish.clone().wait_for(|finish| *finish).await.unwrap();
        "done"
    };
    let (server, address) = serve(&http(), Router::new().route("/", get(handler))).await;
    let stream = TcpStream::connect(address).await.unwrap();

    let (answer, (), ()) = tokio::join!(
        exchange(stream, "GET / HTTP/1.1\r\nhost: x\r\n\r\n"),
        async {
            has_started.recv().await.unwrap();
            server.drain(PATIENCE).await;
        },
        async {
            server.draining().cancelled().await;
            finish.send(true).unwrap();
        },
    );

    assert!(answer.ends_with("done"), "{answer}");
    assert!(TcpStream::connect(address).await.is_err());
}

#[tokio::test]
async fn draining_does_not_wait_forever() {
    let handler = async || std::future::pending::<&'static str>().await;
    let (server, address) = serve(&http(), Router::new().route("/", get(handler))).await;
    let mut stream = TcpStream::connect(address).await.unwrap();
    stream.write_all(REQUEST.as_bytes()).await.unwrap();

    server.drain(Duration::from_millis(50)).await;

    let mut answer = String::new();
    let _ = stream.read_to_string(&mut answer).await;
    assert_eq!(answer, "");
}

#[tokio::test]
async fn connections_beyond_the_limit_wait_for_their_turn() {
    let http = Http { max_connections: 1, ..http() };
    let (_server, address) = serve(&http, Router::new().route("/", get(async || "hello"))).await;
    let first = TcpStream::connect(address).await.unwrap();

    let second = tokio::time::timeout(PATIENCE, async {
        let second = TcpStream::connect(address).await.unwrap();
        drop(first);
        exchange(second, REQUEST).await
    });

    assert!(second.await.unwrap().ends_with("hello"));
}

#[tokio::test]
async fn head_beyond_the_limit_is_refused() {
    let (_server, address) = serve(&http(), Router::new().route("/", get(async || "hello"))).await;
    let long = format!("GET /?{} HTTP/1.1\r\nhost: x\r\nconnection: close\r\n\r\n", "a".repeat(70_000));
    let mut stream = TcpStream::connect(address).await.unwrap();

    // The server may close before it has read everything, which the client then sees as an error of its own.
    let _ = stream.write_all(long.as_bytes()).await;
    let mut answer = Vec::new();
    let _ = stream.read_to_end(&mut answer).await;

    assert!(!String::from_utf8_lossy(&answer).contains("200 OK"));
}

#[tokio::test]
async fn missing_certificate_is_named() {
    let tls = Tls { certificate: "/nonexistent/c.pem".into(), key: "/nonexistent/k.pem".into() };

    let error = Bound::new(&Bind::Tcp(SocketAddr::from(([127, 0, 0, 1], 0))), Some(&tls)).await.unwrap_err();

    assert!(error.to_string().contains("/nonexistent/c.pem"), "{error}");
}

mod tls {
    use std::{path::PathBuf, sync::Arc};

    use rustls::{
        ClientConfig, RootCertStore,
        pki_types::{CertificateDer, ServerName, pem::PemObject},
    };
    use tokio_rustls::TlsConnector;

    use super::*;

    fn fixture(name: &str) -> PathBuf {
        PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("src/listener/fixtures").join(name)
    }

    /// A client that trusts only the certificate of this name.
    fn connector(trusted: &str) -> TlsConnector {
        let mut roots = RootCertStore::empty();
        roots.add(CertificateDer::from_pem_file(fixture(trusted)).unwrap()).unwrap();
        let config = ClientConfig::builder_with_provider(Arc::new(rustls::crypto::ring::default_provider()))
            .with_safe_default_protocol_versions()
            .unwrap()
            .with_root_certificates(roots)
            .with_no_client_auth();
        TlsConnector::from(Arc::new(config))
    }

    async fn fetch(address: SocketAddr, trusted: &str) -> io::Result<String> {
        let stream = TcpStream::connect(address).await?;
        let name = ServerName::try_from("localhost").unwrap();
        let stream = connector(trusted).connect(name, stream).await?;
        Ok(exchange(stream, REQUEST).await)
    }

    #[tokio::test]
    async fn certificate_is_replaced_without_a_restart() {
        let directory = std::env::temp_dir().join(format!("kith-tls-{}", std::process::id()));
        std::fs::create_dir_all(&directory).unwrap();
        let files = Tls { certificate: directory.join("cert.pem"), key: directory.join("key.pem") };
        let install = |name: &str| {
            std::fs::copy(fixture(&format!("{name}.pem")), &files.certificate).unwrap();
            std::fs::copy(fixture(&format!("{name}.key")), &files.key).unwrap();
        };
        install("one");
        let bind = Bind::Tcp(SocketAddr::from(([127, 0, 0, 1], 0)));
        let bound = Bound::new(&bind, Some(&files)).await.unwrap();
        let address = bound.socket.tcp_address().unwrap();
        let mut server = HttpServer::new(&http());
        server.serve(bound, Router::new().route("/", get(async || "hello")));
        assert!(fetch(address, "one.pem").await.unwrap().ends_with("hello"));

        install("two");
        server.reload_certificates();

        assert!(fetch(address, "two.pem").await.unwrap().ends_with("hello"));
        assert!(fetch(address, "one.pem").await.is_err());
        // One that cannot be used leaves the last good one in place.
        std::fs::write(&files.certificate, "nonsense").unwrap();
        server.reload_certificates();
        assert!(fetch(address, "two.pem").await.unwrap().ends_with("hello"));
        std::fs::remove_dir_all(&directory).unwrap();
    }
}
