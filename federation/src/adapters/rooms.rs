//! [`RemoteRooms`] over HTTP.

use std::{sync::Arc, time::Duration};

use hs_model::membership::Membership;
use hs_room_rules::{
    canonical_json::{Object, ParseOptions},
    pdu::Pdu,
    redact::redact_event,
    room_version::{self, RoomVersionRules},
};
use hs_rooms::ports::{
    Invitation, JoinAnswer, MemberTemplate, MemberWish, RemoteFailure, RemoteFuture, RemoteRooms,
};
use ruma::{
    RoomVersionId, ServerName,
    api::federation::membership::{
        RawStrippedState, create_invite, create_join_event, create_knock_event, create_leave_event,
        prepare_join_event, prepare_knock_event, prepare_leave_event,
    },
};
use serde_json::value::RawValue;

use crate::{FederationClient, Keyring, Limits, RequestError};

/// How long a server may take for things that cost it little.
const QUICK: Duration = Duration::from_secs(20);
/// How long it may take to gather the state of a room.
const JOIN_TIMEOUT: Duration = Duration::from_mins(3);
/// How large the state of a room may be.
const MAX_STATE_BYTES: usize = 256 * 1024 * 1024;

/// Asks other servers about rooms. Cloning is cheap.
#[derive(Clone, Debug)]
pub struct RemoteRoomClient {
    client: FederationClient,
    keyring: Keyring,
}

impl RemoteRoomClient {
    /// Asks with `client`; `keyring` knows who has signed what.
    pub fn new(client: FederationClient, keyring: Keyring) -> Self {
        Self { client, keyring }
    }

    async fn make(&self, server: &ServerName, wish: MemberWish<'_>) -> Result<MemberTemplate, RequestError> {
        let (room_id, user_id) = (wish.room_id.to_owned(), wish.user_id.to_owned());
        let limits = Limits::within(QUICK);
        let versions = room_version::SUPPORTED.to_vec();
        let template = match wish.membership {
            Membership::Join => {
                let mut request = prepare_join_event::v1::Request::new(room_id, user_id);
                request.ver = versions;
                let response = self.client.send(server, request, limits).await?;
                MemberTemplate {
                    version: response.room_version.unwrap_or(RoomVersionId::V1),
                    event: response.event,
                }
            }
            Membership::Knock => {
                let mut request = prepare_knock_event::v1::Request::new(room_id, user_id);
                request.ver = versions;
                let response = self.client.send(server, request, limits).await?;
                MemberTemplate { version: response.room_version, event: response.event }
            }
            _ => {
                let request = prepare_leave_event::v1::Request::new(room_id, user_id);
                let response = self.client.send(server, request, limits).await?;
                MemberTemplate {
                    version: response.room_version.unwrap_or(RoomVersionId::V1),
                    event: response.event,
                }
            }
        };
        Ok(template)
    }

    async fn join(&self, server: &ServerName, join: &Pdu) -> Result<JoinAnswer, RemoteFailure> {
        let (room_id, event_id) = (join.room_id().to_owned(), join.event_id().to_owned());
        let request = create_join_event::v2::Request::new(room_id, event_id, join.to_raw_json());
        let limits = Limits { timeout: JOIN_TIMEOUT, max_response_bytes: MAX_STATE_BYTES };
        let response = self.client.send(server, request, limits).await;
        let answer = response.map_err(|error| failure(server, error))?.room_state;
        if answer.members_omitted {
            return Err(RemoteFailure::Nonsense {
                server: server.to_owned(),
                reason: "it left out members of the room, which it was not asked to do".to_owned(),
            });
        }
        let rules = join.rules();
        let event = match answer.event {
            Some(event) => self.good_pdus(server, vec![event], rules).await.pop(),
            None => None,
        };
        Ok(JoinAnswer {
            state: self.good_pdus(server, answer.state, rules).await,
            auth_chain: self.good_pdus(server, answer.auth_chain, rules).await,
            event,
        })
    }

    /// Those of the events that are signed as they must be.
    async fn good_pdus(
        &self,
        server: &ServerName,
        events: Vec<Box<RawValue>>,
        rules: &'static RoomVersionRules,
    ) -> Vec<Arc<Pdu>> {
        let texts = events.into_iter().map(|event| String::from(Box::<str>::from(event))).collect();
        let checked = self.keyring.verify_pdus(texts, rules).await;
        let good = checked.into_iter().filter_map(|pdu| match pdu {
            Ok(pdu) => Some(pdu),
            Err(error) => {
                tracing::debug!(%server, %error, "left out an event");
                None
            }
        });
        good.collect()
    }

    async fn hand_in_invite(
        &self,
        server: &ServerName,
        invitation: Invitation<'_>,
    ) -> Result<Box<RawValue>, RemoteFailure> {
        let pdu = invitation.pdu;
        let shown = invitation.shown.into_iter().map(RawStrippedState::Pdu).collect();
        let request = create_invite::v2::Request::new(
            pdu.room_id().to_owned(),
            pdu.event_id().to_owned(),
            invitation.version.clone(),
            pdu.to_raw_json(),
            shown,
        );
        let response = self.client.send(server, request, Limits::within(QUICK)).await;
        let event = response.map_err(|error| failure(server, error))?.event;
        let nonsense = |reason: String| RemoteFailure::Nonsense { server: server.to_owned(), reason };
        let options = ParseOptions::federation(pdu.rules());
        let mut signed = Object::parse(event.get(), options).map_err(|error| nonsense(error.to_string()))?;
        // The signature is one of the redacted event, as all signatures of events are.
        redact_event(&mut signed, &pdu.rules().redaction);
        let verified = self.keyring.verify_json(server, &signed).await;
        verified.map_err(|error| nonsense(error.to_string()))?;
        Ok(event)
    }
}

impl RemoteRooms for RemoteRoomClient {
    fn make_member<'a>(
        &'a self,
        server: &'a ServerName,
        wish: MemberWish<'a>,
    ) -> RemoteFuture<'a, MemberTemplate> {
        Box::pin(async move { self.make(server, wish).await.map_err(|error| failure(server, error)) })
    }

    fn send_join<'a>(&'a self, server: &'a ServerName, join: &'a Pdu) -> RemoteFuture<'a, JoinAnswer> {
        Box::pin(self.join(server, join))
    }

    fn send_knock<'a>(
        &'a self,
        server: &'a ServerName,
        knock: &'a Pdu,
    ) -> RemoteFuture<'a, Vec<Box<RawValue>>> {
        Box::pin(async move {
            let (room_id, event_id) = (knock.room_id().to_owned(), knock.event_id().to_owned());
            let request = create_knock_event::v1::Request::new(room_id, event_id, knock.to_raw_json());
            let response = self.client.send(server, request, Limits::within(QUICK)).await;
            let shown = response.map_err(|error| failure(server, error))?.knock_room_state;
            Ok(shown.into_iter().map(raw_shown).collect())
        })
    }

    fn send_leave<'a>(&'a self, server: &'a ServerName, leave: &'a Pdu) -> RemoteFuture<'a, ()> {
        Box::pin(async move {
            let (room_id, event_id) = (leave.room_id().to_owned(), leave.event_id().to_owned());
            let request = create_leave_event::v2::Request::new(room_id, event_id, leave.to_raw_json());
            let response = self.client.send(server, request, Limits::within(QUICK)).await;
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
