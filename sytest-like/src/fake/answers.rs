//! What the fake server answers when no case says otherwise: what an honest server would.

use std::collections::HashSet;
use std::sync::Arc;

use serde_json::{Value, json};

use super::event::Event;
use super::graph::{Graph, StateMap};
use super::listener::check_pdu;
use super::received::{Received, Reply};
use super::server::FakeServer;
use super::version::Version;

type Outcome = Result<Value, Reply>;

fn not_found() -> Reply {
    Reply::error(404, "M_NOT_FOUND")
}

impl FakeServer {
    /// The answer of an honest server, for cases that change it only a little.
    pub async fn honest_reply(&self, received: &Received) -> Reply {
        let outcome = match received.segment(0).as_str() {
            "send" => Ok(self.take_transaction(received).await),
            "make_join" => self.make_for_other(received, "join"),
            "make_leave" => self.make_for_other(received, "leave"),
            "make_knock" => self.make_for_other(received, "knock"),
            "send_join" | "send_leave" | "send_knock" => self.take_membership(received),
            "invite" => Ok(self.take_invite(received)),
            "state" | "state_ids" => self.tell_state(received),
            "event" => self.tell_event(received),
            "event_auth" => self.tell_event_auth(received),
            "backfill" => self.tell_backfill(received),
            "get_missing_events" => self.tell_missing_events(received),
            "timestamp_to_event" => self.tell_event_at(received),
            "publicRooms" => Ok(self.tell_public_rooms()),
            _ => self.tell_about_people(received),
        };
        outcome.map_or_else(|reply| reply, Reply::json)
    }

    fn tell_about_people(&self, received: &Received) -> Outcome {
        let endpoint = received.endpoint();
        if endpoint == "key/v2/server" {
            return Ok(self.signed_keys());
        }
        if endpoint == "version" {
            return Ok(json!({"server": {"name": "fake", "version": "1"}}));
        }
        let state = self.lock();
        let user = || received.param("user_id").unwrap_or_default();
        match endpoint {
            "query/profile" => {
                let profile = state.profiles.get(user()).ok_or_else(not_found)?;
                Ok(match received.param("field") {
                    Some(field) => json!({field: profile[field]}),
                    None => profile.clone(),
                })
            }
            "query/directory" => {
                let alias = received.param("room_alias").unwrap_or_default();
                let room_id = state.aliases.get(alias).ok_or_else(not_found)?;
                Ok(json!({"room_id": room_id, "servers": [self.name()]}))
            }
            "user/keys/query" => {
                drop(state);
                Ok(self.tell_keys(&received.body))
            }
            "user/keys/claim" => {
                drop(state);
                Ok(self.give_one_time_keys(&received.body))
            }
            _ if received.is("user/devices") => {
                let empty = json!({"user_id": received.segment(2), "stream_id": 1, "devices": []});
                Ok(state.devices.get(&received.segment(2)).cloned().unwrap_or(empty))
            }
            _ => Err(Reply::error(404, "M_UNRECOGNIZED")),
        }
    }

    fn tell_keys(&self, body: &Value) -> Value {
        let state = self.lock();
        let mut answer = json!({"device_keys": {}, "master_keys": {}, "self_signing_keys": {}});
        let asked = body["device_keys"].as_object().into_iter().flatten();
        for (user, wanted) in asked {
            let Some(known) = state.devices.get(user) else { continue };
            let wanted: Vec<&str> =
                wanted.as_array().into_iter().flatten().filter_map(Value::as_str).collect();
            answer["device_keys"][user] = json!({});
            for device in known["devices"].as_array().into_iter().flatten() {
                let id = device["device_id"].as_str().unwrap_or_default();
                if wanted.is_empty() || wanted.contains(&id) {
                    answer["device_keys"][user][id] = device["keys"].clone();
                }
            }
            for (key, of) in [("master_keys", "master_key"), ("self_signing_keys", "self_signing_key")] {
                if known[of].is_object() {
                    answer[key][user] = known[of].clone();
                }
            }
        }
        answer
    }

    fn give_one_time_keys(&self, body: &Value) -> Value {
        let mut state = self.lock();
        let mut answer = json!({"one_time_keys": {}});
        for (user, devices) in body["one_time_keys"].as_object().into_iter().flatten() {
            for (device, algorithm) in devices.as_object().into_iter().flatten() {
                let wanted = format!("{}:", algorithm.as_str().unwrap_or_default());
                let Some(keys) = state.one_time_keys.get_mut(&(user.clone(), device.clone())) else {
                    continue;
                };
                if let Some(index) = keys.iter().position(|(id, _)| id.starts_with(&wanted)) {
                    let (id, key) = keys.remove(index);
                    if !answer["one_time_keys"][user].is_object() {
                        answer["one_time_keys"][user] = json!({});
                    }
                    answer["one_time_keys"][user][device] = json!({id: key});
                }
            }
        }
        answer
    }

    async fn take_transaction(&self, received: &Received) -> Value {
        let origin = received.origin.clone().unwrap_or_default();
        let mut results = json!({});
        for pdu in received.pdus() {
            let room_id = pdu["room_id"].as_str().unwrap_or_default();
            let Some(version) = self.with_graph(room_id, |graph| graph.version) else { continue };
            let is_own = pdu["sender"].as_str().is_some_and(|sender| sender.ends_with(&format!(":{origin}")));
            if is_own && let Err(fault) = check_pdu(self, &origin, &pdu, version).await {
                self.complain(fault);
            }
            let event = Event::new(pdu.clone(), version);
            results[&event.id] = json!({});
            self.with_graph(room_id, |graph| graph.add(event));
        }
        json!({"pdus": results})
    }

    fn make_for_other(&self, received: &Received, membership: &str) -> Outcome {
        let (room_id, user) = (received.segment(1), received.segment(2));
        let version = self.with_graph(&room_id, |graph| graph.version).ok_or_else(not_found)?;
        if membership != "leave" && !received.params("ver").any(|ver| ver == version.name()) {
            let error = json!({"errcode": "M_INCOMPATIBLE_ROOM_VERSION", "error": "No", "room_version": version.name()});
            return Err(Reply::status(400, error));
        }
        let room = self.room(&room_id);
        let mut content = json!({"membership": membership});
        let rule = room.state_event("m.room.join_rules", "").map(|event| event.json["content"].clone());
        let is_restricted = rule
            .as_ref()
            .and_then(|content| content["join_rule"].as_str())
            .is_some_and(|rule| rule.contains("restricted"));
        if membership == "join" && is_restricted {
            content["join_authorised_via_users_server"] = json!(self.own_member(&room_id));
        }
        let draft = room.event("m.room.member", &user).state_key(&user).content(content);
        Ok(json!({"room_version": version.name(), "event": draft.template()}))
    }

    /// One of our users in the room.
    fn own_member(&self, room_id: &str) -> Option<String> {
        let state = self.with_graph(room_id, |graph| graph.current_state())?;
        let ours = format!(":{}", self.name());
        let mut users = state.keys().filter(|(kind, _)| kind == "m.room.member").map(|(_, user)| user);
        users.find(|user| user.ends_with(&ours)).cloned()
    }

    fn take_membership(&self, received: &Received) -> Outcome {
        let room_id = received.segment(1);
        let name = self.name().to_owned();
        let key = self.key();
        let leaves_out = self.lock().leaves_out_members && received.param("omit_members") == Some("true");
        let answer = self.with_graph(&room_id, |graph| {
            let version = graph.version;
            let mut json = received.body.clone();
            let is_authorised_here = json["content"]["join_authorised_via_users_server"]
                .as_str()
                .is_some_and(|user| user.ends_with(&format!(":{name}")));
            if is_authorised_here {
                key.add_event_signature(&mut json, &name, version);
            }
            let event = Event::new(json, version);
            let before = graph.state_after(&event.prev_ids());
            let servers = graph.servers();
            graph.add(event.clone());
            match received.segment(0).as_str() {
                "send_leave" => json!({}),
                "send_knock" => json!({"knock_room_state": stripped(graph, &before)}),
                _ => {
                    let mut answer = join_answer(graph, &event, &before, leaves_out);
                    answer["servers_in_room"] = json!(servers);
                    answer["origin"] = json!(name);
                    answer
                }
            }
        });
        let answer = answer.ok_or_else(not_found)?;
        Ok(if received.edition() == "v1" && received.segment(0) != "send_knock" {
            json!([200, answer])
        } else {
            answer
        })
    }

    fn take_invite(&self, received: &Received) -> Value {
        let is_new = received.edition() == "v2";
        let version = if is_new { received.body["room_version"].as_str().unwrap_or("1") } else { "1" };
        let mut event = if is_new { received.body["event"].clone() } else { received.body.clone() };
        self.key().add_event_signature(&mut event, self.name(), Version::parse(version));
        if is_new { json!({"event": event}) } else { json!([200, {"event": event}]) }
    }

    fn tell_state(&self, received: &Received) -> Outcome {
        let event_id = received.param("event_id").unwrap_or_default();
        let answer = self.with_graph(&received.segment(1), |graph| {
            graph.shown(event_id)?;
            let state = graph.state_before(event_id)?;
            let chain = graph.auth_chain(state.values());
            Some(if received.segment(0) == "state" {
                json!({"pdus": graph.shown_json(state.values()), "auth_chain": graph.shown_json(&chain)})
            } else {
                let ids: Vec<&String> = state.values().collect();
                json!({"pdu_ids": ids, "auth_chain_ids": chain})
            })
        });
        answer.flatten().ok_or_else(not_found)
    }

    fn tell_event(&self, received: &Received) -> Outcome {
        let id = received.segment(1);
        let found = self.room_ids().into_iter().find_map(|room_id| {
            self.with_graph(&room_id, |graph| graph.shown(&id).map(|event| event.json.clone())).flatten()
        });
        let pdu = found.ok_or_else(not_found)?;
        Ok(json!({"origin": self.name(), "origin_server_ts": super::event::now_ms(), "pdus": [pdu]}))
    }

    fn tell_event_auth(&self, received: &Received) -> Outcome {
        let id = received.segment(2);
        let answer = self.with_graph(&received.segment(1), |graph| {
            graph.shown(&id)?;
            Some(json!({"auth_chain": graph.shown_json(&graph.auth_chain([&id]))}))
        });
        answer.flatten().ok_or_else(not_found)
    }

    fn tell_backfill(&self, received: &Received) -> Outcome {
        let limit = received.param("limit").and_then(|limit| limit.parse().ok()).unwrap_or(10);
        let from: Vec<String> = received.params("v").map(str::to_owned).collect();
        let pdus = self.with_graph(&received.segment(1), |graph| {
            let events = graph.walk_back(&from, &HashSet::new(), limit);
            events.into_iter().map(|event| event.json).collect::<Vec<_>>()
        });
        let pdus = pdus.ok_or_else(not_found)?;
        Ok(json!({"origin": self.name(), "origin_server_ts": super::event::now_ms(), "pdus": pdus}))
    }

    fn tell_missing_events(&self, received: &Received) -> Outcome {
        let ids = |key: &str| -> Vec<String> {
            let list = received.body[key].as_array().into_iter().flatten();
            list.filter_map(Value::as_str).map(str::to_owned).collect()
        };
        let limit = received.body["limit"].as_u64().unwrap_or(10) as usize;
        let events = self.with_graph(&received.segment(1), |graph| {
            let latest = ids("latest_events");
            let known: HashSet<String> = ids("earliest_events").into_iter().chain(latest.clone()).collect();
            let from: Vec<String> =
                latest.iter().filter_map(|id| graph.event(id)).flat_map(Event::prev_ids).collect();
            let mut found = graph.walk_back(&from, &known, limit);
            found.sort_by_key(Event::depth);
            found.into_iter().map(|event| event.json).collect::<Vec<_>>()
        });
        Ok(json!({"events": events.ok_or_else(not_found)?}))
    }

    fn tell_event_at(&self, received: &Received) -> Outcome {
        let ts: i64 = received.param("ts").and_then(|ts| ts.parse().ok()).unwrap_or_default();
        let forwards = received.param("dir") == Some("f");
        let found = self.with_graph(&received.segment(1), |graph| {
            let events = graph.order.iter().filter_map(|id| graph.shown(id));
            let times = events.map(|event| (event.json["origin_server_ts"].as_i64().unwrap_or(0), &event.id));
            let nearest = if forwards {
                times.filter(|(time, _)| *time >= ts).min()
            } else {
                times.filter(|(time, _)| *time <= ts).max()
            };
            nearest.map(|(time, id)| json!({"event_id": id, "origin_server_ts": time}))
        });
        found.flatten().ok_or_else(not_found)
    }

    fn tell_public_rooms(&self) -> Value {
        let chunk: Vec<Value> = self
            .room_ids()
            .into_iter()
            .filter_map(|room_id| self.with_graph(&room_id, |graph| public_entry(&room_id, graph)).flatten())
            .collect();
        json!({"total_room_count_estimate": chunk.len(), "chunk": chunk})
    }
}

fn public_entry(room_id: &str, graph: &mut Graph) -> Option<Value> {
    let state = graph.current_state();
    let content = |kind: &str| {
        let id = state.get(&(kind.to_owned(), String::new()))?;
        Some(graph.event(id)?.json["content"].clone())
    };
    if content("m.room.join_rules")?["join_rule"] != "public" {
        return None;
    }
    let members = state.keys().filter(|(kind, _)| kind == "m.room.member").count();
    let mut entry = json!({"room_id": room_id, "num_joined_members": members, "world_readable": false,
        "guest_can_join": false, "join_rule": "public"});
    if let Some(name) = content("m.room.name") {
        entry["name"] = name["name"].clone();
    }
    Some(entry)
}

/// What strangers may know of a room before they are in it.
fn stripped(graph: &Graph, state: &Arc<StateMap>) -> Vec<Value> {
    const TOLD: &[&str] = &["m.room.create", "m.room.join_rules", "m.room.name", "m.room.topic"];
    let events = state.iter().filter(|((kind, _), _)| TOLD.contains(&kind.as_str()));
    let events = events.filter_map(|(_, id)| graph.event(id));
    events
        .map(|event| {
            let json = &event.json;
            if graph.version.has_hashed_room_ids() {
                return json.clone();
            }
            json!({"type": json["type"], "state_key": json["state_key"], "content": json["content"],
                "sender": json["sender"]})
        })
        .collect()
}

fn join_answer(graph: &Graph, event: &Event, before: &Arc<StateMap>, leaves_out: bool) -> Value {
    let auth = event.auth_ids();
    let told = before.iter().filter(|((kind, _), _)| !leaves_out || kind != "m.room.member");
    let state: Vec<String> = told.map(|(_, id)| id.clone()).collect();
    let mut chain = graph.auth_chain(state.iter().chain(&auth));
    chain.extend(auth);
    json!({
        "event": event.json,
        "state": graph.shown_json(&state),
        "auth_chain": graph.shown_json(&chain),
        "members_omitted": leaves_out,
    })
}
