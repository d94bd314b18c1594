//! `[email]`

use hs_push::AddressPatterns;
use lettre::message::Mailbox;
use serde::{Deserialize, Serialize};

use super::{Invalid, Secret, section::section};

/// How the connection to the mail server is protected.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Encryption {
    /// TLS after a greeting in the clear; the connection is given up when the server does not offer it.
    Starttls,
    /// TLS from the start.
    Tls,
    /// None: for a mail server on the same machine.
    None,
}

section! {
    /// Sending mail: what has stayed unread, to people whose clients ask for it.
    pub struct Email {
        /// The mail server that takes the mails. Empty: none are sent.
        #[example = "\"smtp.example.org\""]
        pub smtp_host: String = String::new(),
        /// Its port.
        pub smtp_port: u16 = 587,
        /// How the connection is protected: "starttls", "tls" (usually on port 465), or "none", for a mail server on
        /// the same machine.
        pub encryption: Encryption = Encryption::Starttls,
        /// The user name for the mail server. Empty: it needs none.
        pub username: String = String::new(),
        /// The password for the mail server.
        pub password: Secret = Secret::default(),
        /// Whom mails are from. Required with `smtp_host`.
        #[example = "\"Kith <kith@example.org>\""]
        pub from: String = String::new(),
        /// Which addresses users may have their notifications mailed to, so that nobody can have mail sent to strangers.
        /// "{localpart}@example.org" is for each user the one address that begins with the name in their user id;
        /// "*@example.org" is any address in the domain, for everybody. Empty: there are no notifications by mail.
        #[example = "[\"{localpart}@example.org\"]"]
        pub notification_addresses: Vec<String> = Vec::new(),
        /// How long a message stays unread before it is mailed, in seconds. After a mail, the same room waits for four
        /// times as long, and so on up to a day, until the user reads it.
        pub notification_delay_seconds: u64 = 600,
        /// Whether mails quote messages. If not, they only say how many there are, and in which rooms.
        pub include_content: bool = true,
        /// The web client that links in mails lead to. Empty: they lead to matrix.to, where people choose one.
        #[example = "\"https://chat.example.org\""]
        pub client_url: String = String::new(),
    }
}

impl Email {
    /// Checks what the types do not.
    pub(super) fn validate(&self) -> Result<(), Invalid> {
        if self.smtp_host.is_empty() {
            return Ok(());
        }
        if self.from.parse::<Mailbox>().is_err() {
            return Err(Invalid::new(
                "from",
                "it is not a mail address",
                "write it as Kith <kith@example.org>",
            ));
        }
        if let Some(text) = self.notification_addresses.iter().find(|text| !AddressPatterns::is_pattern(text))
        {
            return Err(Invalid::new(
                "notification_addresses",
                format!("`{text}` says nothing about who has which address"),
                "write {localpart}@example.org or *@example.org",
            ));
        }
        if !self.client_url.is_empty()
            && !["https://", "http://"].iter().any(|scheme| self.client_url.starts_with(scheme))
        {
            return Err(Invalid::new("client_url", "it is not a web address", "write https://HOST"));
        }
        Ok(())
    }
}
