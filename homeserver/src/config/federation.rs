//! `[federation]`

use std::path::PathBuf;

use ipnet::IpNet;

use super::section::section;

section! {
    /// Talking to other servers.
    pub struct Federation {
        /// Whether to talk to other servers at all.
        pub enabled: bool = true,
        /// A PEM file with certificates to trust beside those of the system, for servers with an authority of their
        /// own. Empty: none.
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
    }
}
