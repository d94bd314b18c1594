//! Who sees what: <https://spec.matrix.org/v1.19/client-server-api/#room-history-visibility>.

use std::sync::Arc;

use hs_room_rules::{
    pdu::Pdu,
    visibility::{Circumstances, HistoryVisibility, Membership, can_see},
};
use serde_json::json;

use crate::room::{ALICE, CAROL, DAN, Room, member, message, state, user};

use HistoryVisibility::{Invited, Joined, Shared, WorldReadable};
use Membership::{Ban, Invite, Join, Knock, Leave};

const VISIBILITIES: [HistoryVisibility; 4] = [WorldReadable, Shared, Invited, Joined];
const MEMBERSHIPS: [Membership; 5] = [Join, Invite, Knock, Leave, Ban];

fn dan_sees(
    event: &Pdu,
    visibility: HistoryVisibility,
    membership: Membership,
    has_joined_since: bool,
) -> bool {
    can_see(event, user(DAN), Circumstances { visibility, membership, has_joined_since })
}

fn event(draft: crate::room::Draft<'_>) -> Arc<Pdu> {
    Room::public("12").apply(draft)
}

/// Every combination, for an event that changes nothing.
#[test]
fn message_is_seen_as_the_table_says() {
    let message = event(message(ALICE));
    for visibility in VISIBILITIES {
        for membership in MEMBERSHIPS {
            for has_joined_since in [false, true] {
                let expected = match (visibility, membership, has_joined_since) {
                    (WorldReadable, _, _) | (_, Join, _) | (Shared, _, true) | (Invited, Invite, _) => true,
                    (Shared | Invited | Joined, _, _) => false,
                };
                assert_eq!(
                    dan_sees(&message, visibility, membership, has_joined_since),
                    expected,
                    "{visibility:?}, {membership:?}, joined since: {has_joined_since}"
                );
            }
        }
    }
}

fn visibility_event(value: &str) -> Arc<Pdu> {
    event(state(ALICE, "m.room.history_visibility", "", json!({ "history_visibility": value })))
}

#[test]
fn change_of_visibility_is_seen_from_either_side() {
    assert!(dan_sees(&visibility_event("world_readable"), Joined, Leave, false));
    assert!(dan_sees(&visibility_event("joined"), WorldReadable, Leave, false));
    assert!(dan_sees(&visibility_event("shared"), Joined, Leave, true));
    assert!(dan_sees(&visibility_event("joined"), Shared, Leave, true));
    assert!(dan_sees(&visibility_event("invited"), Joined, Invite, false));
    assert!(!dan_sees(&visibility_event("joined"), Invited, Leave, true));
    assert!(!dan_sees(&visibility_event("shared"), Joined, Leave, false));
}

#[test]
fn ones_own_membership_is_seen_from_either_side() {
    let own = |membership| event(member(DAN, DAN, membership));
    assert!(dan_sees(&own("join"), Joined, Leave, false));
    assert!(dan_sees(&own("leave"), Joined, Join, false));
    assert!(dan_sees(&event(member(ALICE, DAN, "ban")), Joined, Join, false));
    assert!(dan_sees(&event(member(ALICE, DAN, "invite")), Invited, Leave, false));
    assert!(dan_sees(&event(member(ALICE, DAN, "leave")), Invited, Invite, false));
    assert!(!dan_sees(&event(member(ALICE, DAN, "invite")), Joined, Leave, false));
    assert!(!dan_sees(&event(member(ALICE, DAN, "ban")), Shared, Leave, false));
}

#[test]
fn membership_of_others_changes_nothing_for_me() {
    let carol_joins = event(member(CAROL, CAROL, "join"));
    assert!(!dan_sees(&carol_joins, Joined, Leave, false));
    assert!(dan_sees(&carol_joins, Joined, Join, false));
}

#[test]
fn visibility_that_is_missing_or_not_understood_is_shared() {
    assert_eq!(HistoryVisibility::from_state(None), Shared);
    for content in [json!({}), json!({ "history_visibility": 1 }), json!({ "history_visibility": "secret" })]
    {
        let event = event(state(ALICE, "m.room.history_visibility", "", content));
        assert_eq!(HistoryVisibility::from_state(Some(&event)), Shared);
    }
    for (value, expected) in
        [("world_readable", WorldReadable), ("shared", Shared), ("invited", Invited), ("joined", Joined)]
    {
        assert_eq!(HistoryVisibility::from_state(Some(&visibility_event(value))), expected);
    }
}

#[test]
fn membership_is_read_from_the_state() {
    assert_eq!(Membership::from_state(None), Leave);
    for (value, expected) in
        [("join", Join), ("invite", Invite), ("knock", Knock), ("leave", Leave), ("ban", Ban), ("odd", Leave)]
    {
        assert_eq!(Membership::from_state(Some(&event(member(ALICE, DAN, value)))), expected);
    }
}
