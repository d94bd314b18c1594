//! The configuration: a TOML file, overridden by the environment.
//!
//! Each section is a struct in a file of its own, declared through the `section!` macro, which keeps the
//! documentation and the default of an option beside its type. [`example`] turns those into `config.example.toml`.

mod section;

mod database;
mod delayed_events;
mod email;
mod environment;
pub mod example;
mod federation;
mod http;
mod listeners;
mod load;
mod logging;
mod media;
mod metrics;
mod passwords;
mod presence;
mod push;
mod rate_limits;
mod registration;
mod rooms;
mod rtc;
mod secret;
mod server;
mod server_notices;
mod signing;
mod turn;
mod url_previews;
mod user_directory;
mod well_known;

use serde::{Deserialize, Serialize};

pub use self::{
    database::Database,
    delayed_events::DelayedEvents,
    email::{Email, Encryption},
    federation::Federation,
    http::Http,
    listeners::{Bind, Listener, Resource, Tls},
    load::{ConfigError, Source},
    logging::{LogFormat, Logging},
    media::{Media, MediaStore},
    metrics::Metrics,
    passwords::Passwords,
    presence::Presence,
    push::Push,
    rate_limits::{RateLimit, RateLimits},
    registration::{Registration, RegistrationMode, Term},
    rooms::Rooms,
    rtc::Rtc,
    secret::Secret,
    server::Server,
    server_notices::ServerNotices,
    signing::{OldKey, Signing},
    turn::Turn,
    url_previews::UrlPreviews,
    user_directory::UserDirectory,
    well_known::{SupportContact, WellKnown},
};

/// Everything that can be configured.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Config {
    /// Who the server is.
    pub server: Server,
    /// Where it listens.
    pub listeners: Vec<Listener>,
    /// Limits of the HTTP server.
    pub http: Http,
    /// Where it keeps what it knows.
    pub database: Database,
    /// Who may make an account.
    pub registration: Registration,
    /// What a password must be like and how it is hashed.
    pub passwords: Passwords,
    /// Defaults for new rooms.
    pub rooms: Rooms,
    /// Who is online.
    pub presence: Presence,
    /// Whom a search for people finds.
    pub user_directory: UserDirectory,
    /// The room in which the server speaks to people.
    pub server_notices: ServerNotices,
    /// How much one client may ask.
    pub rate_limits: RateLimits,
    /// Files that people attach.
    pub media: Media,
    /// Previews of links.
    pub url_previews: UrlPreviews,
    /// Talking to other servers.
    pub federation: Federation,
    /// What is announced under /.well-known.
    pub well_known: WellKnown,
    /// The server through which calls reach people behind firewalls.
    pub turn: Turn,
    /// Calls of many.
    pub rtc: Rtc,
    /// Events that are sent later.
    pub delayed_events: DelayedEvents,
    /// Sending mail.
    pub email: Email,
    /// Sending notifications.
    pub push: Push,
    /// The key that signs events.
    pub signing: Signing,
    /// What is logged and how.
    pub logging: Logging,
    /// Figures for Prometheus.
    pub metrics: Metrics,
}

impl Default for Config {
    fn default() -> Self {
        Self {
            server: Server::default(),
            listeners: vec![Listener::default()],
            http: Http::default(),
            database: Database::default(),
            registration: Registration::default(),
            passwords: Passwords::default(),
            rooms: Rooms::default(),
            presence: Presence::default(),
            user_directory: UserDirectory::default(),
            server_notices: ServerNotices::default(),
            rate_limits: RateLimits::default(),
            media: Media::default(),
            url_previews: UrlPreviews::default(),
            federation: Federation::default(),
            well_known: WellKnown::default(),
            turn: Turn::default(),
            rtc: Rtc::default(),
            delayed_events: DelayedEvents::default(),
            email: Email::default(),
            push: Push::default(),
            signing: Signing::default(),
            logging: Logging::default(),
            metrics: Metrics::default(),
        }
    }
}

/// What is wrong with a value, and what to do about it. Found by the `validate` of a section.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Invalid {
    /// The key inside the section.
    pub key: &'static str,
    /// What is wrong.
    pub problem: String,
    /// What to write instead.
    pub remedy: &'static str,
}

impl Invalid {
    fn new(key: &'static str, problem: impl Into<String>, remedy: &'static str) -> Self {
        Self { key, problem: problem.into(), remedy }
    }
}

#[cfg(test)]
mod tests;
