//! Rooms: making them, who is in them, what is said in them and who may read it.

mod ground;

mod aggregations;
mod aliases;
mod context;
mod creation;
mod creation_refused;
mod creators;
mod directory;
mod events;
mod history_visibility;
mod invite;
mod join;
mod knock;
mod leave;
mod limits;
mod member_profiles;
mod members;
mod messages;
mod moderation;
mod power_levels;
mod redaction;
mod redaction_pruning;
mod relations;
mod restricted;
mod sending;
mod state;
mod threads;
mod timestamp;
mod upgrade;
mod versions;
