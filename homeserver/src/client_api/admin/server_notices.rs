//! `/_synapse/admin/v1/send_server_notice`: the server speaks to a user, on behalf of an administrator. The paths and the
//! shapes are Synapse's, since that is what existing tools speak.

use axum::extract::State;
use hs_http::{ApiError, JsonBody, JsonReply, PathArgs};
use hs_model::records::TransactionRef;
use http::StatusCode;
use ruma::OwnedUserId;
use serde::Deserialize;
use serde_json::{Value, json, value::RawValue};

use crate::{
    client_api::{
        auth::Session,
        rooms::{membership_error, no_such_room, send_error},
    },
    server_notices::{Notice, ServerNoticeError, ServerNotices},
};

#[derive(Debug, Deserialize)]
pub(in crate::client_api) struct Body {
    user_id: OwnedUserId,
    content: Box<RawValue>,
    #[serde(rename = "type")]
    event_type: Option<String>,
    state_key: Option<String>,
}

/// `POST /_synapse/admin/v1/send_server_notice`
pub(in crate::client_api) async fn post(
    session: Session,
    State(notices): State<ServerNotices>,
    JsonBody(body): JsonBody<Body>,
) -> Result<JsonReply<Value>, ApiError> {
    send(&session, &notices, body, None).await
}

/// `PUT /_synapse/admin/v1/send_server_notice/{txnId}`
pub(in crate::client_api) async fn put(
    session: Session,
    State(notices): State<ServerNotices>,
    PathArgs(txn_id): PathArgs<String>,
    JsonBody(body): JsonBody<Body>,
) -> Result<JsonReply<Value>, ApiError> {
    let transaction = TransactionRef { device: session.device, txn_id: txn_id.into() };
    send(&session, &notices, body, Some(transaction)).await
}

async fn send(
    session: &Session,
    notices: &ServerNotices,
    body: Body,
    transaction: Option<TransactionRef>,
) -> Result<JsonReply<Value>, ApiError> {
    session.must_be_admin()?;
    let Body { user_id, content, event_type, state_key } = body;
    let notice = Notice {
        event_type: event_type.unwrap_or_else(|| "m.room.message".to_owned()),
        state_key,
        content: Box::<str>::from(content).into_string(),
    };
    let event_id = notices.send(&user_id, notice, transaction).await.map_err(api_error)?;
    Ok(JsonReply(json!({ "event_id": event_id })))
}

fn api_error(error: ServerNoticeError) -> ApiError {
    let message = error.to_string();
    match error {
        ServerNoticeError::NotLocal => ApiError::invalid_param(message),
        ServerNoticeError::NotFound => ApiError::not_found(message),
        ServerNoticeError::NoSender => ApiError::new(StatusCode::CONFLICT, "M_UNKNOWN", message),
        ServerNoticeError::Invite(error) => membership_error(error, no_such_room),
        ServerNoticeError::Send(error) => send_error(error),
        ServerNoticeError::Create(error) => ApiError::internal(error),
        ServerNoticeError::Accounts(failure) => ApiError::internal(failure),
        ServerNoticeError::Storage(error) => ApiError::internal(error),
    }
}
