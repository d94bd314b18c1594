//! `[turn]`

use super::{Invalid, Secret, section::section};

section! {
    /// A TURN server, through which calls reach people behind firewalls.
    pub struct Turn {
        /// How clients reach it. Empty: there is none.
        #[example = "[\"turn:turn.example.org?transport=udp\", \"turns:turn.example.org?transport=tcp\"]"]
        pub uris: Vec<String> = Vec::new(),
        /// The secret that it shares with Kith (`static-auth-secret` in coturn).
        pub shared_secret: Secret = Secret::default(),
        /// For how long credentials are good.
        pub lifetime_seconds: u64 = 86_400,
    }
}

impl Turn {
    /// Checks what the types do not.
    pub(super) fn validate(&self) -> Result<(), Invalid> {
        if let Some(uri) =
            self.uris.iter().find(|uri| !["turn:", "turns:", "stun:"].iter().any(|s| uri.starts_with(s)))
        {
            return Err(Invalid::new(
                "uris",
                format!("`{uri}` is no TURN URI"),
                "write turn:HOST:PORT or turns:HOST:PORT",
            ));
        }
        if !self.uris.is_empty() && self.shared_secret.is_empty() {
            return Err(Invalid::new(
                "shared_secret",
                "is empty",
                "write the secret that the TURN server has",
            ));
        }
        if self.lifetime_seconds < 60 {
            return Err(Invalid::new("lifetime_seconds", "is too short for a call", "write at least 60"));
        }
        Ok(())
    }
}
