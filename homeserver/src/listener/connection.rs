//! One connection, HTTP/1 or HTTP/2.

use std::{
    net::IpAddr,
    pin::pin,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    time::Duration,
};

use axum::{Router, body::Body};
use hs_http::client_ip::PeerAddr;
use http::Request;
use hyper::{body::Incoming, service::service_fn};
use hyper_util::{
    rt::{TokioExecutor, TokioIo, TokioTimer},
    server::conn::auto::Builder,
};
use tokio::io::{AsyncRead, AsyncWrite};
use tokio_util::sync::CancellationToken;
use tower::Service;

use super::stalled::StallGuard;

/// The longest request head: a filter in a query is the longest thing there.
const MAX_HEAD_BYTES: usize = 64 * 1024;

/// Requests that one HTTP/2 connection may have going at once. A reverse proxy puts many clients on one.
const MAX_STREAMS: u32 = 1000;

/// How often an HTTP/2 connection is asked whether it is still there, and how long it may take to say so.
const PING_INTERVAL: Duration = Duration::from_mins(1);
const PING_TIMEOUT: Duration = Duration::from_secs(20);

/// What a connection is answered with.
pub(super) struct Connection {
    pub(super) router: Router,
    pub(super) peer: Option<IpAddr>,
    pub(super) header_timeout: Duration,
    pub(super) drain: CancellationToken,
}

impl Connection {
    pub(super) async fn serve(self, stream: impl AsyncRead + AsyncWrite + Send + Unpin + 'static) {
        let Self { router, peer, header_timeout, drain } = self;
        let has_asked = Arc::new(AtomicBool::new(false));
        let asks = Arc::clone(&has_asked);
        let service = service_fn(move |mut request: Request<Incoming>| {
            asks.store(true, Ordering::Relaxed);
            request.extensions_mut().insert(PeerAddr(peer));
            router.clone().call(request.map(Body::new))
        });
        let builder = builder(header_timeout);
        let mut connection = pin!(builder.serve_connection(TokioIo::new(StallGuard::new(stream)), service));
        let mut draining = pin!(drain.cancelled_owned());
        let mut is_draining = false;
        // Which protocol the client speaks is only known once it has spoken, so no timer of a protocol runs until then.
        let mut first_request = pin!(tokio::time::sleep(header_timeout));
        let mut is_first = true;
        loop {
            tokio::select! {
                // Errors are about clients that left or talk nonsense.
                _ = connection.as_mut() => return,
                () = draining.as_mut(), if !is_draining => {
                    is_draining = true;
                    connection.as_mut().graceful_shutdown();
                }
                () = first_request.as_mut(), if is_first => {
                    if !has_asked.load(Ordering::Relaxed) {
                        return;
                    }
                    is_first = false;
                }
            }
        }
    }
}

fn builder(header_timeout: Duration) -> Builder<TokioExecutor> {
    let mut builder = Builder::new(TokioExecutor::new());
    builder
        .http1()
        .timer(TokioTimer::new())
        .header_read_timeout(header_timeout)
        .max_buf_size(MAX_HEAD_BYTES)
        .http2()
        .timer(TokioTimer::new())
        .keep_alive_interval(PING_INTERVAL)
        .keep_alive_timeout(PING_TIMEOUT)
        .max_concurrent_streams(MAX_STREAMS)
        .max_header_list_size(MAX_HEAD_BYTES as u32);
    builder
}
