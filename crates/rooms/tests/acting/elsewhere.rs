//! Another server: it builds events from what it knows of a room, and signs them with its own key.

use std::sync::Arc;

use hs_model::records::EventRecord;
use hs_room_rules::{
    auth,
    build::{EventTemplate, LegacyParts, build, legacy_event_id},
    pdu::Pdu,
    room_version::{self, RoomVersionRulesExt as _},
    sign::SigningKey,
};
use hs_rooms::receive::{Incoming, PduOutcome};
use ruma::{OwnedEventId, RoomId, ServerName, UserId};
use serde_json::{Value, json};

use crate::stage::Stage;

/// What an event of the other server is to be.
pub(crate) struct Draft<'a> {
    pub(crate) sender: &'a str,
    pub(crate) event_type: &'a str,
    pub(crate) state_key: Option<&'a str>,
    pub(crate) content: Value,
    /// `None`: the ends of the graph as this server has them.
    pub(crate) after: Option<Vec<Arc<Pdu>>>,
    pub(crate) ts: i64,
}

impl Draft<'_> {
    pub(crate) fn message(body: &str) -> Self {
        Self {
            sender: "@bob:other.example",
            event_type: "m.room.message",
            state_key: None,
            content: json!({ "msgtype": "m.text", "body": body }),
            after: None,
            ts: 1_000,
        }
    }
}

impl<'a> Draft<'a> {
    pub(crate) fn state(event_type: &'a str, state_key: &'a str, content: Value) -> Self {
        Draft { event_type, state_key: Some(state_key), content, ..Draft::message("") }
    }

    pub(crate) fn by(self, sender: &'a str) -> Self {
        Draft { sender, ..self }
    }

    pub(crate) fn after(self, events: &[&Arc<Pdu>]) -> Self {
        Draft { after: Some(events.iter().map(|event| (*event).clone()).collect()), ..self }
    }

    pub(crate) fn at(self, ts: i64) -> Self {
        Draft { ts, ..self }
    }
}

impl Stage {
    /// Builds an event of another server, by the current state of the room.
    pub(crate) async fn foreign(&self, room_id: &RoomId, draft: Draft<'_>) -> Arc<Pdu> {
        self.foreign_in(room_id, draft, None).await
    }

    /// The same, with these auth events.
    pub(crate) async fn foreign_in(
        &self,
        room_id: &RoomId,
        draft: Draft<'_>,
        auth_events: Option<Vec<OwnedEventId>>,
    ) -> Arc<Pdu> {
        let room = self.server.rooms.find(room_id).await.expect("a working database").expect("the room");
        let rules = room_version::rules(&room.version).expect("a known version");
        let sender = UserId::parse(draft.sender).expect("a user id");
        let content = draft.content.to_string();
        let keys = auth::auth_types(draft.event_type, &sender, draft.state_key, &content, rules);
        let mut found = Vec::new();
        for (event_type, key) in keys.expect("a well-formed event") {
            found.extend(
                self.state_event(room_id, event_type, &key).await.map(|event| event.event_id.clone()),
            );
        }
        let prev: Vec<(OwnedEventId, i64)> = match &draft.after {
            Some(events) => events.iter().map(|pdu| (pdu.event_id().to_owned(), pdu.depth())).collect(),
            None => {
                self.ends(room_id).await.iter().map(|event| (event.event_id.clone(), event.depth)).collect()
            }
        };
        let server: &ServerName = sender.server_name();
        let name = format!("{:x}{}", draft.ts, found.len() + prev.len()) + &content.len().to_string();
        let template = EventTemplate {
            room_id: Some(room_id),
            sender: &sender,
            event_type: draft.event_type,
            state_key: draft.state_key,
            content: &content,
            redacts: None,
            origin_server_ts: draft.ts,
            sticky_ms: None,
            depth: 1 + prev.iter().map(|(_, depth)| *depth).max().unwrap_or(0),
            prev_events: prev.into_iter().map(|(id, _)| id).collect(),
            auth_events: auth_events.unwrap_or(found),
            legacy: (!rules.event_id_is_hash()).then(|| LegacyParts {
                event_id: legacy_event_id(&name, server).expect("a valid id"),
                reference_hashes: std::collections::HashMap::new(),
            }),
        };
        let key = SigningKey::from_seed("1", &[9; 32]).expect("a valid key version");
        Arc::new(build(template, rules, server, &key).expect("a valid event"))
    }

    /// The forward extremities.
    pub(crate) async fn ends(&self, room_id: &RoomId) -> Vec<Arc<EventRecord>> {
        let head = self.head(room_id).await;
        self.server.store.list_events(&head.forward_extremities).await.expect("a working database")
    }

    /// Takes in events of another server.
    pub(crate) async fn receive(&self, room_id: &RoomId, events: &[&Arc<Pdu>]) -> Vec<PduOutcome> {
        let room = self.server.rooms.find(room_id).await.expect("a working database").expect("the room");
        let incoming =
            events.iter().map(|pdu| Incoming { pdu: (*pdu).clone(), state_before: None }).collect();
        self.server.rooms.receive(&room, incoming).await.expect("a working database")
    }

    /// Bob of the other server joins a room.
    pub(crate) async fn bob_joins(&self, room_id: &RoomId) -> Arc<Pdu> {
        let bob = "@bob:other.example";
        let draft = Draft::state("m.room.member", bob, json!({ "membership": "join" }));
        let join = self.foreign(room_id, draft).await;
        assert_eq!(self.receive(room_id, &[&join]).await, [PduOutcome::Accepted]);
        join
    }
}
