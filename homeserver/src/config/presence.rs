//! `[presence]`

use super::section::section;

section! {
    /// Who is online. Changes are gathered before they are told, so that presence can be left on in large
    /// organisations.
    pub struct Presence {
        /// Whether users hear of each other's presence.
        pub enabled: bool = true,
    }
}
