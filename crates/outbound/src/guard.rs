//! Which addresses a request may go to.

use std::{
    net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr},
    sync::Arc,
};

use ipnet::{IpNet, Ipv4Net, Ipv6Net};
use reqwest::{
    Url,
    dns::{Addrs, Name, Resolve, Resolving},
};

/// Blocks that no server on the Internet has an address in.
///
/// <https://www.iana.org/assignments/iana-ipv4-special-registry/>
const SPECIAL_V4: [Ipv4Net; 15] = [
    v4([0, 0, 0, 0], 8),
    v4([10, 0, 0, 0], 8),
    v4([100, 64, 0, 0], 10),
    v4([127, 0, 0, 0], 8),
    v4([169, 254, 0, 0], 16),
    v4([172, 16, 0, 0], 12),
    v4([192, 0, 0, 0], 24),
    v4([192, 0, 2, 0], 24),
    v4([192, 88, 99, 0], 24),
    v4([192, 168, 0, 0], 16),
    v4([198, 18, 0, 0], 15),
    v4([198, 51, 100, 0], 24),
    v4([203, 0, 113, 0], 24),
    v4([224, 0, 0, 0], 4),
    v4([240, 0, 0, 0], 4),
];

/// The same for IPv6.
///
/// <https://www.iana.org/assignments/iana-ipv6-special-registry/>
const SPECIAL_V6: [Ipv6Net; 10] = [
    // Unspecified, loopback, and the old way to write an IPv4 address.
    v6([0, 0, 0, 0, 0, 0, 0, 0], 96),
    // Translation to IPv4 inside of one network.
    v6([0x64, 0xFF9B, 1, 0, 0, 0, 0, 0], 48),
    v6([0x100, 0, 0, 0, 0, 0, 0, 0], 64),
    // Teredo: an IPv4 address in disguise.
    v6([0x2001, 0, 0, 0, 0, 0, 0, 0], 32),
    v6([0x2001, 0xDB8, 0, 0, 0, 0, 0, 0], 32),
    v6([0x3FFF, 0, 0, 0, 0, 0, 0, 0], 20),
    v6([0xFC00, 0, 0, 0, 0, 0, 0, 0], 7),
    v6([0xFE80, 0, 0, 0, 0, 0, 0, 0], 10),
    v6([0xFEC0, 0, 0, 0, 0, 0, 0, 0], 10),
    v6([0xFF00, 0, 0, 0, 0, 0, 0, 0], 8),
];

/// Translation to IPv4 (NAT64), and addresses of 6to4: both lead to the IPv4 address that they contain.
const NAT64: Ipv6Net = v6([0x64, 0xFF9B, 0, 0, 0, 0, 0, 0], 96);
const SIX_TO_FOUR: Ipv6Net = v6([0x2002, 0, 0, 0, 0, 0, 0, 0], 16);

const fn v4([a, b, c, d]: [u8; 4], prefix: u8) -> Ipv4Net {
    Ipv4Net::new_assert(Ipv4Addr::new(a, b, c, d), prefix)
}

const fn v6(parts: [u16; 8], prefix: u8) -> Ipv6Net {
    let mut bits = 0;
    let mut at = 0;
    while at < parts.len() {
        bits = (bits << 16) | parts[at] as u128;
        at += 1;
    }
    Ipv6Net::new_assert(Ipv6Addr::from_bits(bits), prefix)
}

/// A request would have gone into a network that it must keep out of.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("the address is in a private or reserved network")]
pub struct ForbiddenAddress;

/// Keeps requests out of private, loopback and otherwise special networks, but for those that the operator allows.
/// Cloning is cheap.
#[derive(Clone, Debug, Default)]
pub struct Guard {
    allowed: Arc<[IpNet]>,
}

impl Guard {
    /// A guard that lets requests into these networks too.
    pub fn new(allowed: impl IntoIterator<Item = IpNet>) -> Self {
        Self { allowed: allowed.into_iter().collect() }
    }

    /// Whether a request may go to this address.
    pub fn allows(&self, address: IpAddr) -> bool {
        let address = address.to_canonical();
        is_public(address) || self.allowed.iter().any(|range| range.contains(&address))
    }

    /// Refuses a URL whose host is an address that requests may not go to. Names are judged when they are resolved.
    pub fn check_url(&self, url: &Url) -> Result<(), ForbiddenAddress> {
        let literal = url.host_str().and_then(|host| host.trim_matches(['[', ']']).parse::<IpAddr>().ok());
        match literal {
            Some(address) if !self.allows(address) => Err(ForbiddenAddress),
            _ => Ok(()),
        }
    }
}

/// The guard as reqwest wants it: names lead only to allowed addresses, and those are what is connected to.
impl Resolve for Guard {
    fn resolve(&self, name: Name) -> Resolving {
        let guard = self.clone();
        Box::pin(async move {
            let found = tokio::net::lookup_host((name.as_str(), 0)).await?;
            let allowed: Vec<SocketAddr> = found.filter(|address| guard.allows(address.ip())).collect();
            if allowed.is_empty() {
                return Err(ForbiddenAddress.into());
            }
            let addresses: Addrs = Box::new(allowed.into_iter());
            Ok(addresses)
        })
    }
}

fn is_public(address: IpAddr) -> bool {
    match address {
        IpAddr::V4(address) => is_public_v4(address),
        IpAddr::V6(address) => match embedded_v4(address) {
            Some(address) => is_public_v4(address),
            None => !SPECIAL_V6.iter().any(|range| range.contains(&address)),
        },
    }
}

fn is_public_v4(address: Ipv4Addr) -> bool {
    !SPECIAL_V4.iter().any(|range| range.contains(&address))
}

fn embedded_v4(address: Ipv6Addr) -> Option<Ipv4Addr> {
    let octets = address.octets();
    if NAT64.contains(&address) {
        return Some(Ipv4Addr::new(octets[12], octets[13], octets[14], octets[15]));
    }
    SIX_TO_FOUR.contains(&address).then(|| Ipv4Addr::new(octets[2], octets[3], octets[4], octets[5]))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn own_networks_are_out_of_reach_unless_allowed() {
        let guard = Guard::new(["10.1.0.0/16".parse().unwrap()]);
        for address in [
            "127.0.0.1",
            "10.2.0.1",
            "192.168.1.1",
            "169.254.1.1",
            "100.64.0.1",
            "0.0.0.0",
            "198.18.0.1",
            "255.255.255.255",
            "224.0.0.1",
            "::",
            "::1",
            "fd00::1",
            "fe80::1",
            "ff02::1",
            "::ffff:127.0.0.1",
            "::127.0.0.1",
            "64:ff9b::7f00:1",
            "2002:7f00:1::1",
            "2001:db8::1",
        ] {
            assert!(!guard.allows(address.parse().unwrap()), "{address}");
        }
        for address in [
            "10.1.2.3",
            "::ffff:10.1.2.3",
            "1.1.1.1",
            "2606:4700::1111",
            "64:ff9b::101:101",
            "2002:101:101::1",
        ] {
            assert!(guard.allows(address.parse().unwrap()), "{address}");
        }
    }

    #[test]
    fn url_is_judged_by_the_address_in_it() {
        let guard = Guard::default();
        // What stands in a URL is read as browsers read it: 0x7f.1 is an address.
        for url in ["http://127.0.0.1/", "https://[::1]:8448/", "http://0x7f.1/", "http://2130706433/"] {
            assert_eq!(guard.check_url(&url.parse().unwrap()), Err(ForbiddenAddress), "{url}");
        }
        for url in ["https://1.1.1.1/", "https://example.org/", "https://[2606:4700::1111]/"] {
            assert_eq!(guard.check_url(&url.parse().unwrap()), Ok(()), "{url}");
        }
    }
}
