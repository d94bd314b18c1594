//! [`RemoteRooms`] over HTTP.

use std::{collections::BTreeMap, sync::Arc, time::Duration};

use bytes::Bytes;
use hs_model::membership::Membership;
use hs_room_rules::{
    canonical_json::{Object, ParseOptions},
    pdu::Pdu,
    redact::redact_event,
    room_version::{self, RoomVersionRules},
};
use hs_rooms::{
    membership::ProvenInvite,
    ports::{
        Invitation, JoinAnswer, MemberTemplate, MemberWish, RemoteFailure, RemoteFuture, RemoteRoom,
        RemoteRooms, RemoteSpace, WantedMembers,
    },
};
use http::StatusCode;
use ruma::{
    OwnedRoomId, RoomId, RoomVersionId, ServerName,
    api::{
        Metadata as _,
        federation::{
            membership::{
                RawStrippedState, create_invite, create_join_event, create_knock_event, create_leave_event,
                prepare_join_event, prepare_knock_event, prepare_leave_event,
            },
            space::get_hierarchy::v1 as get_hierarchy,
            thirdparty::exchange_invite::v1 as exchange_invite,
        },
        path_builder::PathBuilder as _,
    },
};
use serde::Deserialize;
use serde_json::value::RawValue;

use crate::{FederationClient, Keyring, Limits, RequestError};

/// How long a server may take for things that cost it little.
const QUICK: Duration = Duration::from_secs(20);
/// How long it may take to say what a room is, while somebody looks at a tree of them.
const SPACE_PATIENCE: Duration = Duration::from_secs(8);
/// How long it may take to gather the state of a room.
const JOIN_TIMEOUT: Duration = Duration::from_mins(3);
/// How large the state of a room may be.
const MAX_STATE_BYTES: usize = 256 * 1024 * 1024;
/// How many servers a room may be said to have.
const MAX_SERVERS: usize = 100_000;

/// Asks other servers about rooms. Cloning is cheap.
#[derive(Clone, Debug)]
pub struct RemoteRoomClient {
    /// For what can be done without an answer.
    client: FederationClient,
    /// For what users do with a server, or with one of a few.
    insisting: FederationClient,
    keyring: Keyring,
}

impl RemoteRoomClient {
    /// Asks with `client`; `keyring` knows who has signed what.
    pub fn new(client: FederationClient, keyring: Keyring) -> Self {
        Self { insisting: client.insisting(), client, keyring }
    }

    async fn make(&self, server: &ServerName, wish: MemberWish<'_>) -> Result<MemberTemplate, RequestError> {
        let (room_id, user_id) = (wish.room_id.to_owned(), wish.user_id.to_owned());
        let limits = Limits::within(QUICK);
        let versions = room_version::SUPPORTED.to_vec();
        let template = match wish.membership {
            Membership::Join => {
                let mut request = prepare_join_event::v1::Request::new(room_id, user_id);
                request.ver = versions;
                let response = self.insisting.send(server, request, limits).await?;
                MemberTemplate {
                    version: response.room_version.unwrap_or(RoomVersionId::V1),
                    event: response.event,
                }
            }
            Membership::Knock => {
                let mut request = prepare_knock_event::v1::Request::new(room_id, user_id);
                request.ver = versions;
                let response = self.insisting.send(server, request, limits).await?;
                MemberTemplate { version: response.room_version, event: response.event }
            }
            _ => {
                let request = prepare_leave_event::v1::Request::new(room_id, user_id);
                let response = self.insisting.send(server, request, limits).await?;
                MemberTemplate {
                    version: response.room_version.unwrap_or(RoomVersionId::V1),
                    event: response.event,
                }
            }
        };
        Ok(template)
    }

    async fn join(
        &self,
        server: &ServerName,
        join: &Pdu,
        wanted: WantedMembers,
    ) -> Result<JoinAnswer, RemoteFailure> {
        let (room_id, event_id) = (join.room_id().to_owned(), join.event_id().to_owned());
        let mut request = create_join_event::v2::Request::new(room_id, event_id, join.to_raw_json());
        request.omit_members = wanted == WantedMembers::Few;
        let limits = Limits { timeout: JOIN_TIMEOUT, max_response_bytes: MAX_STATE_BYTES };
        let response = self.insisting.send(server, request, limits).await;
        let answer = response.map_err(|error| failure(server, error))?.room_state;
        let nonsense =
            |reason: &str| RemoteFailure::Nonsense { server: server.to_owned(), reason: reason.to_owned() };
        let servers = match answer.servers_in_room {
            _ if !answer.members_omitted => None,
            _ if wanted == WantedMembers::All => {
                return Err(nonsense("it left out members of the room, which it was not asked to do"));
            }
            Some(names) if names.len() <= MAX_SERVERS => {
                Some(names.into_iter().filter_map(|name| name.try_into().ok()).collect())
            }
            _ => {
                return Err(nonsense(
                    "it left out members of the room, and does not say which servers are in it",
                ));
            }
        };
        let rules = join.rules();
        // All in one go: each server's keys are asked for once, and all of them at the same time.
        let (has_event, state_count) = (answer.event.is_some(), answer.state.len());
        let told = answer.event.into_iter().chain(answer.state).chain(answer.auth_chain);
        let mut good = self.good_pdus(server, told.collect(), rules).await.into_iter();
        Ok(JoinAnswer {
            event: if has_event { good.next().flatten() } else { None },
            state: good.by_ref().take(state_count).flatten().collect(),
            auth_chain: good.flatten().collect(),
            servers,
        })
    }

    /// The events, where they are signed as they must be.
    async fn good_pdus(
        &self,
        server: &ServerName,
        events: Vec<Box<RawValue>>,
        rules: &'static RoomVersionRules,
    ) -> Vec<Option<Arc<Pdu>>> {
        let texts = events.into_iter().map(|event| String::from(Box::<str>::from(event))).collect();
        let checked = self.keyring.verify_pdus(texts, rules).await;
        let good = checked.into_iter().map(|pdu| match pdu {
            Ok(pdu) => Some(pdu),
            Err(error) => {
                tracing::debug!(%server, %error, "left out an event");
                None
            }
        });
        good.collect()
    }

    async fn ask_space(&self, server: &ServerName, room_id: &RoomId) -> Result<RemoteSpace, RequestError> {
        let malformed = |error: &dyn std::fmt::Display| RequestError::Malformed(error.to_string());
        let path = get_hierarchy::Request::PATH_BUILDER
            .make_endpoint_url((), "", &[&room_id], "")
            .map_err(|error| malformed(&error))?;
        let request = http::Request::get(path).body(Bytes::new()).map_err(|error| malformed(&error))?;
        let response = self.client.exchange(server, request, Limits::within(SPACE_PATIENCE)).await?;
        let told: ToldSpace = serde_json::from_slice(response.body()).map_err(|error| malformed(&error))?;
        Ok(RemoteSpace {
            room: told.room.into(),
            children: told.children.into_iter().map(RemoteRoom::from).collect(),
            inaccessible: told.inaccessible_children,
        })
    }

    /// The body repeats what is in the path, as servers expect that read it as an event.
    async fn ask_for_invite(&self, server: &ServerName, invite: &ProvenInvite) -> Result<(), RemoteFailure> {
        let body = serde_json::json!({
            "type": "m.room.member",
            "room_id": invite.room_id,
            "sender": invite.inviter,
            "state_key": invite.invited,
            "content": {
                "membership": "invite",
                // Whoever writes the invite knows under which name the address is shown.
                "third_party_invite": { "display_name": invite.invited, "signed": invite.signed },
            },
        });
        let malformed =
            |error: &dyn std::fmt::Display| failure(server, RequestError::Malformed(error.to_string()));
        let path = exchange_invite::Request::PATH_BUILDER
            .make_endpoint_url((), "", &[&invite.room_id], "")
            .map_err(|error| malformed(&error))?;
        let request = http::Request::put(path)
            .header(http::header::CONTENT_TYPE, "application/json")
            .body(Bytes::from(body.to_string()))
            .map_err(|error| malformed(&error))?;
        let answer = self.insisting.exchange(server, request, Limits::within(QUICK)).await;
        answer.map(drop).map_err(|error| failure(server, error))
    }

    async fn hand_in_invite(
        &self,
        server: &ServerName,
        invitation: Invitation<'_>,
    ) -> Result<Box<RawValue>, RemoteFailure> {
        let pdu = invitation.pdu;
        let shown = invitation.shown.iter().cloned().map(RawStrippedState::Pdu).collect();
        let request = create_invite::v2::Request::new(
            pdu.room_id().to_owned(),
            pdu.event_id().to_owned(),
            invitation.version.clone(),
            pdu.to_raw_json(),
            shown,
        );
        let response = self.insisting.send(server, request, Limits::within(QUICK)).await;
        let is_old = matches!(invitation.version, RoomVersionId::V1 | RoomVersionId::V2);
        let event = match response {
            Ok(response) => response.event,
            Err(error) if is_old && is_unknown_endpoint(&error) => {
                let answer = self.hand_in_old_invite(server, &invitation).await;
                answer.map_err(|error| failure(server, error))?
            }
            Err(error) => return Err(failure(server, error)),
        };
        let nonsense = |reason: String| RemoteFailure::Nonsense { server: server.to_owned(), reason };
        let options = ParseOptions::federation(pdu.rules());
        let mut signed = Object::parse(event.get(), options).map_err(|error| nonsense(error.to_string()))?;
        // The signature is one of the redacted event, as all signatures of events are.
        redact_event(&mut signed, &pdu.rules().redaction);
        let verified = self.keyring.verify_json(server, &signed).await;
        verified.map_err(|error| nonsense(error.to_string()))?;
        Ok(event)
    }

    /// As it was done when there were only the first two room versions.
    ///
    /// <https://spec.matrix.org/v1.19/server-server-api/#put_matrixfederationv1inviteroomideventid>
    async fn hand_in_old_invite(
        &self,
        server: &ServerName,
        invitation: &Invitation<'_>,
    ) -> Result<Box<RawValue>, RequestError> {
        #[derive(Deserialize)]
        struct Signed {
            event: Box<RawValue>,
        }
        let malformed = |error: &dyn std::fmt::Display| RequestError::Malformed(error.to_string());
        let pdu = invitation.pdu;
        let mut event: BTreeMap<String, Box<RawValue>> =
            serde_json::from_str(pdu.json()).map_err(|error| malformed(&error))?;
        let unsigned = BTreeMap::from([("invite_room_state", &invitation.shown)]);
        let unsigned = serde_json::value::to_raw_value(&unsigned).map_err(|error| malformed(&error))?;
        event.insert("unsigned".to_owned(), unsigned);
        let body = serde_json::to_vec(&event).map_err(|error| malformed(&error))?;
        let path = create_invite::v1::Request::PATH_BUILDER
            .make_endpoint_url((), "", &[&pdu.room_id(), &pdu.event_id()], "")
            .map_err(|error| malformed(&error))?;
        let request = http::Request::put(path).body(body.into()).map_err(|error| malformed(&error))?;
        let answer = self.insisting.exchange(server, request, Limits::within(QUICK)).await?;
        let (_, signed): (u16, Signed) =
            serde_json::from_slice(answer.body()).map_err(|error| malformed(&error))?;
        Ok(signed.event)
    }
}

impl RemoteRooms for RemoteRoomClient {
    fn is_away(&self, server: &ServerName) -> bool {
        self.client.is_away(server)
    }

    fn make_member<'a>(
        &'a self,
        server: &'a ServerName,
        wish: MemberWish<'a>,
    ) -> RemoteFuture<'a, MemberTemplate> {
        Box::pin(async move { self.make(server, wish).await.map_err(|error| failure(server, error)) })
    }

    fn send_join<'a>(
        &'a self,
        server: &'a ServerName,
        join: &'a Pdu,
        wanted: WantedMembers,
    ) -> RemoteFuture<'a, JoinAnswer> {
        Box::pin(self.join(server, join, wanted))
    }

    fn send_knock<'a>(
        &'a self,
        server: &'a ServerName,
        knock: &'a Pdu,
    ) -> RemoteFuture<'a, Vec<Box<RawValue>>> {
        Box::pin(async move {
            let (room_id, event_id) = (knock.room_id().to_owned(), knock.event_id().to_owned());
            let request = create_knock_event::v1::Request::new(room_id, event_id, knock.to_raw_json());
            let response = self.insisting.send(server, request, Limits::within(QUICK)).await;
            let shown = response.map_err(|error| failure(server, error))?.knock_room_state;
            Ok(shown.into_iter().map(raw_shown).collect())
        })
    }

    fn send_leave<'a>(&'a self, server: &'a ServerName, leave: &'a Pdu) -> RemoteFuture<'a, ()> {
        Box::pin(async move {
            let (room_id, event_id) = (leave.room_id().to_owned(), leave.event_id().to_owned());
            let request = create_leave_event::v2::Request::new(room_id, event_id, leave.to_raw_json());
            let response = self.insisting.send(server, request, Limits::within(QUICK)).await;
            response.map(drop).map_err(|error| failure(server, error))
        })
    }

    fn invite<'a>(
        &'a self,
        server: &'a ServerName,
        invitation: Invitation<'a>,
    ) -> RemoteFuture<'a, Box<RawValue>> {
        Box::pin(self.hand_in_invite(server, invitation))
    }

    fn exchange_invite<'a>(
        &'a self,
        server: &'a ServerName,
        invite: &'a ProvenInvite,
    ) -> RemoteFuture<'a, ()> {
        Box::pin(self.ask_for_invite(server, invite))
    }

    fn space<'a>(&'a self, server: &'a ServerName, room_id: &'a RoomId) -> RemoteFuture<'a, RemoteSpace> {
        Box::pin(async move { self.ask_space(server, room_id).await.map_err(|error| failure(server, error)) })
    }
}

/// A room in the words of the hierarchy endpoint; ruma's type leaves the children of children out.
#[derive(Deserialize)]
struct ToldRoom {
    room_id: OwnedRoomId,
    room_version: Option<RoomVersionId>,
    num_joined_members: u64,
    name: Option<String>,
    topic: Option<String>,
    canonical_alias: Option<String>,
    avatar_url: Option<String>,
    room_type: Option<String>,
    join_rule: Option<String>,
    #[serde(default)]
    allowed_room_ids: Vec<OwnedRoomId>,
    encryption: Option<String>,
    #[serde(default)]
    world_readable: bool,
    #[serde(default)]
    guest_can_join: bool,
    #[serde(default)]
    children_state: Vec<Box<RawValue>>,
}

#[derive(Deserialize)]
struct ToldSpace {
    room: ToldRoom,
    #[serde(default)]
    children: Vec<ToldRoom>,
    #[serde(default)]
    inaccessible_children: Vec<OwnedRoomId>,
}

impl From<ToldRoom> for RemoteRoom {
    fn from(room: ToldRoom) -> Self {
        Self {
            room_id: room.room_id,
            version: room.room_version.unwrap_or(RoomVersionId::V1),
            joined: room.num_joined_members,
            name: room.name,
            topic: room.topic,
            canonical_alias: room.canonical_alias,
            avatar_url: room.avatar_url,
            room_type: room.room_type,
            join_rule: room.join_rule,
            allowed_rooms: room.allowed_room_ids,
            encryption: room.encryption,
            is_world_readable: room.world_readable,
            guests_can_join: room.guest_can_join,
            children: room.children_state,
        }
    }
}

/// What a user is to be shown of a room, in whichever form it came.
#[expect(deprecated, reason = "older servers send stripped state")]
pub fn raw_shown(shown: RawStrippedState) -> Box<RawValue> {
    match shown {
        RawStrippedState::Stripped(event) => event.into_json(),
        RawStrippedState::Pdu(event) => event,
        // No other form exists; what a newer version of the types may bring shows nothing.
        _ => RawValue::NULL.to_owned(),
    }
}

/// Whether a server does not know an endpoint: older ones say so with 400.
fn is_unknown_endpoint(error: &RequestError) -> bool {
    match error {
        RequestError::Api { status: StatusCode::BAD_REQUEST | StatusCode::NOT_FOUND, errcode, .. } => {
            errcode == "M_UNRECOGNIZED" || errcode.is_empty()
        }
        _ => false,
    }
}

fn failure(server: &ServerName, error: RequestError) -> RemoteFailure {
    let server = server.to_owned();
    match error {
        error if error.is_outage() => RemoteFailure::Unreachable { server, reason: error.to_string() },
        RequestError::Api { status, errcode, message, body, .. } => RemoteFailure::Refused {
            server,
            status: status.as_u16(),
            errcode,
            message,
            room_version: body.get("room_version").and_then(|version| Some(version.as_str()?.to_owned())),
        },
        RequestError::TooLarge | RequestError::Malformed(_) => {
            RemoteFailure::Nonsense { server, reason: error.to_string() }
        }
        error => RemoteFailure::Unreachable { server, reason: error.to_string() },
    }
}
