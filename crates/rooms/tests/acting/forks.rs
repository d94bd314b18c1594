//! Random forks: what the rooms make of them, from differences of groups and an index of auth events, is what the algorithm
//! makes of the whole states and the whole auth chains.

use std::{collections::HashMap, sync::Arc};

use hs_room_rules::{
    pdu::{Pdu, Stored},
    state_res::{StateMap, auth_chain, conflicted_subgraph, resolve, state_map_key},
};
use hs_rooms::{
    Room,
    create::{CreateRoom, Preset},
    receive::PduOutcome,
};
use rand::{RngExt as _, SeedableRng as _, rngs::StdRng, seq::IndexedRandom as _};
use ruma::{OwnedEventId, OwnedRoomId, RoomVersionId};
use serde_json::{Value, json};

use crate::{
    elsewhere::Draft,
    stage::{Stage, object},
};

const USERS: [&str; 3] = ["@bob:other.example", "@carol:third.example", "@dave:fourth.example"];
const EVENTS: usize = 40;

/// Every event of the room with the state after it, kept whole.
struct Model {
    room: Arc<Room>,
    events: HashMap<OwnedEventId, Arc<Pdu>>,
    states: HashMap<OwnedEventId, StateMap>,
}

impl Model {
    async fn of(stage: &Stage, room_id: &OwnedRoomId) -> Self {
        let room =
            stage.server.rooms.find(room_id).await.expect("the database answers").expect("the room is known");
        let nids: Vec<_> = room.read().recent().map(|event| event.nid).collect();
        let mut model = Self { room: room.clone(), events: HashMap::new(), states: HashMap::new() };
        let mut state = StateMap::new();
        for record in stage.server.store.list_events(&nids).await.expect("the database answers").iter().rev()
        {
            let stored = Stored {
                json: (&*record.json).into(),
                event_id: record.event_id.clone(),
                room_id: room_id.clone(),
                is_rejected: false,
            };
            let pdu = Arc::new(Pdu::from_stored(stored, room.rules).expect("an event of ours"));
            state.extend(state_map_key(&pdu).map(|key| (key, pdu.event_id().to_owned())));
            model.states.insert(record.event_id.clone(), state.clone());
            model.events.insert(record.event_id.clone(), pdu);
        }
        model
    }

    fn fetch(&self, id: &ruma::EventId) -> Option<Arc<Pdu>> {
        self.events.get(id).cloned()
    }

    /// The state that several events lead to.
    fn resolve(&self, ids: &[OwnedEventId]) -> StateMap {
        let mut states: Vec<StateMap> = ids.iter().map(|id| self.states[id].clone()).collect();
        states.sort_by_key(|state| {
            let mut ids: Vec<_> = state.values().cloned().collect();
            ids.sort();
            ids
        });
        states.dedup();
        if let [only] = &states[..] {
            return only.clone();
        }
        let chains = states
            .iter()
            .map(|state| {
                let mut chain = auth_chain(state.values().map(|id| &**id), |id| self.fetch(id));
                for id in state.values() {
                    chain.insert(id.clone());
                }
                chain
            })
            .collect();
        let subgraph = |ids: &[&ruma::EventId]| Some(conflicted_subgraph(ids, |id| self.fetch(id)));
        resolve(self.room.rules, &states, chains, |id| self.fetch(id), subgraph).expect("a whole graph")
    }

    fn add(&mut self, pdu: &Arc<Pdu>) {
        let mut state = self.resolve(pdu.prev_events());
        state.extend(state_map_key(pdu).map(|key| (key, pdu.event_id().to_owned())));
        self.states.insert(pdu.event_id().to_owned(), state);
        self.events.insert(pdu.event_id().to_owned(), pdu.clone());
    }
}

async fn stage(version: &RoomVersionId) -> (Stage, OwnedRoomId) {
    let stage = Stage::new().await;
    let alice = stage.person("alice").await;
    let mut users: serde_json::Map<String, Value> =
        USERS.iter().zip([100, 60, 50]).map(|(user, level)| ((*user).to_owned(), json!(level))).collect();
    if version.as_str() != "12" {
        users.insert(alice.user_id.to_string(), json!(100));
    }
    let parameters = CreateRoom {
        preset: Preset::Public,
        version: Some(version.clone()),
        power_levels: object(&json!({ "users": users })),
        ..CreateRoom::default()
    };
    let room_id = stage.room(&alice, parameters).await;
    for user in USERS {
        let draft = Draft::state("m.room.member", user, json!({ "membership": "join" })).by(user);
        let join = stage.foreign(&room_id, draft).await;
        assert_eq!(stage.receive(&room_id, &[&join]).await, [PduOutcome::Accepted]);
    }
    (stage, room_id)
}

/// Something that somebody may do, or may not.
fn random_draft<'a>(rng: &mut StdRng, after: Vec<Arc<Pdu>>) -> Draft<'a> {
    let sender = *USERS.choose(rng).expect("there are users");
    let other = *USERS.choose(rng).expect("there are users");
    let text = format!("{}", rng.random_range(0..1_000_000));
    let (event_type, state_key, content) = match rng.random_range(0..10) {
        0 => ("m.room.name", "", json!({ "name": text })),
        1 => ("m.room.join_rules", "", json!({ "join_rule": "public", "text": text })),
        2 => ("m.room.member", sender, json!({ "membership": "join", "displayname": text })),
        3 if other != sender => ("m.room.member", other, json!({ "membership": "ban" })),
        4 => ("m.room.member", sender, json!({ "membership": "leave" })),
        5 => ("m.room.member", sender, json!({ "membership": "join" })),
        _ => ("m.room.topic", "", json!({ "topic": text })),
    };
    let ts = rng.random_range(1_000..9_000);
    Draft { sender, event_type, state_key: Some(state_key), content, after: Some(after), ts }
}

async fn random_room(version: &RoomVersionId, seed: u64) {
    let mut rng = StdRng::seed_from_u64(seed);
    let (stage, room_id) = stage(version).await;
    let mut model = Model::of(&stage, &room_id).await;
    let mut ends: Vec<Arc<Pdu>> =
        stage.ends(&room_id).await.iter().map(|end| model.events[&end.event_id].clone()).collect();
    let mut accepted = ends.clone();
    for _ in 0..EVENTS {
        let count = rng.random_range(1..=2);
        let from = accepted.len().saturating_sub(6);
        let mut after: Vec<Arc<Pdu>> = accepted[from..].sample(&mut rng, count).cloned().collect();
        after.dedup_by(|a, b| a.event_id() == b.event_id());
        let ids: Vec<OwnedEventId> = after.iter().map(|pdu| pdu.event_id().to_owned()).collect();
        let before = model.resolve(&ids);
        let draft = random_draft(&mut rng, after);
        let auth = auth_of(&model, &before, &draft);
        let pdu = stage.foreign_in(&room_id, draft, Some(auth)).await;
        if model.events.contains_key(pdu.event_id()) {
            continue;
        }

        let outcome = stage.receive(&room_id, &[&pdu]).await.remove(0);

        if outcome == PduOutcome::Accepted {
            model.add(&pdu);
            ends.retain(|end| !pdu.prev_events().iter().any(|prev| prev == end.event_id()));
            ends.push(pdu.clone());
            accepted.push(pdu);
        }
        let ids: Vec<OwnedEventId> = ends.iter().map(|end| end.event_id().to_owned()).collect();
        compare(&stage, &model, &ids, version, seed).await;
    }
    assert!(accepted.len() > EVENTS / 4, "most of the events were refused in version {version}, seed {seed}");
}

/// The auth events of a draft in a state.
fn auth_of(model: &Model, state: &StateMap, draft: &Draft<'_>) -> Vec<OwnedEventId> {
    let sender = ruma::UserId::parse(draft.sender).expect("a user id");
    let content = draft.content.to_string();
    let keys = hs_room_rules::auth::auth_types(
        draft.event_type,
        &sender,
        draft.state_key,
        &content,
        model.room.rules,
    );
    let find = |(event_type, key): (&str, std::borrow::Cow<'_, str>)| {
        state.get(&(event_type.into(), key.into_owned())).cloned()
    };
    keys.expect("the keys of the rules")
        .into_iter()
        .filter_map(|(event_type, key)| find((event_type, key)))
        .collect()
}

async fn compare(stage: &Stage, model: &Model, ends: &[OwnedEventId], version: &RoomVersionId, seed: u64) {
    let expected = model.resolve(ends);
    let nids: Vec<_> = model.room.read().state.values().flat_map(|slots| slots.values().copied()).collect();
    let events = stage.server.store.list_events(&nids).await.expect("the database answers");
    let found: StateMap = events
        .iter()
        .map(|event| {
            let key = event.state_key.as_deref().unwrap_or_default().to_owned();
            (((&*event.event_type).into(), key), event.event_id.clone())
        })
        .collect();
    let differing: Vec<_> =
        expected.keys().chain(found.keys()).filter(|key| expected.get(*key) != found.get(*key)).collect();
    let told: Vec<_> = differing.iter().map(|key| (key, found.get(*key), expected.get(*key))).collect();
    assert!(told.is_empty(), "version {version}, seed {seed}: (slot, found, expected) {told:?}");
}

#[tokio::test]
async fn random_forks_resolve_as_the_algorithm_says() {
    for version in
        [RoomVersionId::V12, RoomVersionId::V11, RoomVersionId::V6, RoomVersionId::V2, RoomVersionId::V1]
    {
        for seed in 0..4 {
            random_room(&version, seed).await;
        }
    }
}
