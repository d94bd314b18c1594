//! `[federation]`

use std::path::PathBuf;

use federation::{ServerPattern, ServerPolicy};
use ipnet::IpNet;
use ruma::OwnedServerName;

use super::{Invalid, section::section};

section! {
    /// Talking to other servers.
    pub struct Federation {
        /// Whether to talk to other servers at all.
        pub enabled: bool = true,
        /// A PEM file with certificates to trust beside those of the system, for other servers and push gateways with an
        /// authority of their own. Empty: none.
        pub extra_ca_file: PathBuf = PathBuf::new(),
        /// Private and loopback networks that other servers may be in. Requests to all others of these are refused, so
        /// that nobody can make the server probe its own network.
        #[example = "[\"10.0.0.0/8\"]"]
        pub allowed_private_ranges: Vec<IpNet> = Vec::new(),
        /// If not empty, the only servers to talk to. "*.example.org" stands for all subdomains.
        #[example = "[\"example.org\", \"*.example.org\"]"]
        pub allow_servers: Vec<String> = Vec::new(),
        /// Servers never to talk to, written in the same way.
        #[example = "[\"spam.example.net\"]"]
        pub deny_servers: Vec<String> = Vec::new(),
        /// Servers to ask for the keys of servers that do not answer, in this order. They are believed: a notary that lies
        /// can forge the past of servers that are gone.
        #[example = "[\"matrix.org\"]"]
        pub trusted_notaries: Vec<OwnedServerName> = Vec::new(),
    }
}

impl Federation {
    /// Checks what the types do not.
    pub(super) fn validate(&self) -> Result<(), Invalid> {
        const REMEDY: &str = "write a server name, such as example.org, or *.example.org for all subdomains";
        for (key, servers) in [("allow_servers", &self.allow_servers), ("deny_servers", &self.deny_servers)] {
            if let Some(error) = patterns(servers).err() {
                return Err(Invalid::new(key, error.to_string(), REMEDY));
            }
        }
        Ok(())
    }

    /// Which servers to talk to.
    pub fn policy(&self) -> ServerPolicy {
        if !self.enabled {
            return ServerPolicy::nobody();
        }
        // What is no pattern was refused when the configuration was read.
        let parse = |servers| patterns(servers).unwrap_or_default();
        ServerPolicy::new(parse(&self.allow_servers), parse(&self.deny_servers))
    }
}

fn patterns(servers: &[String]) -> Result<Vec<ServerPattern>, federation::ServerPatternError> {
    servers.iter().map(|server| server.parse()).collect()
}
