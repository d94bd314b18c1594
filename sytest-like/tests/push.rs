//! Push rules, unread counts, notifications, pushers.

mod mails;
mod notifications;
mod pushers;
mod rules;
mod scene;
mod threads;
mod unread;
