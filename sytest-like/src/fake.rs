//! A homeserver that a case scripts: its own name and key, any event, and any answer, honest or not.
//!
//! Start reading at [`FakeServer`] (its name, its answers, what it heard), then [`FakeRoom`] and [`Draft`] (events),
//! then [`SignedRequest`] (what it asks others). What nobody scripts it answers as an honest server would, from the
//! rooms that it holds in memory. It judges what it hears: a request or an event that is not signed as it should be
//! fails the case.

mod answers;
mod event;
mod graph;
mod json;
mod listener;
mod received;
mod request;
mod room;
mod server;
mod version;
mod wire;

pub use event::{Draft, Event, now_ms};
pub use graph::StateMap;
pub use json::{Key, base64, canonical, content_hash, event_id, redact, reference_hash, verifies};
pub use received::{Received, Reply};
pub use request::SignedRequest;
pub use room::{FakeRoom, NewRoom};
pub use server::FakeServer;
pub use version::{ALL_VERSIONS, Version};
