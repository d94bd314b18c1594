//! `[user_directory]`

use super::section::section;

section! {
    /// Whom a search for people finds.
    pub struct UserDirectory {
        /// Everybody on this server finds everybody. Otherwise only those whom they share a room with, or who are in a room
        /// that anybody may join or read. An organisation of people who know each other will want this.
        pub search_all_users: bool = false,
    }
}
