//! Finding a server: from its name to the addresses to connect to, the name in its certificate, and the `Host` to ask for.
//!
//! This takes two steps. The first turns a server name into an authority: itself, or what the server's `.well-known` says
//! ([`Discovery::authority`]). An authority is what stands in the `Host` header, and its host is what the certificate must
//! be for. The second ([`Discovery::addresses`]) turns an authority into addresses, through SRV records where it has no
//! port; for a delegated authority the rules are the same as for a name that delegates nothing.
//!
//! Specification: <https://spec.matrix.org/v1.19/server-server-api/#resolving-server-names>

mod dns;
mod well_known;

use std::{
    net::{IpAddr, SocketAddr},
    sync::Arc,
};

use rand::RngExt as _;
use ruma::{OwnedServerName, ServerName};

pub use self::{
    dns::{Dns, DnsError, DnsFuture, Hickory, NoDns, SrvRecord},
    well_known::{Fetch, FetchFuture, Fetched, HttpFetch, WellKnownCache},
};

/// The port of servers that name none.
const DEFAULT_PORT: u16 = 8448;

/// To how many addresses a name may lead. More would only make giving up take longer.
const MAX_ADDRESSES: usize = 8;

/// The service of servers in the DNS, and the one from before it was registered.
const SERVICES: [&str; 2] = ["_matrix-fed._tcp", "_matrix._tcp"];

/// Finds servers. Cloning is cheap.
#[derive(Clone, Debug)]
pub struct Discovery {
    dns: Arc<dyn Dns>,
    well_known: WellKnownCache,
}

impl Discovery {
    /// Discovery that asks `dns`, and keeps what `well_known` was answered.
    pub fn new(dns: Arc<dyn Dns>, well_known: WellKnownCache) -> Self {
        Self { dns, well_known }
    }

    /// The authority to connect to for a server: steps 1 to 3 of the specification.
    pub async fn authority(&self, server: &ServerName) -> OwnedServerName {
        if server.is_ip_literal() || server.port().is_some() {
            return server.to_owned();
        }
        self.well_known.find(server).await.unwrap_or_else(|| server.to_owned())
    }

    /// The addresses of an authority, in the order in which to try them: steps 3.1 to 3.5, and 4 to 6.
    pub async fn addresses(&self, authority: &ServerName) -> Result<Vec<SocketAddr>, DnsError> {
        let host = authority.host();
        if let Some(address) = literal(host) {
            return Ok(vec![SocketAddr::new(address, authority.port().unwrap_or(DEFAULT_PORT))]);
        }
        if let Some(port) = authority.port() {
            return self.lookup(host, port).await;
        }
        for service in SERVICES {
            // Some name servers answer questions about services with an error where there is simply none.
            let records = self.dns.srv(&format!("{service}.{host}.")).await.unwrap_or_else(|error| {
                tracing::debug!(%host, %service, %error, "cannot look up a service");
                Vec::new()
            });
            if !records.is_empty() {
                return self.lookup_all(records).await;
            }
        }
        self.lookup(host, DEFAULT_PORT).await
    }

    async fn lookup(&self, host: &str, port: u16) -> Result<Vec<SocketAddr>, DnsError> {
        let addresses = self.dns.addresses(&format!("{}.", host.trim_end_matches('.'))).await?;
        if addresses.is_empty() {
            return Err(DnsError::NotFound(host.to_owned()));
        }
        Ok(addresses.into_iter().take(MAX_ADDRESSES).map(|address| SocketAddr::new(address, port)).collect())
    }

    async fn lookup_all(&self, records: Vec<SrvRecord>) -> Result<Vec<SocketAddr>, DnsError> {
        let mut found = Vec::new();
        let mut error = DnsError::NotFound("the target of its SRV records".to_owned());
        for record in in_order(records, &mut |bound| rand::rng().random_range(0..bound)) {
            // The root as target means that there is no such service.
            if record.target.trim_end_matches('.').is_empty() {
                continue;
            }
            match self.lookup(&record.target, record.port).await {
                Ok(addresses) => found.extend(addresses),
                Err(failed) => error = failed,
            }
            if found.len() >= MAX_ADDRESSES {
                break;
            }
        }
        found.truncate(MAX_ADDRESSES);
        if found.is_empty() { Err(error) } else { Ok(found) }
    }
}

/// The address that a host is, if it is one.
pub(crate) fn literal(host: &str) -> Option<IpAddr> {
    host.trim_matches(['[', ']']).parse().ok()
}

/// Sorts records by priority, and those of one priority by a draw in which weight is luck (RFC 2782).
fn in_order(mut records: Vec<SrvRecord>, draw: &mut dyn FnMut(u32) -> u32) -> Vec<SrvRecord> {
    // Those without weight first, so that they have a chance at all.
    records.sort_by_key(|record| (record.priority, record.weight));
    let mut ordered = Vec::with_capacity(records.len());
    while let Some(first) = records.first() {
        let priority = first.priority;
        let group = records.iter().take_while(|record| record.priority == priority).count();
        let total: u32 = records[..group].iter().map(|record| u32::from(record.weight)).sum();
        let mut left = draw(total + 1);
        let chosen = records[..group].iter().position(|record| {
            let weight = u32::from(record.weight);
            let is_chosen = left <= weight;
            left = left.saturating_sub(weight);
            is_chosen
        });
        ordered.push(records.remove(chosen.unwrap_or(0)));
    }
    ordered
}

#[cfg(test)]
mod tests;
