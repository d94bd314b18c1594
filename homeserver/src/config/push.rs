//! `[push]`

use ipnet::IpNet;

use super::section::section;

section! {
    /// Sending notifications.
    pub struct Push {
        /// Private and loopback networks that push gateways may be in. Requests to all others of these are refused, so
        /// that nobody can make the server probe its own network.
        #[example = "[\"10.0.0.0/8\"]"]
        pub allowed_private_ranges: Vec<IpNet> = Vec::new(),
    }
}
