//! `[server]`

use std::path::PathBuf;

use ruma::OwnedServerName;

use super::{Invalid, section::section};

section! {
    /// Who the server is.
    pub struct Server {
        /// The name of the server: what stands behind the colon in user ids and room aliases. It cannot be changed
        /// once the server has users.
        pub name: OwnedServerName = localhost(),
        /// The URL under which clients reach the server, without a slash at the end. It is announced to clients, and
        /// links are made from it.
        pub public_base_url: String = "http://localhost:8008".to_owned(),
        /// The directory for what is kept on disk: the signing key and, if there is no database URL, the database. A
        /// relative path starts at the working directory.
        pub data_dir: PathBuf = PathBuf::from("data"),
    }
}

fn localhost() -> OwnedServerName {
    OwnedServerName::try_from("localhost").expect("a valid server name")
}

impl Server {
    /// Whether people can only reach this server from the machine it runs on.
    pub fn is_local(&self) -> bool {
        let host = self.name.host();
        host == "localhost" || host.parse::<std::net::IpAddr>().is_ok_and(|address| address.is_loopback())
    }

    /// Checks what the types do not.
    pub(super) fn validate(&mut self) -> Result<(), Invalid> {
        let url = self.public_base_url.trim_end_matches('/');
        let uri = url.parse::<::http::Uri>().ok();
        let is_base = uri.is_some_and(|uri| {
            matches!(uri.scheme_str(), Some("http" | "https"))
                && uri.host().is_some()
                && uri.query().is_none()
        });
        if !is_base || url.contains('#') {
            return Err(Invalid::new(
                "public_base_url",
                format!("`{url}` is not the URL of a server"),
                "write it as https://matrix.example.org",
            ));
        }
        self.public_base_url = url.to_owned();
        if self.data_dir.as_os_str().is_empty() {
            return Err(Invalid::new("data_dir", "it is empty", "name a directory that Kith may write to"));
        }
        Ok(())
    }
}
