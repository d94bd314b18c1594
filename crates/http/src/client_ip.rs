//! The address of the client, seen through trusted proxies.

use std::{
    net::{IpAddr, Ipv6Addr},
    sync::Arc,
};

use axum::{
    extract::{Request, State},
    middleware::Next,
    response::Response,
};
use http::HeaderMap;
use ipnet::IpNet;

/// The header in which proxies list the addresses that a request came through, the nearest last.
const X_FORWARDED_FOR: &str = "x-forwarded-for";

/// Who holds the other end of the connection. Put into the request's extensions by the listener; `None` for a unix
/// socket, whose other end is always a trusted proxy.
#[derive(Clone, Copy, Debug)]
pub struct PeerAddr(pub Option<IpAddr>);

/// The address of the client, in the request's extensions. For a unix socket without a forwarding header this is the
/// loopback address.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct ClientIp(pub IpAddr);

/// The proxies of a listener, whose `X-Forwarded-For` is believed.
#[derive(Clone, Debug, Default)]
pub struct TrustedProxies(Arc<[IpNet]>);

impl TrustedProxies {
    /// The proxies in these networks.
    pub fn new(networks: impl IntoIterator<Item = IpNet>) -> Self {
        Self(networks.into_iter().collect())
    }

    fn trusts(&self, address: IpAddr) -> bool {
        self.0.iter().any(|network| network.contains(&address))
    }

    /// The last address on the way here that is not one of ours. What stands left of it in the header is hearsay.
    fn client_ip(&self, peer: Option<IpAddr>, headers: &HeaderMap) -> IpAddr {
        let mut client = peer.map_or(IpAddr::V6(Ipv6Addr::LOCALHOST), |address| address.to_canonical());
        if peer.is_some() && !self.trusts(client) {
            return client;
        }
        let hops: Vec<&str> = headers
            .get_all(X_FORWARDED_FOR)
            .iter()
            .filter_map(|value| value.to_str().ok())
            .flat_map(|value| value.split(','))
            .map(str::trim)
            .collect();
        for hop in hops.into_iter().rev() {
            let Some(address) = parse_hop(hop) else { break };
            client = address;
            if !self.trusts(client) {
                break;
            }
        }
        client
    }
}

/// An address, bare or with a port (some proxies add one).
fn parse_hop(hop: &str) -> Option<IpAddr> {
    let bare = hop.trim_start_matches('[').trim_end_matches(']');
    bare.parse::<IpAddr>()
        .ok()
        .or_else(|| hop.parse::<std::net::SocketAddr>().ok().map(|address| address.ip()))
        .map(|address| address.to_canonical())
}

/// Middleware that puts [`ClientIp`] into the request's extensions.
pub async fn layer(State(proxies): State<TrustedProxies>, mut request: Request, next: Next) -> Response {
    let peer = request.extensions().get::<PeerAddr>().and_then(|peer| peer.0);
    let client = proxies.client_ip(peer, request.headers());
    request.extensions_mut().insert(ClientIp(client));
    next.run(request).await
}

#[cfg(test)]
mod tests {
    use super::*;

    fn client_ip(trusted: &[&str], peer: Option<&str>, forwarded: &[&'static str]) -> String {
        let proxies = TrustedProxies::new(trusted.iter().map(|network| network.parse().unwrap()));
        let mut headers = HeaderMap::new();
        for value in forwarded {
            headers.append(X_FORWARDED_FOR, value.parse().unwrap());
        }
        proxies.client_ip(peer.map(|peer| peer.parse().unwrap()), &headers).to_string()
    }

    #[test]
    fn header_of_a_stranger_is_ignored() {
        assert_eq!(client_ip(&["10.0.0.0/8"], Some("192.0.2.1"), &["198.51.100.7"]), "192.0.2.1");
    }

    #[test]
    fn last_hop_that_is_not_a_proxy_is_the_client() {
        let forwarded = ["203.0.113.9, 198.51.100.7", "10.1.1.1"];

        assert_eq!(client_ip(&["10.0.0.0/8"], Some("10.0.0.1"), &forwarded), "198.51.100.7");
    }

    #[test]
    fn unix_socket_is_always_a_proxy() {
        assert_eq!(client_ip(&[], None, &["198.51.100.7"]), "198.51.100.7");
        assert_eq!(client_ip(&[], None, &[]), "::1");
    }

    #[test]
    fn mapped_addresses_and_ports_are_understood() {
        assert_eq!(
            client_ip(&["127.0.0.0/8"], Some("::ffff:127.0.0.1"), &["[2001:db8::1]:443"]),
            "2001:db8::1"
        );
        assert_eq!(client_ip(&["127.0.0.0/8"], Some("127.0.0.1"), &["198.51.100.7:5"]), "198.51.100.7");
    }

    #[test]
    fn garbage_ends_the_walk_at_the_last_known_hop() {
        assert_eq!(client_ip(&["10.0.0.0/8"], Some("10.0.0.1"), &["unknown, 10.0.0.2"]), "10.0.0.2");
    }
}
