//! `PUT /_matrix/federation/v1/exchange_third_party_invite/{roomId}` and `PUT /_matrix/federation/v1/3pid/onbind`
//!
//! <https://spec.matrix.org/v1.19/server-server-api/#third-party-invites>

use axum::extract::State;
use federation::inbound::rooms::RoomAnswers;
use hs_http::{ApiError, JsonBody, JsonReply, Reply};
use hs_rooms::{RoomActions, membership::ProvenInvite};
use ruma::{
    OwnedRoomId, OwnedUserId,
    api::federation::thirdparty::exchange_invite::v1::{Request, Response},
};
use serde::Deserialize;
use serde_json::{json, value::RawValue};

use super::{FederationArgs, room_error::answer_error};

/// Where identity servers tell whose an address is.
pub(super) const ONBIND: &str = "/_matrix/federation/v1/3pid/onbind";
/// How many invites of one address are looked at. Anybody may call this, and each may mean a request to another server.
const MAX_INVITES: usize = 20;

/// What is read of the invite that is asked for; all else in it is written here.
#[derive(Deserialize)]
struct Content {
    membership: String,
    third_party_invite: Proof,
}

#[derive(Deserialize)]
struct Proof {
    signed: Box<RawValue>,
}

pub(super) async fn put_exchange(
    State(answers): State<RoomAnswers>,
    FederationArgs(origin, request): FederationArgs<Request>,
) -> Result<Reply<Response>, ApiError> {
    let content: Content = serde_json::from_str(request.content.json().get())
        .map_err(|error| ApiError::bad_json(error.to_string()))?;
    if request.kind.to_string() != "m.room.member" || content.membership != "invite" {
        return Err(ApiError::invalid_param("The event is no invite"));
    }
    let invite = ProvenInvite {
        room_id: request.room_id,
        inviter: request.sender,
        invited: request.state_key,
        signed: content.third_party_invite.signed,
    };
    answers.exchange_invite(&origin, &invite).await.map_err(answer_error)?;
    Ok(Reply(Response::new()))
}

/// An address and its user, as an identity server tells it.
#[derive(Debug, Deserialize)]
pub(super) struct Bound {
    mxid: OwnedUserId,
    invites: Vec<PendingInvite>,
}

#[derive(Debug, Deserialize)]
struct PendingInvite {
    mxid: OwnedUserId,
    room_id: OwnedRoomId,
    sender: OwnedUserId,
    signed: Box<RawValue>,
}

/// Nobody proves who they are here: what the identity server has signed is checked where the invite is written.
pub(super) async fn put_onbind(
    State(actions): State<RoomActions>,
    JsonBody(bound): JsonBody<Bound>,
) -> Result<JsonReply<serde_json::Value>, ApiError> {
    if bound.invites.len() > MAX_INVITES {
        return Err(ApiError::invalid_param(format!("There are more than {MAX_INVITES} invites")));
    }
    let is_account = {
        let store = actions.rooms().store();
        match store.find_user(&bound.mxid).await.map_err(ApiError::internal)? {
            Some(user) => {
                let mut reader = store.reader().await.map_err(ApiError::internal)?;
                let account = reader.find_account(user).await.map_err(ApiError::internal)?;
                account.is_some_and(|account| account.deactivated_at.is_none())
            }
            None => false,
        }
    };
    if !is_account || !actions.rooms().is_local(&bound.mxid) {
        return Err(ApiError::not_found("There is no such user"));
    }
    for pending in bound.invites {
        let PendingInvite { mxid, room_id, sender, signed } = pending;
        if mxid != bound.mxid {
            continue;
        }
        let invite = ProvenInvite { room_id, inviter: sender, invited: mxid, signed };
        // One that fails says nothing about the others, and the identity server can do nothing about it.
        if let Err(error) = actions.accept_proof(&invite).await {
            tracing::info!(%error, room_id = %invite.room_id, user_id = %invite.invited, "an invite by an address failed");
        }
    }
    Ok(JsonReply(json!({})))
}
