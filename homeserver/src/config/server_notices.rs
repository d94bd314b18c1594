//! `[server_notices]`

use super::section::section;

section! {
    /// The room in which the server speaks to people, on behalf of its administrators.
    pub struct ServerNotices {
        /// The name of the account that speaks: what stands before the colon in its user id. It is made when it is first
        /// needed, without a password.
        pub localpart: String = "notices".to_owned(),
        /// What that account is called.
        pub display_name: String = "Server notices".to_owned(),
        /// What the room is called.
        pub room_name: String = "Server notices".to_owned(),
    }
}
