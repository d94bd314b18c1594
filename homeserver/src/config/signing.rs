//! `[signing]`

use std::path::PathBuf;

use ruma::OwnedServerSigningKeyId;
use serde::{Deserialize, Serialize};

use super::{Invalid, section::section};

section! {
    /// The key that signs events and requests. It is made on the first start. Keep a copy of it with your backups: a
    /// server that loses its key is a stranger to others for a while.
    pub struct Signing {
        /// The file of the key. Empty: "signing.key" in the data directory. All processes of a cluster need the same.
        pub key_file: PathBuf = PathBuf::new(),
        /// Keys that this server signed with in the past, so that others can still check those signatures: the key's
        /// id, its public half in base64, and until when it was used, in milliseconds since 1970.
        #[example = "[{ id = \"ed25519:old\", public_key = \"…\", expired_ts = 1700000000000 }]"]
        pub old_keys: Vec<OldKey> = Vec::new(),
    }
}

/// A key that is no longer used.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct OldKey {
    /// Its id, `ed25519:` and a version.
    pub id: OwnedServerSigningKeyId,
    /// Its public half, unpadded base64.
    pub public_key: String,
    /// Until when it was used, in milliseconds since 1970.
    pub expired_ts: u64,
}

impl Signing {
    /// Checks what the types do not.
    pub(super) fn validate(&self) -> Result<(), Invalid> {
        use base64::Engine as _;
        for key in &self.old_keys {
            let public = key.public_key.trim_end_matches('=');
            if base64::engine::general_purpose::STANDARD_NO_PAD
                .decode(public)
                .is_ok_and(|key| key.len() == 32)
            {
                continue;
            }
            return Err(Invalid::new(
                "old_keys",
                format!("the public key of `{}` is not 32 bytes in base64", key.id),
                "copy it from verify_keys in /_matrix/key/v2/server of when the key was in use",
            ));
        }
        Ok(())
    }
}
