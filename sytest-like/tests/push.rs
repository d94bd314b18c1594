//! Push rules, unread counts, notifications, pushers.

mod rules;
