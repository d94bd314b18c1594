//! Scenarios as files: a graph of events in, the resolved state out.

use std::{
    collections::{BTreeMap, HashMap},
    sync::Arc,
};

use hs_room_rules::{
    build::{EventTemplate, LegacyParts, build, legacy_event_id},
    pdu::Pdu,
    room_version::{RoomVersionRules, RoomVersionRulesExt as _},
    state_res::{EventIdSet, StateMap, auth_chain, conflicted_subgraph, resolve, state_map_key},
};
use ruma::{EventId, OwnedEventId, events::StateEventType, room_id};
use serde::Deserialize;
use serde_json::Value;

use crate::room::{key, user, version};

/// A file under `tests/fixtures/state_res`.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Scenario {
    /// What happens and why the outcome is right, for the reader.
    #[serde(rename = "about")]
    _about: String,
    /// In an order in which each is after those it names. The first is the create event.
    events: Vec<Event>,
    /// The names of the events in each state.
    states: Vec<Vec<String>>,
    /// For one room version (`"11"`) or several (`"2-11"`): by type and state key (`"m.room.member @bob:b"`)
    /// the name of the event in the resolved state, or null if there is to be none.
    resolved: BTreeMap<String, BTreeMap<String, Option<String>>>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Event {
    name: String,
    r#type: String,
    sender: String,
    state_key: String,
    content: Value,
    /// Names of auth events. The create event is left out where the room version says so.
    auth: Vec<String>,
    /// By default, the place in the list.
    depth: Option<i64>,
    /// By default, the place in the list.
    ts: Option<i64>,
    #[serde(default)]
    rejected: bool,
}

/// The events of a scenario in one room version.
struct Built {
    rules: &'static RoomVersionRules,
    events: HashMap<OwnedEventId, Arc<Pdu>>,
    ids: HashMap<String, OwnedEventId>,
}

impl Scenario {
    pub(crate) fn check(&self, path: &str) {
        for (versions, expected) in &self.resolved {
            let (from, to) = versions.split_once('-').unwrap_or((versions, versions));
            for room_version in from.parse::<u8>().unwrap()..=to.parse().unwrap() {
                let built = self.build(&room_version.to_string());
                let states: Vec<StateMap> = self.states.iter().map(|names| built.state(names)).collect();
                let resolved = built.resolve(&states);
                let reversed: Vec<StateMap> = states.iter().rev().cloned().collect();
                assert_eq!(built.resolve(&reversed), resolved, "{path}, version {room_version}: order");
                assert_eq!(
                    built.resolve_with_differences(&states),
                    resolved,
                    "{path}, version {room_version}: chains without what is common to all"
                );
                for (state_key, name) in expected {
                    let (event_type, key) = state_key.split_once(' ').unwrap_or((state_key, ""));
                    let found = resolved.get(&(StateEventType::from(event_type), key.to_owned()));
                    let found = found.map(|id| built.name(id));
                    assert_eq!(found, name.as_deref(), "{path}, version {room_version}: {state_key}");
                }
            }
        }
    }

    fn build(&self, room_version: &str) -> Built {
        let rules = version(room_version);
        let mut built = Built { rules, events: HashMap::new(), ids: HashMap::new() };
        let mut room_id = (!rules.room_id_is_create_hash()).then(|| room_id!("!room:a").to_owned());
        for (index, event) in self.events.iter().enumerate() {
            let place = i64::try_from(index).unwrap() + 1;
            let is_create = event.r#type == "m.room.create";
            let mut content = event.content.clone();
            if is_create {
                content["room_version"] = room_version.into();
                content["creator"] = event.sender.clone().into();
            } else if rules.authorization.explicitly_privilege_room_creators
                && let Some(users) = content.get_mut("users").and_then(Value::as_object_mut)
            {
                users.remove(&self.events[0].sender);
            }
            let auth_events = event
                .auth
                .iter()
                .filter(|name| *name != "create" || !rules.room_id_is_create_hash())
                .map(|name| built.ids[name].clone())
                .collect();
            let server_name = user(&event.sender).server_name();
            let template = EventTemplate {
                room_id: room_id.as_deref(),
                sender: user(&event.sender),
                event_type: &event.r#type,
                state_key: Some(&event.state_key),
                content: &content.to_string(),
                redacts: None,
                origin_server_ts: event.ts.unwrap_or(place),
                prev_events: vec![],
                auth_events,
                depth: event.depth.unwrap_or(place),
                sticky_ms: None,
                legacy: (!rules.event_id_is_hash()).then(|| LegacyParts {
                    event_id: legacy_event_id(&event.name, server_name).unwrap(),
                    reference_hashes: HashMap::new(),
                }),
            };
            let pdu = build(template, rules, server_name, &key()).unwrap().with_rejected(event.rejected);
            room_id = Some(pdu.room_id().to_owned());
            built.ids.insert(event.name.clone(), pdu.event_id().to_owned());
            built.events.insert(pdu.event_id().to_owned(), Arc::new(pdu));
        }
        built
    }
}

impl Built {
    fn state(&self, names: &[String]) -> StateMap {
        names
            .iter()
            .map(|name| {
                let id = self.ids.get(name).unwrap_or_else(|| panic!("no event `{name}`"));
                (state_map_key(&self.events[id]).unwrap(), id.clone())
            })
            .collect()
    }

    fn name(&self, event_id: &EventId) -> &str {
        self.ids.iter().find(|(_, id)| *id == event_id).map(|(name, _)| name.as_str()).unwrap()
    }

    fn resolve(&self, states: &[StateMap]) -> StateMap {
        resolve_states(self.rules, &self.events, states, auth_chains(&self.events, states))
    }

    fn resolve_with_differences(&self, states: &[StateMap]) -> StateMap {
        let chains = auth_chains(&self.events, states);
        let is_common = |id: &OwnedEventId| chains.iter().all(|chain| chain.contains(id));
        let differences =
            chains.iter().map(|chain| chain.iter().filter(|id| !is_common(id)).cloned().collect()).collect();
        resolve_states(self.rules, &self.events, states, differences)
    }
}

pub(super) fn auth_chains(events: &HashMap<OwnedEventId, Arc<Pdu>>, states: &[StateMap]) -> Vec<EventIdSet> {
    let chain = |state: &StateMap| auth_chain(state.values().map(|id| &**id), |id| events.get(id).cloned());
    states.iter().map(chain).collect()
}

pub(super) fn resolve_states(
    rules: &RoomVersionRules,
    events: &HashMap<OwnedEventId, Arc<Pdu>>,
    states: &[StateMap],
    auth_chains: Vec<EventIdSet>,
) -> StateMap {
    let fetch = |id: &EventId| events.get(id).cloned();
    resolve(rules, states, auth_chains, fetch, |conflicted| Some(conflicted_subgraph(conflicted, fetch)))
        .expect("all events of a test are there")
}
