//! Kinds of rooms.

/// What kind of room `createRoom` makes.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Preset {
    /// For those who are invited.
    #[default]
    Private,
    /// For those who are invited, with the same power for all of them.
    TrustedPrivate,
    /// For everybody.
    Public,
}

impl Preset {
    /// The state it brings.
    pub(super) fn state(self) -> [(&'static str, &'static str); 3] {
        let (join_rules, guest_access) = match self {
            Self::Private | Self::TrustedPrivate => {
                (r#"{"join_rule":"invite"}"#, r#"{"guest_access":"can_join"}"#)
            }
            Self::Public => (r#"{"join_rule":"public"}"#, r#"{"guest_access":"forbidden"}"#),
        };
        [
            ("m.room.join_rules", join_rules),
            ("m.room.history_visibility", r#"{"history_visibility":"shared"}"#),
            ("m.room.guest_access", guest_access),
        ]
    }

    /// The power level that inviting needs: whoever was let into a private room may bring others, while a public one
    /// is open anyway and inviting mostly serves to molest.
    pub(super) fn invite_level(self) -> i64 {
        match self {
            Self::Private | Self::TrustedPrivate => 0,
            Self::Public => 50,
        }
    }
}
