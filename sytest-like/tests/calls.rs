//! What calls need of the homeserver: proving who one is, relays, and where calls can be held.

mod openid;
mod relays;
