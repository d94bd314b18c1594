//! The network between servers, with switches in it: whom a case parts hears nothing of each other until it says so.
//!
//! Each server of a network is reached through a listener of this process, which ends TLS, reads who asks, and either
//! hands the request on or closes the connection.

use std::collections::BTreeSet;
use std::net::SocketAddr;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use http::header::AUTHORIZATION;
use http::{Request, Response};
use hyper::body::Incoming;
use hyper::service::service_fn;
use hyper_util::rt::TokioIo;
use tokio::net::{TcpListener, TcpStream};
use tokio::task::{JoinHandle, JoinSet};
use tokio_rustls::TlsAcceptor;

use crate::authority::Authority;

/// Which servers cannot reach which.
#[derive(Clone, Debug, Default)]
pub struct Network {
    cut: Arc<Mutex<Cut>>,
}

#[derive(Debug, Default)]
struct Cut {
    pairs: BTreeSet<(String, String)>,
    /// Nobody reaches these, not even for their keys.
    alone: BTreeSet<String>,
}

impl Network {
    /// A network in which everybody reaches everybody.
    pub fn new() -> Self {
        Self::default()
    }

    /// These two hear nothing of each other any more.
    pub fn part(&self, one: &str, other: &str) {
        self.lock().pairs.insert(pair(one, other));
    }

    /// Nobody of the one group hears anything of the other group any more.
    pub fn part_groups(&self, one: &[&str], other: &[&str]) {
        for left in one {
            for right in other {
                self.part(left, right);
            }
        }
    }

    /// Nobody reaches this server any more (it still reaches others).
    pub fn hide(&self, server: &str) {
        self.lock().alone.insert(server.to_owned());
    }

    /// Everybody reaches everybody again.
    pub fn heal(&self) {
        let mut cut = self.lock();
        cut.pairs.clear();
        cut.alone.clear();
    }

    fn lets_through(&self, from: Option<&str>, to: &str) -> bool {
        let cut = self.lock();
        !cut.alone.contains(to) && from.is_none_or(|from| !cut.pairs.contains(&pair(from, to)))
    }

    fn lock(&self) -> MutexGuard<'_, Cut> {
        self.cut.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Listens for a server, and hands on to where it listens itself.
    pub(crate) async fn listen(&self, address: SocketAddr, behind: SocketAddr) -> Switch {
        let listener = TcpListener::bind(address).await.expect("the address was free");
        let acceptor = TlsAcceptor::from(Authority::get().server(address.ip()));
        let (network, name) = (self.clone(), address.to_string());
        let task = tokio::spawn(async move {
            let mut connections = JoinSet::new();
            while let Ok((stream, _)) = listener.accept().await {
                stream.set_nodelay(true).ok();
                let (acceptor, network, name) = (acceptor.clone(), network.clone(), name.clone());
                connections.spawn(async move {
                    let Ok(stream) = acceptor.accept(stream).await else { return };
                    let service = service_fn(|request| network.pass(request, &name, behind));
                    let connection = hyper::server::conn::http1::Builder::new();
                    // Either side may go away in the middle; that is what a network is like.
                    connection.serve_connection(TokioIo::new(stream), service).await.ok();
                });
                while connections.try_join_next().is_some() {}
            }
        });
        Switch { task }
    }

    async fn pass(
        &self,
        request: Request<Incoming>,
        to: &str,
        behind: SocketAddr,
    ) -> Result<Response<Incoming>, Lost> {
        let header = request.headers().get(AUTHORIZATION).and_then(|value| value.to_str().ok());
        let origin = header.and_then(origin_of);
        if !self.lets_through(origin.as_deref(), to) {
            return Err(Lost);
        }
        let stream = TcpStream::connect(behind).await.map_err(|_| Lost)?;
        stream.set_nodelay(true).ok();
        let (mut sender, connection) =
            hyper::client::conn::http1::handshake(TokioIo::new(stream)).await.map_err(|_| Lost)?;
        tokio::spawn(connection);
        let response = sender.send_request(request).await.map_err(|_| Lost)?;
        // What was asked before the cut is not answered after it.
        if self.lets_through(origin.as_deref(), to) { Ok(response) } else { Err(Lost) }
    }
}

/// The listener of one server; it ends with this value.
#[derive(Debug)]
pub(crate) struct Switch {
    task: JoinHandle<()>,
}

impl Drop for Switch {
    fn drop(&mut self) {
        self.task.abort();
    }
}

/// The request goes nowhere, and the connection is closed.
#[derive(Debug)]
struct Lost;

impl std::fmt::Display for Lost {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        formatter.write_str("the network is cut")
    }
}

impl std::error::Error for Lost {}

fn pair(one: &str, other: &str) -> (String, String) {
    let (first, second) = if one < other { (one, other) } else { (other, one) };
    (first.to_owned(), second.to_owned())
}

/// Who asks, as an `X-Matrix` header says it.
fn origin_of(header: &str) -> Option<String> {
    let fields = header.split_once(' ')?.1;
    fields.split(',').find_map(|field| {
        let (key, value) = field.trim().split_once('=')?;
        key.eq_ignore_ascii_case("origin").then(|| value.trim_matches('"').to_owned())
    })
}
