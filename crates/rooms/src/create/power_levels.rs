//! The power levels of new rooms.

use std::collections::BTreeMap;

use hs_room_rules::room_version::RoomVersionRules;
use ruma::{OwnedUserId, UserId};

use super::{RawObject, raw};

/// The level of those who run a room.
const ADMIN: i64 = 100;
/// Enough to close a room for good. From version 12 on only creators have it: an admin whom they have appointed must not
/// be able to move everybody into a room without them.
pub(crate) const CREATORS_ONLY: i64 = 150;

/// The usual power levels. `trusted` have the same power as the creator.
pub(crate) fn default_power_levels(
    rules: &RoomVersionRules,
    creator: &UserId,
    trusted: &[OwnedUserId],
    invite: i64,
) -> RawObject {
    let has_privileged_creators = rules.authorization.explicitly_privilege_room_creators;
    let tombstone = if has_privileged_creators { CREATORS_ONLY } else { ADMIN };
    let events: BTreeMap<&str, i64> = BTreeMap::from([
        ("m.room.avatar", 50),
        ("m.room.canonical_alias", 50),
        ("m.room.encryption", ADMIN),
        ("m.room.history_visibility", ADMIN),
        ("m.room.name", 50),
        ("m.room.power_levels", ADMIN),
        ("m.room.server_acl", ADMIN),
        ("m.room.tombstone", tombstone),
    ]);
    // Creators have more power than any number, and may not be listed.
    let users: BTreeMap<&UserId, i64> = if has_privileged_creators {
        BTreeMap::new()
    } else {
        trusted.iter().map(|user_id| &**user_id).chain([creator]).map(|user_id| (user_id, ADMIN)).collect()
    };
    let levels = [
        ("ban", raw(&50)),
        ("events", raw(&events)),
        ("events_default", raw(&0)),
        ("invite", raw(&invite)),
        ("kick", raw(&50)),
        ("redact", raw(&50)),
        ("state_default", raw(&50)),
        ("users", raw(&users)),
        ("users_default", raw(&0)),
    ];
    levels.into_iter().map(|(key, value)| (key.to_owned(), value)).collect()
}

#[cfg(test)]
mod tests {
    use hs_room_rules::room_version;
    use ruma::{RoomVersionId, owned_user_id, user_id};

    use super::*;

    fn levels(version: &RoomVersionId) -> serde_json::Value {
        let rules = room_version::rules(version).expect("a known version");
        let trusted = [owned_user_id!("@friend:s")];
        serde_json::to_value(default_power_levels(rules, user_id!("@me:s"), &trusted, 0)).expect("JSON")
    }

    #[test]
    fn creator_and_trusted_users_are_admins_where_power_is_a_number() {
        let levels = levels(&RoomVersionId::V11);

        assert_eq!(levels["users"], serde_json::json!({ "@me:s": 100, "@friend:s": 100 }));
        assert_eq!(levels["events"]["m.room.tombstone"], 100);
    }

    #[test]
    fn creators_are_not_listed_where_they_have_infinite_power() {
        let levels = levels(&RoomVersionId::V12);

        assert_eq!(levels["users"], serde_json::json!({}));
        assert_eq!(levels["events"]["m.room.tombstone"], 150);
    }
}
