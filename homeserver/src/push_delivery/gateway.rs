//! Requests to push gateways. Users choose the URL, so it must not lead into the server's own network.

use std::{
    net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr},
    sync::Arc,
    time::Duration,
};

use ipnet::IpNet;
use reqwest::{
    Client, Url,
    dns::{Addrs, Name, Resolve, Resolving},
    redirect::Policy,
};
use serde::Deserialize;
use serde_json::Value;

const TIMEOUT: Duration = Duration::from_secs(10);
/// The most bytes of an answer that are read.
const MAX_ANSWER_BYTES: usize = 64 * 1024;

/// Why a gateway did not take a notification.
#[derive(Debug, thiserror::Error)]
pub(super) enum GatewayError {
    /// The URL leads nowhere it may lead.
    #[error("the gateway's address is not allowed")]
    Forbidden,
    /// It could not be reached.
    #[error("the gateway cannot be reached: {0}")]
    Unreachable(#[from] reqwest::Error),
    /// It did not take the notification.
    #[error("the gateway answered {0}")]
    Refused(u16),
    /// Its answer is not what the specification says.
    #[error("the gateway's answer is none")]
    Nonsense,
}

#[derive(Deserialize)]
struct Answer {
    #[serde(default)]
    rejected: Vec<String>,
}

/// The way to push gateways.
#[derive(Clone, Debug)]
pub(super) struct Gateways {
    client: Client,
    guard: Arc<Guard>,
}

impl Gateways {
    /// `allowed` are those private networks that gateways may be in.
    pub(super) fn new(allowed: Vec<IpNet>) -> Result<Self, reqwest::Error> {
        let guard = Arc::new(Guard { allowed });
        let client = Client::builder()
            .timeout(TIMEOUT)
            .redirect(Policy::none())
            .no_proxy()
            .dns_resolver(guard.clone())
            .user_agent(concat!("Kith/", env!("CARGO_PKG_VERSION")))
            .build()?;
        Ok(Self { client, guard })
    }

    /// Sends a notification; returns the keys that the gateway wants to hear of no longer.
    pub(super) async fn notify(&self, url: &str, body: &Value) -> Result<Vec<String>, GatewayError> {
        let url: Url = url.parse().map_err(|_| GatewayError::Forbidden)?;
        // Addresses in the URL itself are not looked up, so the guard does not see them.
        let literal = url.host_str().and_then(|host| host.trim_matches(['[', ']']).parse::<IpAddr>().ok());
        if literal.is_some_and(|address| !self.guard.allows(address)) {
            return Err(GatewayError::Forbidden);
        }
        let mut response = self.client.post(url).json(body).send().await?;
        if !response.status().is_success() {
            return Err(GatewayError::Refused(response.status().as_u16()));
        }
        let mut answer = Vec::new();
        while let Some(chunk) = response.chunk().await? {
            if answer.len() + chunk.len() > MAX_ANSWER_BYTES {
                return Err(GatewayError::Nonsense);
            }
            answer.extend_from_slice(&chunk);
        }
        // Some gateways answer with nothing at all.
        if answer.is_empty() {
            return Ok(Vec::new());
        }
        let answer: Answer = serde_json::from_slice(&answer).map_err(|_| GatewayError::Nonsense)?;
        Ok(answer.rejected)
    }
}

/// Looks names up, and keeps to itself where they must not lead.
#[derive(Debug)]
struct Guard {
    allowed: Vec<IpNet>,
}

impl Guard {
    fn allows(&self, address: IpAddr) -> bool {
        let address = address.to_canonical();
        is_public(address) || self.allowed.iter().any(|range| range.contains(&address))
    }
}

/// [`Guard`] as reqwest wants it.
impl Resolve for Guard {
    fn resolve(&self, name: Name) -> Resolving {
        let guard = Self { allowed: self.allowed.clone() };
        Box::pin(async move {
            let found = tokio::net::lookup_host((name.as_str(), 0)).await?;
            let allowed: Vec<SocketAddr> = found.filter(|address| guard.allows(address.ip())).collect();
            if allowed.is_empty() {
                return Err(GatewayError::Forbidden.into());
            }
            let addresses: Addrs = Box::new(allowed.into_iter());
            Ok(addresses)
        })
    }
}

fn is_public(address: IpAddr) -> bool {
    match address {
        IpAddr::V4(address) => is_public_v4(address),
        IpAddr::V6(address) => is_public_v6(address),
    }
}

fn is_public_v4(address: Ipv4Addr) -> bool {
    let [a, b, ..] = address.octets();
    let is_shared = a == 100 && b & 0b1100_0000 == 64;
    !(address.is_private()
        || address.is_loopback()
        || address.is_link_local()
        || address.is_broadcast()
        || address.is_multicast()
        || is_shared
        || a == 0
        || a >= 240)
}

fn is_public_v6(address: Ipv6Addr) -> bool {
    !(address.is_loopback()
        || address.is_unspecified()
        || address.is_multicast()
        || address.is_unique_local()
        || address.is_unicast_link_local())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn own_networks_are_out_of_reach_unless_allowed() {
        let guard = Guard { allowed: vec!["10.1.0.0/16".parse().unwrap()] };
        for address in ["127.0.0.1", "10.2.0.1", "192.168.1.1", "169.254.1.1", "100.64.0.1", "0.0.0.0", "::1"]
        {
            assert!(!guard.allows(address.parse().unwrap()), "{address}");
        }
        for address in ["fd00::1", "fe80::1", "::ffff:127.0.0.1", "255.255.255.255"] {
            assert!(!guard.allows(address.parse().unwrap()), "{address}");
        }
        for address in ["10.1.2.3", "::ffff:10.1.2.3", "1.1.1.1", "2606:4700::1111"] {
            assert!(guard.allows(address.parse().unwrap()), "{address}");
        }
    }
}
