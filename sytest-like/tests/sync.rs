//! `/sync` and what comes down it: timelines, state, memberships, ephemeral events and data of the user's own.

mod account_data;
mod events;
mod exactly_once;
mod filters;
mod gaps;
mod initial;
mod invites;
mod knocks;
mod lazy_members;
mod leaving;
mod long_poll;
mod old;
mod presence;
mod read_markers;
mod receipts;
mod replicas;
mod restart;
mod state;
mod state_after;
mod summary;
mod typing;
mod view;
mod visibility;
