//! The authorisation rules, each by the number it has in room version 12 (unless another version is named).

mod create;
mod independent;
mod levels;
mod member;
mod oracle;
mod ordinary;
mod select;
mod third_party_invite;
