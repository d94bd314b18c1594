//! What differs between the room versions, as far as building events needs it.

/// All room versions.
pub const ALL_VERSIONS: [&str; 12] = ["1", "2", "3", "4", "5", "6", "7", "8", "9", "10", "11", "12"];

/// A room version, as a number.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Version(pub u8);

impl Version {
    /// Reads `room_version`; a case that meets an unknown one fails.
    #[track_caller]
    pub fn parse(version: &str) -> Self {
        assert!(ALL_VERSIONS.contains(&version), "there is no room version {version:?}");
        Self(version.parse().expect("it is a number"))
    }

    /// As `room_version` says it.
    pub fn name(self) -> String {
        self.0.to_string()
    }

    /// Event ids are chosen by the sender, and references carry hashes.
    pub fn has_chosen_ids(self) -> bool {
        self.0 <= 2
    }

    /// Event ids are hashes in the alphabet of URLs.
    pub(super) fn has_url_safe_ids(self) -> bool {
        self.0 >= 4
    }

    /// The room id is the hash of the create event, which no event names among its auth events.
    pub fn has_hashed_room_ids(self) -> bool {
        self.0 >= 12
    }

    /// `redacts` is part of the content.
    pub fn redacts_in_content(self) -> bool {
        self.0 >= 11
    }

    /// `m.room.create` names its creator in the content.
    pub(super) fn has_creator_field(self) -> bool {
        self.0 <= 10
    }

    pub(super) fn has_knocking(self) -> bool {
        self.0 >= 7
    }

    pub(super) fn has_restricted_joins(self) -> bool {
        self.0 >= 8
    }

    /// The keys of an event that survive its redaction.
    pub(super) fn kept_keys(self) -> &'static [&'static str] {
        const OLD: &[&str] = &["prev_state", "origin", "membership"];
        const NEW: &[&str] = &[];
        if self.0 >= 11 { NEW } else { OLD }
    }

    /// The keys of the content that survive; `None` for all of them.
    pub(super) fn kept_content(self, event_type: &str) -> Option<Vec<&'static str>> {
        let from = |version: u8, key: &'static str| (self.0 >= version).then_some(key);
        let up_to = |version: u8, key: &'static str| (self.0 <= version).then_some(key);
        let keys: Vec<Option<&'static str>> = match event_type {
            "m.room.member" => vec![Some("membership"), from(9, "join_authorised_via_users_server")],
            "m.room.create" if self.0 >= 11 => return None,
            "m.room.create" => vec![Some("creator")],
            "m.room.join_rules" => vec![Some("join_rule"), from(8, "allow")],
            "m.room.power_levels" => {
                let old = ["ban", "events", "events_default", "kick", "redact", "state_default", "users"];
                let mut keys: Vec<_> = old.into_iter().map(Some).collect();
                keys.extend([Some("users_default"), from(11, "invite")]);
                keys
            }
            "m.room.history_visibility" => vec![Some("history_visibility")],
            "m.room.aliases" => vec![up_to(5, "aliases")],
            "m.room.redaction" => vec![from(11, "redacts")],
            _ => Vec::new(),
        };
        Some(keys.into_iter().flatten().collect())
    }
}
