//! Rules 5.4.1 (invitations by e-mail and the like) and 7.

use hs_room_rules::{
    canonical_json::{Object, ParseOptions, Value as CanonicalValue},
    sign::SigningKey,
};
use ruma::server_name;
use serde_json::{Value, json};

use crate::room::{ALICE, BOB, CAROL, DAN, Draft, Room, member, state, versions};

fn identity_key() -> SigningKey {
    SigningKey::from_seed("0", &[9; 32]).unwrap()
}

fn signed(key: &SigningKey, object: &Value) -> Value {
    let json = object.to_string();
    let mut object = Object::parse(&json, ParseOptions::STRICT).unwrap();
    key.sign_json(server_name!("identity.example"), &mut object);
    serde_json::from_str(&CanonicalValue::Object(object).to_canonical_string()).unwrap()
}

/// A room where Bob invited the owner of an e-mail address.
fn room_of(version: &str, public_keys: Value) -> Room {
    let mut room = Room::public(version);
    room.set_join_rule("invite");
    room.apply(state(BOB, "m.room.third_party_invite", "token", public_keys));
    room
}

fn public_key() -> Value {
    json!({ "display_name": "D", "public_key": identity_key().public_key() })
}

fn invite(signed: &Value) -> Draft<'static> {
    let mut draft = member(BOB, DAN, "invite");
    draft.content["third_party_invite"] = json!({ "display_name": "D", "signed": signed });
    draft
}

fn good() -> Value {
    signed(&identity_key(), &json!({ "mxid": DAN, "token": "token" }))
}

/// Rule 5.4.1.7.
#[test]
fn third_party_invite_is_redeemed() {
    for version in versions(1, 12) {
        let room = room_of(&version, public_key());
        assert!(room.allows(invite(&good())), "version {version}");
        let keys = json!({ "public_keys": [{ "public_key": identity_key().public_key() }] });
        assert!(room_of(&version, keys).allows(invite(&good())), "version {version}");
    }
}

/// Rule 5.4.1.1.
#[test]
fn banned_user_is_not_invited_by_third_party() {
    for version in versions(1, 12) {
        let room = room_of(&version, public_key()).with_membership(DAN, "ban");
        assert!(!room.allows(invite(&good())), "version {version}");
    }
}

/// Rules 5.4.1.2 and 5.4.1.3.
#[test]
fn third_party_invite_needs_its_fields() {
    for version in versions(1, 12) {
        let room = room_of(&version, public_key());
        let mut without_signed = invite(&good());
        without_signed.content["third_party_invite"] = json!({});
        assert!(!room.allows(without_signed), "version {version}");
        for missing in ["mxid", "token", "signatures"] {
            let mut signed = good();
            signed.as_object_mut().unwrap().remove(missing);
            assert!(!room.allows(invite(&signed)), "version {version}: {missing}");
        }
    }
}

/// Rule 5.4.1.4.
#[test]
fn third_party_invite_is_for_the_user_who_was_signed() {
    let room = room_of("12", public_key());
    let for_carol = signed(&identity_key(), &json!({ "mxid": CAROL, "token": "token" }));
    assert!(!room.allows(invite(&for_carol)));
}

/// Rule 5.4.1.5.
#[test]
fn third_party_invite_needs_its_state_event() {
    let room = room_of("12", public_key());
    let other = signed(&identity_key(), &json!({ "mxid": DAN, "token": "other" }));
    assert!(!room.allows(invite(&other)));
}

/// Rule 5.4.1.6.
#[test]
fn third_party_invite_is_sent_by_the_inviter() {
    let room = room_of("12", public_key());
    assert!(!room.allows(Draft { sender: ALICE, ..invite(&good()) }));
}

/// Rule 5.4.1.8.
#[test]
fn third_party_invite_needs_the_right_signature() {
    for version in versions(1, 12) {
        let room = room_of(&version, public_key());
        let other_key = SigningKey::from_seed("0", &[8; 32]).unwrap();
        let wrong = signed(&other_key, &json!({ "mxid": DAN, "token": "token" }));
        assert!(!room.allows(invite(&wrong)), "version {version}");
        let mut changed = good();
        changed["extra"] = json!(true);
        assert!(!room.allows(invite(&changed)), "version {version}");
    }
}

/// Rule 7: it needs the level of inviting, whatever `events` says.
#[test]
fn third_party_invite_event_needs_the_invite_level() {
    for version in versions(1, 12) {
        let mut room = Room::public(&version);
        room.set_levels(&json!({ "events": { "m.room.third_party_invite": 100 } }));
        let event = |sender| state(sender, "m.room.third_party_invite", "t", json!({}));
        assert!(room.allows(event(BOB)), "version {version}");
        assert!(!room.allows(event(CAROL)), "version {version}");
        assert!(!room.allows(event(DAN)), "version {version}");
    }
}
