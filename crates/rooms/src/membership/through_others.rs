//! Joining, knocking on, leaving and inviting to rooms with the help of servers that are in them.
//!
//! Each is tried with one server after the other, until one of them does it. What they answer is believed only as far as it can
//! be checked: a template must be for what was asked, and a join must be allowed by the state that comes with it.
//!
//! <https://spec.matrix.org/v1.19/server-server-api/#joining-rooms>

use std::{collections::HashMap, sync::Arc};

use hs_model::membership::Membership;
use hs_room_rules::{
    auth,
    build::{hash_and_sign, legacy_event_id},
    canonical_json::{Number, Object, ParseOptions, Value},
    pdu::Pdu,
    room_version::{self, RoomVersionRules, RoomVersionRulesExt as _},
};
use hs_storage::{StorageError, outside::StrippedState};
use rand::RngExt as _;
use ruma::{OwnedServerName, RoomId, RoomVersionId, ServerName, UserId};
use serde_json::value::RawValue;

use super::{MemberContent, MembershipError};
use crate::{
    Room, RoomActions, Sender, WriteError,
    adopt::{AdoptError, AdoptedRoom, ToldInPart},
    ports::{JoinAnswer, MemberTemplate, MemberWish, RemoteFailure, RemoteRooms, WantedMembers},
    receive::{Incoming, PduOutcome},
};

/// How many servers are asked for one thing at most.
const MAX_SERVERS: usize = 10;
/// How many servers of a room's members are thought of.
const MAX_MEMBER_SERVERS: i64 = 20;
/// What is taken over from a template.
const TEMPLATE_KEYS: [&str; 8] =
    ["auth_events", "depth", "prev_events", "room_id", "sender", "state_key", "type", "content"];
/// Names the member of another server through whom a user joins.
const AUTHORISER: &str = "join_authorised_via_users_server";

/// What went wrong with each of the servers that were asked: the most telling of it is what the user learns.
#[derive(Debug, Default)]
pub(crate) struct Failures(Option<RemoteFailure>);

impl Failures {
    fn note(&mut self, failure: RemoteFailure) {
        tracing::debug!(%failure, "asking the next server");
        if self.0.as_ref().is_none_or(|known| weight(&failure) > weight(known)) {
            self.0 = Some(failure);
        }
    }

    /// The error, when `what` was asked of somebody.
    fn into_error(self, room_id: &RoomId) -> MembershipError {
        match self.0 {
            Some(failure) => MembershipError::Remote(failure),
            None => MembershipError::UnknownRoom(crate::actions::UnknownRoom::Id(room_id.to_owned())),
        }
    }
}

/// How much a failure says about the room, rather than about the one server.
fn weight(failure: &RemoteFailure) -> u8 {
    match failure {
        RemoteFailure::Unreachable { .. } => 0,
        RemoteFailure::Nonsense { .. } => 1,
        RemoteFailure::Refused { status: 404, .. } => 2,
        RemoteFailure::Refused { errcode, .. }
            if matches!(&**errcode, "M_UNABLE_TO_AUTHORISE_JOIN" | "M_UNABLE_TO_GRANT_JOIN") =>
        {
            3
        }
        RemoteFailure::Refused { .. } => 4,
    }
}

/// What came of an attempt with one server: what the caller may try elsewhere, or what ends it all.
enum Attempt {
    Remote(RemoteFailure),
    Fatal(MembershipError),
}

impl From<RemoteFailure> for Attempt {
    fn from(failure: RemoteFailure) -> Self {
        Self::Remote(failure)
    }
}

impl From<StorageError> for Attempt {
    fn from(error: StorageError) -> Self {
        Self::Fatal(error.into())
    }
}

/// A member event that is ready to be handed in.
struct Prepared {
    version: RoomVersionId,
    pdu: Arc<Pdu>,
}

impl RoomActions {
    /// Joins a room that this server is not in, or that nobody here can let the user into.
    pub(super) async fn join_through(
        &self,
        room_id: &RoomId,
        sender: &Sender,
        content: &MemberContent<'_>,
        servers: &[OwnedServerName],
    ) -> Result<Arc<Room>, MembershipError> {
        let Some(remote) = self.remote_rooms.clone() else {
            return Err(Failures::default().into_error(room_id));
        };
        let mut failures = Failures::default();
        for server in self.worth_asking(servers) {
            match self.try_join(&*remote, server, room_id, sender, content).await {
                Ok(room) => return Ok(room),
                Err(Attempt::Remote(failure)) => failures.note(failure),
                Err(Attempt::Fatal(error)) => return Err(error),
            }
        }
        Err(failures.into_error(room_id))
    }

    async fn try_join(
        &self,
        remote: &dyn RemoteRooms,
        server: &ServerName,
        room_id: &RoomId,
        sender: &Sender,
        content: &MemberContent<'_>,
    ) -> Result<Arc<Room>, Attempt> {
        let Prepared { version, pdu, .. } = self.prepare(remote, server, room_id, sender, content).await?;
        let wanted = match self.rooms.find(room_id).await? {
            // The state is compared with the one that is known here.
            Some(room) if self.rooms.is_resident(&room).await? => WantedMembers::All,
            _ => WantedMembers::Few,
        };
        let mut answer = remote.send_join(server, &pdu, wanted).await?;
        if answer.servers.is_some() {
            add_members_of(&pdu, &mut answer);
        }
        let join = checked_join(&pdu, &answer)
            .map_err(|reason| RemoteFailure::Nonsense { server: server.to_owned(), reason })?;
        let room = match self.rooms.find(room_id).await? {
            Some(room) if self.rooms.is_resident(&room).await? => {
                self.take_own_join(&room, join, answer).await?;
                room
            }
            known => {
                if let Some(room) = known {
                    self.rooms.correct_version(&room, &version).await?;
                }
                let JoinAnswer { state, auth_chain, servers, .. } = answer;
                let room_id = room_id.to_owned();
                let own = self.rooms.server_name();
                let partial = servers.map(|servers| ToldInPart {
                    by: server.to_owned(),
                    servers: servers.into_iter().filter(|name| name != own).collect(),
                });
                let adopted = AdoptedRoom { room_id, version, state, auth_chain, event: join, partial };
                self.rooms.adopt(&adopted).await.map_err(|error| adopt_failure(server, error))?
            }
        };
        let mut txn = self.rooms.store().begin().await?;
        txn.delete_stripped_states(room.nid).await?;
        txn.commit().await?;
        Ok(room)
    }

    /// Another server has let a user into a room that this server is in.
    async fn take_own_join(
        &self,
        room: &Arc<Room>,
        join: Arc<Pdu>,
        answer: JoinAnswer,
    ) -> Result<(), Attempt> {
        let state_before = answer.servers.is_none().then(|| {
            let ids = answer.state.iter().map(|pdu| pdu.event_id().to_owned());
            ids.collect()
        });
        let mut pdus = answer.auth_chain;
        pdus.extend(answer.state);
        self.rooms.store_outliers(room, &pdus).await?;
        let incoming = Incoming { pdu: join, state_before };
        let outcomes = self.rooms.receive(room, vec![incoming]).await;
        let outcomes = outcomes.map_err(|error| Attempt::Fatal(error.into()))?;
        accepted(outcomes).map_err(|why| Attempt::Fatal(MembershipError::NotAllowed(why)))
    }

    /// Knocks on a room that this server is not in.
    pub(super) async fn knock_through(
        &self,
        room_id: &RoomId,
        sender: &Sender,
        content: &MemberContent<'_>,
        servers: &[OwnedServerName],
    ) -> Result<(), MembershipError> {
        let Some(remote) = self.remote_rooms.clone() else {
            return Err(Failures::default().into_error(room_id));
        };
        let mut failures = Failures::default();
        for server in self.worth_asking(servers) {
            let asked = async {
                let prepared = self.prepare(&*remote, server, room_id, sender, content).await?;
                let shown = remote.send_knock(server, &prepared.pdu).await?;
                Ok::<_, RemoteFailure>((prepared, shown))
            };
            match asked.await {
                Ok((prepared, shown)) => {
                    let mut known = vec![server.to_owned()];
                    known.extend(servers.iter().filter(|other| *other != server).cloned());
                    let shown = stripped_state(&shown, known);
                    self.note_outside(prepared, Some(shown)).await?;
                    return Ok(());
                }
                Err(failure) => failures.note(failure),
            }
        }
        Err(failures.into_error(room_id))
    }

    /// Rejects an invite to a room that this server is not in, or takes back a knock. Where no server can be told, the user is
    /// out of it all the same.
    pub(super) async fn leave_from_outside(
        &self,
        room: &Arc<Room>,
        sender: &Sender,
        content: &MemberContent<'_>,
    ) -> Result<(), MembershipError> {
        let member = self.rooms.store().reader().await?.find_membership(room.nid, sender.nid).await?;
        let Some(member) = member.filter(|m| m.membership != Membership::Ban) else {
            return Err(MembershipError::NotAllowed("You are not in this room".to_owned()));
        };
        if member.membership == Membership::Leave {
            return Ok(());
        }
        let left = self.rooms.store().list_events(&[member.event]).await?;
        let left = left.first().map(|event| crate::pdus::parse(room, event)).transpose()?;
        let servers = self.servers_for(room, sender, &[]).await?;
        let mut prepared = None;
        if let Some(remote) = self.remote_rooms.clone() {
            for server in self.worth_asking(&servers) {
                let asked = async {
                    let prepared = self.prepare(&*remote, server, &room.room_id, sender, content).await?;
                    remote.send_leave(server, &prepared.pdu).await?;
                    Ok::<_, RemoteFailure>(prepared)
                };
                match asked.await {
                    Ok(done) => {
                        prepared = Some(done);
                        break;
                    }
                    Err(failure) => {
                        tracing::info!(%failure, room_id = %room.room_id, "could not tell of a leave");
                    }
                }
            }
        }
        let prepared = match (prepared, left) {
            (Some(prepared), _) => prepared,
            (None, Some(left)) => self.lonely_leave(room, sender, content, &left)?,
            (None, None) => return Ok(()),
        };
        self.note_outside(prepared, None).await
    }

    /// A leave of which no other server knows.
    fn lonely_leave(
        &self,
        room: &Room,
        sender: &Sender,
        content: &MemberContent<'_>,
        left: &Pdu,
    ) -> Result<Prepared, MembershipError> {
        let before = [left.event_id().to_owned()];
        let template = serde_json::json!({
            "auth_events": references(&before, room.rules),
            "depth": left.depth() + 1,
            "prev_events": references(&before, room.rules),
            "room_id": room.room_id,
            "sender": sender.user_id,
            "state_key": sender.user_id,
            "type": "m.room.member",
            "content": { "membership": "leave" },
        });
        let wish =
            MemberWish { membership: Membership::Leave, room_id: &room.room_id, user_id: &sender.user_id };
        let pdu = self.sign_template(&template.to_string(), room.rules, wish, content);
        let pdu = pdu.map_err(|why| MembershipError::NotAllowed(why.to_owned()))?;
        Ok(Prepared { version: room.version.clone(), pdu: Arc::new(pdu) })
    }

    async fn note_outside(
        &self,
        prepared: Prepared,
        shown: Option<StrippedState>,
    ) -> Result<(), MembershipError> {
        let Prepared { version, pdu, .. } = prepared;
        self.rooms.note_outside(crate::outside::OutsideChange { version, pdu, shown }).await?;
        Ok(())
    }

    /// Servers that may be in a room: those that were named, those that are known from an invite, those of its members, and that
    /// by which the room is called.
    pub(super) async fn servers_for(
        &self,
        room: &Room,
        sender: &Sender,
        named: &[OwnedServerName],
    ) -> Result<Vec<OwnedServerName>, StorageError> {
        let mut reader = self.rooms.store().reader().await?;
        let mut servers = named.to_vec();
        if let Some(shown) = reader.find_stripped_state(room.nid, sender.nid).await? {
            servers.extend(shown.servers);
        }
        if let Some(member) = reader.find_membership(room.nid, sender.nid).await? {
            let event = reader.list_events(&[member.event]).await?.pop();
            servers.extend(event.map(|event| event.sender.server_name().to_owned()));
        }
        servers.extend(reader.list_joined_servers(room.nid, MAX_MEMBER_SERVERS).await?);
        servers.extend(room.room_id.server_name().map(ToOwned::to_owned));
        Ok(servers)
    }

    /// Those of the servers that are not this one, each once, and not too many.
    fn worth_asking<'a>(&self, servers: &'a [OwnedServerName]) -> Vec<&'a ServerName> {
        let mut worth: Vec<&ServerName> = Vec::new();
        for server in servers {
            if *server != *self.rooms.server_name() && !worth.contains(&&**server) {
                worth.push(server);
            }
        }
        worth.truncate(MAX_SERVERS);
        worth
    }

    /// Has a server prepare a member event, and makes it the user's own.
    async fn prepare(
        &self,
        remote: &dyn RemoteRooms,
        server: &ServerName,
        room_id: &RoomId,
        sender: &Sender,
        content: &MemberContent<'_>,
    ) -> Result<Prepared, RemoteFailure> {
        let nonsense = |reason: String| RemoteFailure::Nonsense { server: server.to_owned(), reason };
        let wish = MemberWish { membership: content.membership, room_id, user_id: &sender.user_id };
        let MemberTemplate { version, event } = remote.make_member(server, wish).await?;
        let rules = room_version::rules(&version)
            .ok_or_else(|| nonsense(format!("the room has the version {version}, which is unknown here")))?;
        let pdu = self.sign_template(event.get(), rules, wish, content);
        let pdu = pdu.map_err(|reason| nonsense(reason.to_owned()))?;
        Ok(Prepared { version, pdu: Arc::new(pdu) })
    }

    fn sign_template(
        &self,
        template: &str,
        rules: &'static RoomVersionRules,
        wish: MemberWish<'_>,
        content: &MemberContent<'_>,
    ) -> Result<Pdu, &'static str> {
        let mut event = Object::parse(template, ParseOptions::federation(rules))
            .map_err(|_| "the template is not valid JSON")?;
        check_template(&event, wish)?;
        event.retain(|key, _| TEMPLATE_KEYS.contains(&key));
        let authoriser = event
            .get_object("content")
            .and_then(|content| content.get_str(AUTHORISER))
            .and_then(|user_id| <&UserId>::try_from(user_id).ok())
            .map(ToOwned::to_owned);
        let content = MemberContent {
            join_authorised_via_users_server: authoriser
                .as_deref()
                .filter(|_| wish.membership == Membership::Join),
            ..content.clone()
        };
        let content = serde_json::to_string(&content).map_err(|_| "the content is not valid")?;
        let content =
            Object::parse(&content, ParseOptions::client(rules)).map_err(|_| "the content is not valid")?;
        event.insert("content", content);
        let now_ms = Value::Number(Number::Int(self.rooms.inner.clock.now_ms()));
        event.insert("origin_server_ts", now_ms);
        let own = self.rooms.server_name();
        if !rules.event_id_is_hash() {
            let name: String =
                rand::rng().sample_iter(rand::distr::Alphanumeric).take(24).map(char::from).collect();
            let event_id = legacy_event_id(&name, own).ok_or("the event cannot be named")?;
            event.insert("event_id", event_id.to_string());
        }
        hash_and_sign(&mut event, rules, own, &self.rooms.inner.key);
        Pdu::from_object(event, None, rules).map_err(|_| "the template is not an event of its room version")
    }
}

fn adopt_failure(server: &ServerName, error: AdoptError) -> Attempt {
    match error {
        AdoptError::Invalid(reason) => {
            Attempt::Remote(RemoteFailure::Nonsense { server: server.to_owned(), reason })
        }
        AdoptError::Busy => Attempt::Fatal(WriteError::Busy.into()),
        AdoptError::Storage(error) => Attempt::Fatal(WriteError::Storage(error).into()),
    }
}

/// Whether a template is for what was asked.
fn check_template(event: &Object<'_>, wish: MemberWish<'_>) -> Result<(), &'static str> {
    let is = |key: &str, value: &str| event.get_str(key) == Some(value);
    let membership = event.get_object("content").and_then(|content| content.get_str("membership"));
    if !is("room_id", wish.room_id.as_str()) {
        Err("the template is for another room")
    } else if !is("sender", wish.user_id.as_str()) || !is("state_key", wish.user_id.as_str()) {
        Err("the template is for another user")
    } else if !is("type", "m.room.member") || membership != Some(wish.membership.as_str()) {
        Err("the template is for something else")
    } else {
        Ok(())
    }
}

/// Puts those members into the state who authorise a join, where a server has left members out of it.
fn add_members_of(join: &Pdu, answer: &mut JoinAnswer) {
    for pdu in &answer.auth_chain {
        let is_named = join.auth_events().iter().any(|id| *id == *pdu.event_id());
        let is_known =
            |known: &Arc<Pdu>| known.type_str() == pdu.type_str() && known.state_key() == pdu.state_key();
        if is_named && pdu.type_str() == "m.room.member" && !answer.state.iter().any(is_known) {
            answer.state.push(pdu.clone());
        }
    }
}

/// The join as it is to be kept, if the state that a server answered with belongs to the room and allows it.
fn checked_join(join: &Arc<Pdu>, answer: &JoinAnswer) -> Result<Arc<Pdu>, String> {
    let join = match &answer.event {
        Some(event) if event.event_id() != join.event_id() || event.content_str() != join.content_str() => {
            return Err("another event than the join came back".to_owned());
        }
        Some(event) => event,
        None => join,
    };
    let mut state: HashMap<(&str, &str), &Arc<Pdu>> = HashMap::with_capacity(answer.state.len());
    for pdu in &answer.state {
        let Some(state_key) = pdu.state_key() else {
            return Err("the state holds an event that is no state event".to_owned());
        };
        if pdu.room_id() != join.room_id() {
            return Err("the state holds an event of another room".to_owned());
        }
        if state.insert((pdu.type_str(), state_key), pdu).is_some() {
            return Err("the state holds two events of the same type and key".to_owned());
        }
    }
    if answer.auth_chain.iter().any(|pdu| pdu.room_id() != join.room_id()) {
        return Err("the auth chain holds an event of another room".to_owned());
    }
    let create = state.get(&("m.room.create", "")).ok_or("the state has no create event")?;
    auth::check_independent(create, |_| None::<&Pdu>).map_err(|error| error.0)?;
    auth::check_dependent(join, |event_type, key| state.get(&(event_type, key)).map(|pdu| &***pdu))
        .map_err(|error| format!("the state does not allow the join: {error}"))?;
    Ok(join.clone())
}

/// Why an event that was handed to the room is not in it.
pub(crate) fn accepted(outcomes: Vec<PduOutcome>) -> Result<(), String> {
    use hs_model::records::Outcome;
    match outcomes.into_iter().next() {
        Some(PduOutcome::Accepted | PduOutcome::Known(Outcome::Accepted)) => Ok(()),
        Some(PduOutcome::SoftFailed(why) | PduOutcome::Rejected(why) | PduOutcome::Dropped(why)) => Err(why),
        Some(PduOutcome::Known(_)) => Err("the event was refused before".to_owned()),
        Some(PduOutcome::MissingPrev(_) | PduOutcome::MissingAuth(_)) => {
            Err("events before this one are missing".to_owned())
        }
        None => Err("the event was not looked at".to_owned()),
    }
}

/// References to events in the form of a room version; those with hashes go without, since nobody checks them.
fn references(ids: &[ruma::OwnedEventId], rules: &RoomVersionRules) -> serde_json::Value {
    let reference = |id: &ruma::OwnedEventId| {
        if rules.references_carry_hashes() { serde_json::json!([id, {}]) } else { serde_json::json!(id) }
    };
    ids.iter().map(reference).collect()
}

/// What users are shown of a room, from what a server has sent: stripped state events, or whole ones.
pub fn stripped_state(events: &[Box<RawValue>], servers: Vec<OwnedServerName>) -> StrippedState {
    #[derive(serde::Serialize, serde::Deserialize)]
    struct Stripped<'a> {
        #[serde(borrow)]
        content: &'a RawValue,
        sender: ruma::OwnedUserId,
        state_key: String,
        r#type: String,
    }
    let stripped: Vec<Stripped<'_>> =
        events.iter().filter_map(|event| serde_json::from_str(event.get()).ok()).collect();
    StrippedState { state: serde_json::to_string(&stripped).unwrap_or_else(|_| "[]".to_owned()), servers }
}
