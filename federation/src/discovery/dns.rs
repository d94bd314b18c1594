//! What discovery asks of the DNS.

use std::{fmt::Debug, future::Future, net::IpAddr, pin::Pin, time::Duration};

use hickory_resolver::{
    TokioResolver,
    config::{LookupIpStrategy, ResolveHosts},
    net::NetError,
    proto::rr::{RData, RecordType},
};

/// How many answers are kept.
const CACHE_SIZE: u64 = 10_000;
/// How long one question to one name server may take.
const TIMEOUT: Duration = Duration::from_secs(3);
/// How long that there is nothing is believed at most.
const NEGATIVE_MAX_TTL: Duration = Duration::from_mins(5);

/// An answer that takes a while.
pub type DnsFuture<'a, T> = Pin<Box<dyn Future<Output = Result<T, DnsError>> + Send + 'a>>;

/// Looks names up. Names end with a dot. That there is nothing is an empty list.
pub trait Dns: Debug + Send + Sync {
    /// The addresses of a name, aliases followed.
    fn addresses<'a>(&'a self, name: &'a str) -> DnsFuture<'a, Vec<IpAddr>>;

    /// The SRV records of a name.
    fn srv<'a>(&'a self, name: &'a str) -> DnsFuture<'a, Vec<SrvRecord>>;
}

/// One SRV record.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SrvRecord {
    /// Lower ones are tried first.
    pub priority: u16,
    /// How many of those who come get this one, among those of one priority.
    pub weight: u16,
    /// The port to connect to.
    pub port: u16,
    /// The name of the machine.
    pub target: String,
}

/// Why a name leads nowhere.
#[derive(Clone, Debug, thiserror::Error)]
pub enum DnsError {
    /// The name has no addresses.
    #[error("{0} has no address")]
    NotFound(String),
    /// The DNS did not answer.
    #[error("the DNS does not answer: {0}")]
    Failed(String),
}

/// The DNS as the system is set up to ask it, with a cache.
#[derive(Clone)]
pub struct Hickory(TokioResolver);

impl Debug for Hickory {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Hickory")
    }
}

impl Hickory {
    /// Reads how the system asks the DNS.
    pub fn from_system() -> Result<Self, DnsError> {
        let failed = |error: NetError| DnsError::Failed(error.to_string());
        let mut builder = TokioResolver::builder_tokio().map_err(failed)?;
        let options = builder.options_mut();
        options.cache_size = CACHE_SIZE;
        options.timeout = TIMEOUT;
        options.attempts = 2;
        options.edns0 = true;
        options.ip_strategy = LookupIpStrategy::Ipv4AndIpv6;
        options.use_hosts_file = ResolveHosts::Always;
        options.negative_max_ttl = Some(NEGATIVE_MAX_TTL);
        builder.build().map(Self).map_err(failed)
    }
}

impl Dns for Hickory {
    fn addresses<'a>(&'a self, name: &'a str) -> DnsFuture<'a, Vec<IpAddr>> {
        Box::pin(async move {
            match self.0.lookup_ip(name).await {
                Ok(found) => Ok(found.iter().collect()),
                Err(error) => empty(error),
            }
        })
    }

    fn srv<'a>(&'a self, name: &'a str) -> DnsFuture<'a, Vec<SrvRecord>> {
        Box::pin(async move {
            match self.0.lookup(name, RecordType::SRV).await {
                Ok(found) => {
                    Ok(found.answers().iter().filter_map(|record| srv_record(&record.data)).collect())
                }
                Err(error) => empty(error),
            }
        })
    }
}

fn srv_record(data: &RData) -> Option<SrvRecord> {
    let RData::SRV(srv) = data else { return None };
    Some(SrvRecord {
        priority: srv.priority,
        weight: srv.weight,
        port: srv.port,
        target: srv.target.to_utf8(),
    })
}

/// That there is nothing is an answer.
fn empty<T>(error: NetError) -> Result<Vec<T>, DnsError> {
    if error.is_no_records_found() { Ok(Vec::new()) } else { Err(DnsError::Failed(error.to_string())) }
}

/// A DNS that is out of order, with what is wrong.
#[derive(Clone, Debug)]
pub struct NoDns(pub DnsError);

impl Dns for NoDns {
    fn addresses<'a>(&'a self, _: &'a str) -> DnsFuture<'a, Vec<IpAddr>> {
        Box::pin(std::future::ready(Err(self.0.clone())))
    }

    fn srv<'a>(&'a self, _: &'a str) -> DnsFuture<'a, Vec<SrvRecord>> {
        Box::pin(std::future::ready(Err(self.0.clone())))
    }
}
