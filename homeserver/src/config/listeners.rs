//! `[[listeners]]`

#![expect(rustdoc::broken_intra_doc_links, reason = "an address in brackets is no link")]

use std::{fmt, net::SocketAddr, path::PathBuf, str::FromStr};

use ipnet::IpNet;
use serde::{Deserialize, Serialize};

use super::{Invalid, section::section};

section! {
    /// Where the server listens. Repeat the section for each address; without one, it listens as shown.
    pub struct Listener {
        /// An address and port ("0.0.0.0:8008", "[::]:8448"), or a unix socket ("unix:/run/kith/kith.sock").
        pub bind: Bind = Bind::Tcp(SocketAddr::from(([127, 0, 0, 1], 8008))),
        /// What is served here: "client" (the client-server API and /.well-known), "federation" (the server-server
        /// API), "health" (/health/live and /health/ready), "metrics" (/metrics).
        pub resources: Vec<Resource> = vec![Resource::Client, Resource::Federation, Resource::Health],
        /// Serve TLS with this certificate chain and key, both PEM files. They are read again on SIGHUP. Unset: plain
        /// HTTP, for use on one machine or behind a reverse proxy.
        #[example = "{ certificate = \"/etc/kith/fullchain.pem\", key = \"/etc/kith/privkey.pem\" }"]
        pub tls: Option<Tls> = None,
        /// Networks of reverse proxies, whose X-Forwarded-For header is believed. The other end of a unix socket always
        /// is.
        #[example = "[\"127.0.0.0/8\", \"::1/128\"]"]
        pub trusted_proxies: Vec<IpNet> = Vec::new(),
    }
}

/// The files of a TLS listener.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Tls {
    /// The certificate and those that lead to a root, PEM.
    pub certificate: PathBuf,
    /// The private key, PEM.
    pub key: PathBuf,
}

/// What a listener serves.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Resource {
    /// The client-server API.
    Client,
    /// The server-server API.
    Federation,
    /// Whether the server is alive and ready.
    Health,
    /// Figures for Prometheus.
    Metrics,
}

/// Where a listener is bound.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Bind {
    /// An address and port.
    Tcp(SocketAddr),
    /// A unix socket.
    Unix(PathBuf),
}

/// The text is no place to listen.
#[derive(Debug, thiserror::Error)]
#[error(
    "`{0}` is neither an address with a port, such as 127.0.0.1:8008, nor a socket, such as unix:/run/kith.sock"
)]
pub struct ParseBindError(String);

impl FromStr for Bind {
    type Err = ParseBindError;

    fn from_str(text: &str) -> Result<Self, ParseBindError> {
        if let Some(path) = text.strip_prefix("unix:") {
            if path.is_empty() {
                return Err(ParseBindError(text.to_owned()));
            }
            return Ok(Self::Unix(PathBuf::from(path)));
        }
        let address = match text.strip_prefix("localhost:") {
            Some(port) => format!("127.0.0.1:{port}").parse(),
            None => text.parse(),
        };
        address.map(Self::Tcp).map_err(|_| ParseBindError(text.to_owned()))
    }
}

impl fmt::Display for Bind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Tcp(address) => address.fmt(f),
            Self::Unix(path) => write!(f, "unix:{}", path.display()),
        }
    }
}

impl Serialize for Bind {
    fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

impl<'de> Deserialize<'de> for Bind {
    fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        String::deserialize(deserializer)?.parse().map_err(serde::de::Error::custom)
    }
}

impl Listener {
    /// Checks what the types do not.
    pub(super) fn validate(&self) -> Result<(), Invalid> {
        if self.resources.is_empty() {
            return Err(Invalid::new("resources", "nothing is served here", "name at least one resource"));
        }
        if self.tls.is_some() && matches!(self.bind, Bind::Unix(_)) {
            return Err(Invalid::new(
                "tls",
                "a unix socket needs no TLS",
                "remove it, or bind to an address",
            ));
        }
        Ok(())
    }
}
