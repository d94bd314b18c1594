//! What [`Ephemeral`](crate::Ephemeral) needs to know.

/// Options of this crate.
#[derive(Clone, Debug)]
pub struct EphemeralOptions {
    /// Names this process among the replicas of the server, and no other process ever.
    pub replica: Box<str>,
    /// Presence.
    pub presence: PresenceOptions,
}

/// Options of presence.
#[derive(Clone, Copy, Debug)]
pub struct PresenceOptions {
    /// Whether there is any: without, everybody is offline and what clients say is ignored.
    pub is_enabled: bool,
}
