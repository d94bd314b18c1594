//! Joining, knocking on, leaving and inviting to rooms with the help of servers that are in them.
//!
//! Each is tried with one server after the other, until one of them does it. What they answer is believed only as far as it can
//! be checked: a template must be for what was asked, and a join must be allowed by the state that comes with it.
//!
//! <https://spec.matrix.org/v1.19/server-server-api/#joining-rooms>

use std::{collections::HashMap, sync::Arc, time::Duration};

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
use tokio::time::Instant;

use super::{MemberContent, MembershipError};
use crate::{
    Room, RoomActions, Sender, WriteError,
    adopt::{AdoptError, AdoptedRoom, ToldInPart},
    ports::{JoinAnswer, MemberTemplate, MemberWish, RemoteFailure, RemoteRooms, WantedMembers},
    receive::{Incoming, PduOutcome},
};

/// How many servers are asked for one thing at most.
const MAX_SERVERS: usize = 10;
/// For how long servers are asked one after the other, until one has prepared what the user wants.
const PATIENCE: Duration = Duration::from_mins(1);
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
pub(super) struct Prepared {
    pub(super) version: RoomVersionId,
    pub(super) pdu: Arc<Pdu>,
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
        let mut left = PATIENCE;
        for server in self.worth_asking(&*remote, servers) {
            let prepared = self.prepare(&*remote, server, room_id, sender, content);
            let prepared = match in_time(&mut left, server, prepared).await {
                Ok(prepared) => prepared,
                Err(failure) => {
                    failures.note(failure);
                    continue;
                }
            };
            match self.try_join(&*remote, server, room_id, prepared).await {
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
        Prepared { version, pdu }: Prepared,
    ) -> Result<Arc<Room>, Attempt> {
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
        let mut left = PATIENCE;
        for server in self.worth_asking(&*remote, servers) {
            let asked = async {
                let prepared = self.prepare(&*remote, server, room_id, sender, content);
                let prepared = in_time(&mut left, server, prepared).await?;
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

    pub(super) async fn note_outside(
        &self,
        prepared: Prepared,
        shown: Option<StrippedState>,
    ) -> Result<(), MembershipError> {
        let Prepared { version, pdu } = prepared;
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

    /// Those of the servers that are not this one, each once, and not too many; last those that did not answer lately.
    pub(super) fn worth_asking<'a>(
        &self,
        remote: &dyn RemoteRooms,
        servers: &'a [OwnedServerName],
    ) -> Vec<&'a ServerName> {
        let mut worth: Vec<&ServerName> = Vec::new();
        for server in servers {
            if *server != *self.rooms.server_name() && !worth.contains(&&**server) {
                worth.push(server);
            }
        }
        worth.sort_by_key(|server| remote.is_away(server));
        worth.truncate(MAX_SERVERS);
        worth
    }

    /// Has a server prepare a member event, and makes it the user's own.
    pub(super) async fn prepare(
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

    pub(super) fn sign_template(
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

/// What a server prepares, as long as there is time left for that.
async fn in_time(
    left: &mut Duration,
    server: &ServerName,
    prepared: impl Future<Output = Result<Prepared, RemoteFailure>>,
) -> Result<Prepared, RemoteFailure> {
    let too_late = || RemoteFailure::Unreachable {
        server: server.to_owned(),
        reason: "there was no time left for this server".to_owned(),
    };
    if left.is_zero() {
        return Err(too_late());
    }
    let begun_at = Instant::now();
    let prepared = tokio::time::timeout(*left, prepared).await;
    *left = left.saturating_sub(begun_at.elapsed());
    prepared.unwrap_or_else(|_| Err(too_late()))
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
        // Without that signature the join counts nowhere, though it is in the room here.
        None if needs_authoriser(join) => {
            return Err(
                "the join came back without the signature of the server that authorises it".to_owned()
            );
        }
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

/// Whether the server of somebody else must have signed a join.
fn needs_authoriser(join: &Pdu) -> bool {
    #[derive(serde::Deserialize)]
    struct Content {
        join_authorised_via_users_server: Option<ruma::OwnedUserId>,
    }
    let authoriser =
        join.content_as().ok().and_then(|content: Content| content.join_authorised_via_users_server);
    join.rules().signatures.check_join_authorised_via_users_server
        && authoriser.is_some_and(|user_id| user_id.server_name() != join.sender().server_name())
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

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test(start_paused = true)]
    async fn time_to_prepare_is_shared_by_all_servers() {
        let server: &ServerName = "a.example".try_into().unwrap();
        let begun_at = Instant::now();
        let mut left = PATIENCE;

        for _ in 0..MAX_SERVERS {
            assert!(in_time(&mut left, server, std::future::pending()).await.is_err());
            // What follows a template takes its own time.
            tokio::time::sleep(Duration::from_secs(1)).await;
        }

        assert_eq!(begun_at.elapsed(), PATIENCE + Duration::from_secs(MAX_SERVERS as u64));
    }
}
