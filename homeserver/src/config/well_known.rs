//! `[well_known]`

use ruma::{OwnedServerName, OwnedUserId};
use serde::{Deserialize, Serialize};

use super::{Invalid, section::section};

section! {
    /// What is announced under /.well-known/matrix/ of the server name, if requests to there reach Kith. The file for
    /// clients needs no setting: it names server.public_base_url.
    pub struct WellKnown {
        /// Where other servers find this one: a host, and a port if it is not 8448. Empty: they look for it at port 8448 of
        /// its name.
        #[example = "\"matrix.example.org:443\""]
        pub server: String = String::new(),
        /// A page with help for the users of this server.
        #[example = "\"https://example.org/support\""]
        pub support_page: String = String::new(),
        /// Whom to write to about this server: for each a role ("m.role.admin" or "m.role.security"), and a Matrix id, an
        /// e-mail address, or both.
        #[example = "[{ role = \"m.role.admin\", matrix_id = \"@admin:example.org\", email_address = \"admin@example.org\" }]"]
        pub support_contacts: Vec<SupportContact> = Vec::new(),
        /// The public key of a policy server that goes by this server's name, in base64. Empty: there is none.
        pub policy_server_key: String = String::new(),
    }
}

/// Whom to write to.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct SupportContact {
    /// About what.
    pub role: String,
    /// In Matrix.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub matrix_id: Option<OwnedUserId>,
    /// By e-mail.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub email_address: Option<String>,
}

impl WellKnown {
    /// Checks what the types do not.
    pub(super) fn validate(&self) -> Result<(), Invalid> {
        if !self.server.is_empty() && OwnedServerName::try_from(self.server.as_str()).is_err() {
            let problem = format!("`{}` is no server name", self.server);
            return Err(Invalid::new("server", problem, "write HOST or HOST:PORT, without https://"));
        }
        let unreachable =
            |contact: &&SupportContact| contact.matrix_id.is_none() && contact.email_address.is_none();
        if let Some(contact) = self.support_contacts.iter().find(unreachable) {
            let problem = format!("nobody can write to the contact for `{}`", contact.role);
            return Err(Invalid::new("support_contacts", problem, "add a matrix_id or an email_address"));
        }
        Ok(())
    }
}
