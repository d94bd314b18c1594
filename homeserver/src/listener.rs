//! The HTTP server: accepts connections on any number of addresses and sockets, and ends them in an orderly way.
//!
//! Clients are not trusted to be quick: a connection that sends no whole request head, that sits idle, or that does not
//! read its answer is closed, and their number is bounded.
//!
//! A client that closes its sending side is taken to have left: its request is dropped. So an abandoned long poll costs
//! nothing; clients of HTTP keep both sides open until they have the answer.

mod connection;
mod socket;
mod stalled;
mod tls;

use std::{io, sync::Arc, time::Duration};

use axum::Router;
use metrics::gauge;
use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tokio_util::{sync::CancellationToken, task::TaskTracker};

use self::{
    connection::Connection,
    socket::{Accepted, Stream},
    tls::TlsKeys,
};
pub use self::{socket::Socket, tls::TlsError};
use crate::config::{Bind, Http, Listener, Tls};

/// After the kernel refuses a connection (usually for want of file descriptors), how long until the next try.
const ACCEPT_PAUSE: Duration = Duration::from_millis(100);

/// Why a listener cannot be opened. The texts are for operators.
#[derive(Debug, thiserror::Error)]
pub enum ListenError {
    /// The address or socket is taken, or not ours to take.
    #[error("cannot listen on {bind}: {error}; see `kith check`")]
    Bind {
        /// Where.
        bind: Bind,
        /// Why not.
        error: io::Error,
    },
    /// The certificate or the key cannot be used.
    #[error("cannot serve TLS on {bind}: {error}")]
    Tls {
        /// Where.
        bind: Bind,
        /// Why not.
        error: TlsError,
    },
}

/// A listener that has its address, but does not answer yet.
#[derive(Debug)]
pub struct Bound {
    bind: Bind,
    socket: Socket,
    tls: Option<TlsKeys>,
}

impl Bound {
    /// Takes the address or socket.
    pub async fn new(bind: &Bind, tls: Option<&Tls>) -> Result<Self, ListenError> {
        let tls = tls
            .map(TlsKeys::load)
            .transpose()
            .map_err(|error| ListenError::Tls { bind: bind.clone(), error })?;
        let socket =
            Socket::bind(bind).await.map_err(|error| ListenError::Bind { bind: bind.clone(), error })?;
        Ok(Self { bind: bind.clone(), socket, tls })
    }

    /// Takes the address or socket of a configured listener.
    pub async fn from_config(listener: &Listener) -> Result<Self, ListenError> {
        Self::new(&listener.bind, listener.tls.as_ref()).await
    }
}

/// The listeners of the process and their connections.
#[derive(Debug)]
pub struct HttpServer {
    tasks: TaskTracker,
    drain: CancellationToken,
    abort: CancellationToken,
    free_connections: Arc<Semaphore>,
    header_timeout: Duration,
    keys: Vec<(Bind, TlsKeys)>,
}

impl HttpServer {
    /// A server without listeners.
    pub fn new(http: &Http) -> Self {
        Self {
            tasks: TaskTracker::new(),
            drain: CancellationToken::new(),
            abort: CancellationToken::new(),
            free_connections: Arc::new(Semaphore::new(http.max_connections.min(Semaphore::MAX_PERMITS))),
            header_timeout: Duration::from_secs(http.header_timeout_seconds),
            keys: Vec::new(),
        }
    }

    /// Is cancelled as soon as the server drains: what waits for news answers now.
    pub fn draining(&self) -> CancellationToken {
        self.drain.clone()
    }

    /// Answers the connections of a listener with `router` from now on.
    pub fn serve(&mut self, bound: Bound, router: Router) {
        let Bound { bind, socket, tls } = bound;
        if let Some(keys) = &tls {
            self.keys.push((bind.clone(), keys.clone()));
        }
        let accept = Accept {
            bind,
            tls,
            router,
            tasks: self.tasks.clone(),
            drain: self.drain.clone(),
            abort: self.abort.clone(),
            free_connections: Arc::clone(&self.free_connections),
            header_timeout: self.header_timeout,
        };
        accept.spawn(socket);
    }

    /// Reads all certificates and keys again. Where that fails, the old ones stay in use.
    pub fn reload_certificates(&self) {
        for (bind, keys) in &self.keys {
            match keys.reload() {
                Ok(()) => tracing::info!(%bind, "read the certificate again"),
                Err(error) => {
                    tracing::error!(%bind, %error, "the new certificate cannot be used; the old one stays");
                }
            }
        }
    }

    /// Accepts nothing more, lets requests finish for as long as `patience`, and ends what is left.
    pub async fn drain(&self, patience: Duration) {
        self.drain.cancel();
        self.tasks.close();
        if tokio::time::timeout(patience, self.tasks.wait()).await.is_err() {
            tracing::warn!(connections = self.tasks.len(), "ending connections that did not finish in time");
            self.abort.cancel();
            self.tasks.wait().await;
        }
    }
}

/// Everything that accepting a connection takes.
struct Accept {
    bind: Bind,
    tls: Option<TlsKeys>,
    router: Router,
    tasks: TaskTracker,
    drain: CancellationToken,
    abort: CancellationToken,
    free_connections: Arc<Semaphore>,
    header_timeout: Duration,
}

impl Accept {
    #[expect(clippy::disallowed_methods, reason = "tracked, and waited for by `drain`")]
    fn spawn(self, socket: Socket) {
        let tracker = self.tasks.clone();
        tokio::spawn(tracker.track_future(async move {
            tokio::select! {
                () = self.drain.cancelled() => {}
                () = self.accept_forever(&socket) => {}
            }
        }));
    }

    async fn accept_forever(&self, socket: &Socket) {
        loop {
            let Ok(permit) = Arc::clone(&self.free_connections).acquire_owned().await else { return };
            match socket.accept().await {
                Ok(accepted) => {
                    self.answer(accepted, OpenConnection::new(permit));
                }
                Err(error) if is_about_one_connection(&error) => {}
                Err(error) => {
                    tracing::error!(bind = %self.bind, %error, "cannot accept connections; trying again");
                    tokio::time::sleep(ACCEPT_PAUSE).await;
                }
            }
        }
    }

    #[expect(clippy::disallowed_methods, reason = "tracked, and waited for by `drain`")]
    fn answer(&self, accepted: Accepted, open: OpenConnection) {
        let Accepted { stream, peer } = accepted;
        let connection = Connection {
            router: self.router.clone(),
            peer,
            header_timeout: self.header_timeout,
            drain: self.drain.clone(),
        };
        let tls = self.tls.as_ref().map(TlsKeys::acceptor);
        let header_timeout = self.header_timeout;
        let abort = self.abort.clone();
        tokio::spawn(self.tasks.track_future(async move {
            // Each in a box, so that a plain connection does not take the room of a TLS handshake.
            let answered = async {
                match (stream, tls) {
                    (Stream::Tcp(stream), Some(tls)) => {
                        // A handshake that fails or hangs is the client's affair.
                        let handshake = tokio::time::timeout(header_timeout, tls.accept(stream));
                        if let Ok(Ok(stream)) = Box::pin(handshake).await {
                            Box::pin(connection.serve(stream)).await;
                        }
                    }
                    (Stream::Tcp(stream), None) => Box::pin(connection.serve(stream)).await,
                    (Stream::Unix(stream), _) => Box::pin(connection.serve(stream)).await,
                }
            };
            tokio::select! {
                () = answered => {}
                () = abort.cancelled() => {}
            }
            drop(open);
        }));
    }
}

/// Counts a connection against the limit, and in the figures, until it is dropped.
struct OpenConnection {
    _permit: OwnedSemaphorePermit,
}

impl OpenConnection {
    fn new(permit: OwnedSemaphorePermit) -> Self {
        gauge!("kith_http_connections").increment(1.0);
        Self { _permit: permit }
    }
}

impl Drop for OpenConnection {
    fn drop(&mut self) {
        gauge!("kith_http_connections").decrement(1.0);
    }
}

/// Errors of `accept` that only mean that the client left before it was its turn.
fn is_about_one_connection(error: &io::Error) -> bool {
    matches!(
        error.kind(),
        io::ErrorKind::ConnectionAborted | io::ErrorKind::ConnectionReset | io::ErrorKind::ConnectionRefused
    )
}

#[cfg(test)]
mod tests;
