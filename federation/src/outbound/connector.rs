//! Connecting to a server: by its authority to addresses, through the guard, to a TLS stream for the right name.

use std::{
    error::Error as StdError,
    io,
    net::SocketAddr,
    pin::Pin,
    sync::Arc,
    task::{Context, Poll},
    time::Duration,
};

use futures_util::future::select_ok;
use hs_outbound::Guard;
use http::Uri;
use hyper::rt::{Read, ReadBufCursor, Write};
use hyper_util::{
    client::legacy::connect::{Connected, Connection},
    rt::TokioIo,
};
use ruma::ServerName;
use rustls::{ClientConfig, pki_types};
use tokio::{net::TcpStream, time::timeout};
use tokio_rustls::{TlsConnector, client::TlsStream};
use tower::Service;

use crate::discovery::{Discovery, DnsError, literal};

/// How long it may take from the name to a TLS stream.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(10);
/// After how long the next address is tried beside those before it.
const NEXT_ADDRESS_AFTER: Duration = Duration::from_millis(300);

/// Why there is no connection.
#[derive(Debug, thiserror::Error)]
pub(super) enum ConnectError {
    #[error("the server's name is none")]
    Name,
    #[error(transparent)]
    Dns(#[from] DnsError),
    #[error("the server's address is in a private or reserved network")]
    Forbidden,
    #[error("cannot connect: {0}")]
    Refused(io::Error),
    #[error("TLS failed: {0}")]
    Tls(io::Error),
    #[error("connecting took too long")]
    Timeout,
}

impl ConnectError {
    /// The error of this kind among the causes of another.
    pub(super) fn find<'a>(error: &'a (dyn StdError + 'static)) -> Option<&'a Self> {
        let mut cause = Some(error);
        while let Some(error) = cause {
            if let Some(found) = error.downcast_ref() {
                return Some(found);
            }
            cause = error.source();
        }
        None
    }
}

/// Makes connections. Cloning is cheap.
#[derive(Clone)]
pub(super) struct Connector {
    discovery: Discovery,
    guard: Guard,
    tls: TlsConnector,
}

impl Connector {
    pub(super) fn new(discovery: Discovery, guard: Guard, tls: ClientConfig) -> Self {
        Self { discovery, guard, tls: TlsConnector::from(Arc::new(tls)) }
    }

    async fn connect(self, uri: Uri) -> Result<TlsIo, ConnectError> {
        let authority = uri.authority().map_or("", |authority| authority.as_str());
        let authority = <&ServerName>::try_from(authority).map_err(|_| ConnectError::Name)?;
        let addresses = self.discovery.addresses(authority).await?;
        let addresses = addresses.into_iter().filter(|address| self.guard.allows(address.ip()));
        let attempts: Vec<_> =
            addresses.enumerate().map(|(index, address)| attempt(index, address)).collect();
        if attempts.is_empty() {
            return Err(ConnectError::Forbidden);
        }
        let (stream, _) = select_ok(attempts).await.map_err(ConnectError::Refused)?;
        // Small requests are the rule, and nothing follows them that they could wait for.
        stream.set_nodelay(true).map_err(ConnectError::Refused)?;
        let name = certificate_name(authority.host()).ok_or(ConnectError::Name)?;
        let stream = self.tls.connect(name, stream).await.map_err(ConnectError::Tls)?;
        Ok(TlsIo(TokioIo::new(stream)))
    }
}

/// Connects to the address, a little later the further down the list it stands.
fn attempt(index: usize, address: SocketAddr) -> Pin<Box<dyn Future<Output = io::Result<TcpStream>> + Send>> {
    Box::pin(async move {
        if index > 0 {
            tokio::time::sleep(NEXT_ADDRESS_AFTER.saturating_mul(index as u32)).await;
        }
        TcpStream::connect(address).await
    })
}

/// What the certificate must be for: an address, which is not told to the server beforehand, or a name, which is.
fn certificate_name(host: &str) -> Option<pki_types::ServerName<'static>> {
    match literal(host) {
        Some(address) => Some(pki_types::ServerName::IpAddress(address.into())),
        None => host.trim_end_matches('.').to_owned().try_into().ok(),
    }
}

impl Service<Uri> for Connector {
    type Response = TlsIo;
    type Error = ConnectError;
    type Future = Pin<Box<dyn Future<Output = Result<TlsIo, ConnectError>> + Send>>;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<Result<(), ConnectError>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, uri: Uri) -> Self::Future {
        let connector = self.clone();
        Box::pin(async move {
            timeout(CONNECT_TIMEOUT, connector.connect(uri)).await.map_err(|_| ConnectError::Timeout)?
        })
    }
}

/// A TLS stream that knows whether HTTP/2 was agreed on.
pub(super) struct TlsIo(TokioIo<TlsStream<TcpStream>>);

impl Connection for TlsIo {
    fn connected(&self) -> Connected {
        let (_, session) = self.0.inner().get_ref();
        match session.alpn_protocol() {
            Some(b"h2") => Connected::new().negotiated_h2(),
            _ => Connected::new(),
        }
    }
}

impl Read for TlsIo {
    fn poll_read(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        buffer: ReadBufCursor<'_>,
    ) -> Poll<io::Result<()>> {
        Pin::new(&mut self.0).poll_read(context, buffer)
    }
}

impl Write for TlsIo {
    fn poll_write(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.0).poll_write(context, bytes)
    }

    fn poll_flush(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.0).poll_flush(context)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.0).poll_shutdown(context)
    }

    fn is_write_vectored(&self) -> bool {
        self.0.is_write_vectored()
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        buffers: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.0).poll_write_vectored(context, buffers)
    }
}
