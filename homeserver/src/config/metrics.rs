//! `[metrics]`

use std::net::SocketAddr;

use super::{Bind, section::section};

section! {
    /// Figures for Prometheus, at /metrics on a listener of their own, since they are nobody else's business. To serve
    /// them on another listener as well, give that one the resource "metrics".
    pub struct Metrics {
        /// Whether to collect and serve figures.
        pub enabled: bool = true,
        /// Where they are served, written as for listeners. In use by another program, the server runs without.
        pub bind: Bind = Bind::Tcp(SocketAddr::from(([127, 0, 0, 1], 9008))),
    }
}
