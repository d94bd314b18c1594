//! A room to test with: it builds real, signed events on top of its state, and applies those it is told to.

use std::{collections::HashMap, sync::Arc};

use hs_room_rules::{
    auth::{AuthError, auth_types, check_dependent, check_independent},
    build::{EventTemplate, LegacyParts, build, legacy_event_id},
    canonical_json::{Object, ParseOptions},
    event_id::reference_hash,
    pdu::Pdu,
    room_version::{self, RoomVersionRules, RoomVersionRulesExt as _},
    sign::SigningKey,
};
use proptest::test_runner::Config as ProptestConfig;
use ruma::{EventId, OwnedEventId, OwnedRoomId, RoomVersionId, UserId};
use serde_json::{Value, json};

/// The creator of every test room, on server `a`.
pub(crate) const ALICE: &str = "@alice:a";
/// A moderator with level 50, on server `b`.
pub(crate) const BOB: &str = "@bob:b";
/// An ordinary member, on server `b`.
pub(crate) const CAROL: &str = "@carol:b";
/// Not in the room.
pub(crate) const DAN: &str = "@dan:d";

pub(crate) fn user(id: &str) -> &UserId {
    <&UserId>::try_from(id).expect("a user id in a test is valid")
}

pub(crate) fn version(version: &str) -> &'static RoomVersionRules {
    room_version::rules(&RoomVersionId::try_from(version).unwrap()).expect("a version in a test is supported")
}

/// All room versions from one to another.
pub(crate) fn versions(from: u8, to: u8) -> impl Iterator<Item = String> {
    (from..=to).map(|version| version.to_string())
}

/// How many cases a property is tried with. Nothing is written to disk when one fails: proptest prints it.
pub(crate) fn cases(count: u32) -> ProptestConfig {
    ProptestConfig { failure_persistence: None, ..ProptestConfig::with_cases(count) }
}

pub(crate) fn key() -> SigningKey {
    SigningKey::from_seed("1", &[7; 32]).unwrap()
}

/// What a test says about an event; the rest follows from the room.
#[derive(Clone, Debug)]
pub(crate) struct Draft<'a> {
    pub(crate) sender: &'a str,
    pub(crate) event_type: &'a str,
    pub(crate) state_key: Option<&'a str>,
    pub(crate) content: Value,
    pub(crate) redacts: Option<OwnedEventId>,
    /// Instead of the last event.
    pub(crate) prev_events: Option<Vec<OwnedEventId>>,
    /// Instead of what the state has for it.
    pub(crate) auth_events: Option<Vec<OwnedEventId>>,
}

pub(crate) fn message(sender: &str) -> Draft<'_> {
    Draft {
        sender,
        event_type: "m.room.message",
        state_key: None,
        content: json!({ "body": "hello", "msgtype": "m.text" }),
        redacts: None,
        prev_events: None,
        auth_events: None,
    }
}

pub(crate) fn state<'a>(sender: &'a str, event_type: &'a str, key: &'a str, content: Value) -> Draft<'a> {
    Draft { event_type, state_key: Some(key), content, ..message(sender) }
}

pub(crate) fn member<'a>(sender: &'a str, target: &'a str, membership: &str) -> Draft<'a> {
    state(sender, "m.room.member", target, json!({ "membership": membership }))
}

#[derive(Clone)]
pub(crate) struct Room {
    pub(crate) rules: &'static RoomVersionRules,
    pub(crate) events: HashMap<OwnedEventId, Arc<Pdu>>,
    pub(crate) state: HashMap<(String, String), Arc<Pdu>>,
    pub(crate) last: Option<OwnedEventId>,
    id: Option<OwnedRoomId>,
    count: i64,
}

impl Room {
    /// Only the create event.
    pub(crate) fn created(room_version: &str, extra_content: &Value) -> Self {
        let rules = version(room_version);
        let id = (!rules.room_id_is_create_hash()).then(|| ruma::room_id!("!room:a").to_owned());
        let mut room =
            Self { rules, events: HashMap::new(), state: HashMap::new(), last: None, id, count: 0 };
        let mut content = json!({ "room_version": room_version });
        if !rules.authorization.use_room_create_sender {
            content["creator"] = json!(ALICE);
        }
        content.as_object_mut().unwrap().extend(extra_content.as_object().unwrap().clone());
        let create = room.apply(state(ALICE, "m.room.create", "", content));
        room.id = Some(create.room_id().to_owned());
        room
    }

    /// A public room with Alice (creator), Bob (50) and Carol (0) in it.
    pub(crate) fn public(room_version: &str) -> Self {
        Self::public_with(room_version, &json!({}))
    }

    pub(crate) fn public_with(room_version: &str, create_content: &Value) -> Self {
        let mut room = Self::created(room_version, create_content);
        room.apply(member(ALICE, ALICE, "join"));
        let levels = room.default_levels();
        room.apply(state(ALICE, "m.room.power_levels", "", levels));
        room.apply(state(ALICE, "m.room.join_rules", "", json!({ "join_rule": "public" })));
        room.apply(member(BOB, BOB, "join"));
        room.apply(member(CAROL, CAROL, "join"));
        room
    }

    /// Power levels with Alice at 100 (by name, or as creator) and Bob at 50.
    pub(crate) fn default_levels(&self) -> Value {
        let mut levels = json!({ "users": { BOB: 50 }, "invite": 50 });
        if !self.rules.authorization.explicitly_privilege_room_creators {
            levels["users"][ALICE] = json!(100);
        }
        levels
    }

    /// Like [`Self::default_levels`], with changes.
    pub(crate) fn levels_with(&self, changes: &Value) -> Value {
        let mut levels = self.default_levels();
        for (key, value) in changes.as_object().unwrap() {
            if let (Some(old), Some(new)) = (levels[key].as_object_mut(), value.as_object()) {
                old.extend(new.clone());
            } else {
                levels[key] = value.clone();
            }
        }
        levels
    }

    pub(crate) fn set_levels(&mut self, changes: &Value) {
        let levels = self.levels_with(changes);
        self.apply(state(ALICE, "m.room.power_levels", "", levels));
    }

    pub(crate) fn set_join_rule(&mut self, rule: &str) {
        self.apply(state(ALICE, "m.room.join_rules", "", json!({ "join_rule": rule })));
    }

    /// Builds an event on top of the room, without applying it.
    pub(crate) fn build(&mut self, draft: Draft<'_>) -> Pdu {
        self.count += 1;
        let content = draft.content.to_string();
        let auth_events = draft.auth_events.unwrap_or_else(|| {
            auth_types(draft.event_type, user(draft.sender), draft.state_key, &content, self.rules)
                .unwrap_or_default()
                .into_iter()
                .filter_map(|(event_type, key)| {
                    let event = self.state.get(&(event_type.to_owned(), key.into_owned()))?;
                    Some(event.event_id().to_owned())
                })
                .collect()
        });
        let prev_events = draft.prev_events.unwrap_or_else(|| self.last.iter().cloned().collect());
        let server_name = user(draft.sender).server_name();
        let legacy = (!self.rules.event_id_is_hash()).then(|| LegacyParts {
            event_id: legacy_event_id(&format!("event{}", self.count), server_name).unwrap(),
            reference_hashes: prev_events
                .iter()
                .chain(&auth_events)
                .filter_map(|id| Some((id.clone(), self.reference_hash_of(id)?)))
                .collect(),
        });
        let template = EventTemplate {
            room_id: self.id.as_deref(),
            sender: user(draft.sender),
            event_type: draft.event_type,
            state_key: draft.state_key,
            content: &content,
            redacts: draft.redacts.as_deref(),
            origin_server_ts: 1_700_000_000_000 + self.count,
            prev_events,
            auth_events,
            depth: self.count,
            sticky_ms: None,
            legacy,
        };
        build(template, self.rules, server_name, &key()).expect("an event in a test can be built")
    }

    fn reference_hash_of(&self, event_id: &EventId) -> Option<String> {
        let json = self.events.get(event_id)?.json();
        let event = Object::parse(json, ParseOptions::federation(self.rules)).unwrap();
        Some(reference_hash(&event, self.rules))
    }

    /// Makes an event known, and part of the state if it is a state event, whether it is allowed or not.
    pub(crate) fn add(&mut self, pdu: Pdu) -> Arc<Pdu> {
        let pdu = Arc::new(pdu);
        self.events.insert(pdu.event_id().to_owned(), Arc::clone(&pdu));
        self.last = Some(pdu.event_id().to_owned());
        if let Some(key) = pdu.state_key() {
            self.state.insert((pdu.type_str().to_owned(), key.to_owned()), Arc::clone(&pdu));
        }
        pdu
    }

    pub(crate) fn apply(&mut self, draft: Draft<'_>) -> Arc<Pdu> {
        let pdu = self.build(draft);
        self.add(pdu)
    }

    pub(crate) fn find(&self, event_type: &str, key: &str) -> Option<Arc<Pdu>> {
        self.state.get(&(event_type.to_owned(), key.to_owned())).cloned()
    }

    /// Checks an event against the state of the room.
    pub(crate) fn check(&self, pdu: &Pdu) -> Result<(), AuthError> {
        check_dependent(pdu, |event_type, key| self.find(event_type, key))
    }

    pub(crate) fn check_independent(&self, pdu: &Pdu) -> Result<(), AuthError> {
        check_independent(pdu, |event_id| self.events.get(event_id).cloned())
    }

    /// Whether an event would be allowed.
    pub(crate) fn allows(&self, draft: Draft<'_>) -> bool {
        let pdu = self.clone().build(draft);
        self.check(&pdu).is_ok()
    }

    pub(crate) fn with_membership(mut self, user: &str, membership: &str) -> Self {
        self.apply(member(if membership == "join" { user } else { ALICE }, user, membership));
        self
    }

    /// Lets time pass.
    pub(crate) fn skip(&mut self, count: i64) {
        self.count += count;
    }
}

#[test]
fn fixture_room_is_allowed_by_its_own_rules() {
    for version in versions(1, 12) {
        let mut room = Room::created(&version, &json!({}));
        let drafts = [
            member(ALICE, ALICE, "join"),
            state(ALICE, "m.room.power_levels", "", room.default_levels()),
            state(ALICE, "m.room.join_rules", "", json!({ "join_rule": "public" })),
            member(BOB, BOB, "join"),
            message(BOB),
        ];
        for draft in drafts {
            let pdu = room.build(draft);
            assert_eq!(room.check_independent(&pdu), Ok(()), "version {version}: {}", pdu.json());
            assert_eq!(room.check(&pdu), Ok(()), "version {version}: {}", pdu.json());
            room.add(pdu);
        }
    }
}
