//! The way to the mail server.

use std::time::Duration;

use anyhow::Context as _;
use lettre::{
    AsyncSmtpTransport, AsyncTransport as _, Message, Tokio1Executor,
    message::{
        Mailbox, MultiPart,
        header::{HeaderName, HeaderValue},
    },
    transport::smtp::{authentication::Credentials, client::Tls, extension::ClientId},
};
use rand::RngExt as _;

use crate::config::{Email, Encryption};

const TIMEOUT: Duration = Duration::from_secs(20);

/// Sends mails. Cheap to clone.
#[derive(Clone, Debug)]
pub(crate) struct Mailer {
    transport: AsyncSmtpTransport<Tokio1Executor>,
    from: Mailbox,
}

/// A mail.
#[derive(Debug)]
pub(crate) struct Mail<'a> {
    /// Whom it is for.
    pub(crate) to: &'a str,
    /// One line.
    pub(crate) subject: &'a str,
    /// For those who read plain text.
    pub(crate) text: String,
    /// The same for all others.
    pub(crate) html: String,
    /// Where to be rid of such mails: programs for mail make a button of it (RFC 8058).
    pub(crate) unsubscribe_url: &'a str,
}

/// Why a mail was not sent.
#[derive(Debug, thiserror::Error)]
pub(crate) enum MailError {
    /// It is none.
    #[error("the address cannot be used: {0}")]
    Address(#[from] lettre::address::AddressError),
    /// It cannot be put together.
    #[error("the mail cannot be written: {0}")]
    Message(#[from] lettre::error::Error),
    /// The mail server cannot be reached, or did not want it.
    #[error("the mail server did not take it: {0}")]
    Smtp(#[from] lettre::transport::smtp::Error),
}

impl Mailer {
    /// `None` when no mail server is configured.
    pub(crate) fn new(config: &Email) -> anyhow::Result<Option<Self>> {
        type Transport = AsyncSmtpTransport<Tokio1Executor>;
        if config.smtp_host.is_empty() {
            return Ok(None);
        }
        let from: Mailbox = config.from.parse().context("email.from is no mail address")?;
        let builder = match config.encryption {
            Encryption::Starttls => Transport::starttls_relay(&config.smtp_host)?,
            Encryption::Tls => Transport::relay(&config.smtp_host)?,
            Encryption::None => Transport::builder_dangerous(&config.smtp_host).tls(Tls::None),
        };
        let mut builder = builder
            .port(config.smtp_port)
            .timeout(Some(TIMEOUT))
            .hello_name(ClientId::Domain(from.email.domain().to_owned()));
        if !config.username.is_empty() {
            let password = config.password.expose().to_owned();
            builder = builder.credentials(Credentials::new(config.username.clone(), password));
        }
        Ok(Some(Self { transport: builder.build(), from }))
    }

    /// Hands a mail to the mail server.
    pub(crate) async fn send(&self, mail: Mail<'_>) -> Result<(), MailError> {
        let id = format!("<{:032x}@{}>", rand::rng().random::<u128>(), self.from.email.domain());
        let message = Message::builder()
            .from(self.from.clone())
            .to(Mailbox::new(None, mail.to.parse()?))
            .subject(mail.subject)
            .message_id(Some(id))
            .raw_header(header(HeaderName::new_from_ascii_str("Auto-Submitted"), "auto-generated"))
            .raw_header(header(
                HeaderName::new_from_ascii_str("List-Unsubscribe"),
                &format!("<{}>", mail.unsubscribe_url),
            ))
            .raw_header(header(
                HeaderName::new_from_ascii_str("List-Unsubscribe-Post"),
                "List-Unsubscribe=One-Click",
            ))
            .multipart(MultiPart::alternative_plain_html(mail.text, mail.html))?;
        self.transport.send(message).await?;
        Ok(())
    }
}

fn header(name: HeaderName, value: &str) -> HeaderValue {
    HeaderValue::new(name, value.to_owned())
}
