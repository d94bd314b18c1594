//! What calls need of the homeserver: proving who one is, relays, where calls can be held, and events that are sent later
//! or delivered for a while.

mod delayed;
mod delayed_ends;
mod openid;
mod relays;
mod sticky;
