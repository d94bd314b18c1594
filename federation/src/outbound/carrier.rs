//! Transactions as requests.

use std::time::Duration;

use bytes::Bytes;
use http::{Method, Request, StatusCode};
use ruma::ServerName;
use serde::Deserialize;
use serde_json::Value;

use super::{
    client::{FederationClient, Limits},
    response::RequestError,
    transaction::{SendFailure, SendFuture, Transaction, Transport},
};

/// The longest answer to a transaction: a line for each event.
const MAX_RESPONSE_BYTES: usize = 512 * 1024;

/// `PUT /_matrix/federation/v1/send/{txnId}`
///
/// <https://spec.matrix.org/v1.19/server-server-api/#put_matrixfederationv1sendtxnid>
impl Transport for FederationClient {
    fn send_transaction<'a>(
        &'a self,
        destination: &'a ServerName,
        transaction: &'a Transaction,
        timeout: Duration,
    ) -> SendFuture<'a> {
        Box::pin(async move {
            // Ids are of letters that need no escape.
            let request = Request::builder()
                .method(Method::PUT)
                .uri(format!("/_matrix/federation/v1/send/{}", transaction.id))
                .body(body(self.server_name(), transaction))
                .map_err(|error| SendFailure::Refused(error.to_string()))?;
            let limits = Limits { timeout, max_response_bytes: MAX_RESPONSE_BYTES };
            let response = self.exchange(destination, request, limits).await.map_err(failure)?;
            log_refused_events(destination, response.body());
            Ok(())
        })
    }
}

/// The transaction as JSON. What it consists of is JSON already.
fn body(origin: &ServerName, transaction: &Transaction) -> Bytes {
    let parts = || transaction.pdus.iter().chain(&transaction.edus);
    let mut body = String::with_capacity(parts().map(|part| part.len() + 1).sum::<usize>() + 400);
    let list = |body: &mut String, name: &str, parts: &[std::sync::Arc<str>]| {
        body.push_str(name);
        for (index, part) in parts.iter().enumerate() {
            if index > 0 {
                body.push(',');
            }
            body.push_str(part);
        }
        body.push(']');
    };
    body.push_str(r#"{"origin":""#);
    body.push_str(origin.as_str());
    body.push_str(r#"","origin_server_ts":"#);
    body.push_str(&transaction.origin_server_ts.to_string());
    list(&mut body, r#","pdus":["#, &transaction.pdus);
    if !transaction.edus.is_empty() {
        list(&mut body, r#","edus":["#, &transaction.edus);
    }
    body.push('}');
    body.into()
}

/// Whether another attempt may go better.
fn failure(error: RequestError) -> SendFailure {
    match &error {
        RequestError::Api { status: StatusCode::TOO_MANY_REQUESTS, retry_after, .. } => {
            SendFailure::RateLimited(*retry_after)
        }
        RequestError::Api { status: StatusCode::PAYLOAD_TOO_LARGE, .. } => {
            SendFailure::TooLarge(error.to_string())
        }
        // It does not know our keys yet, or what answers is no homeserver at present.
        RequestError::Api { status: StatusCode::UNAUTHORIZED | StatusCode::NOT_FOUND, .. } => {
            SendFailure::Unavailable(error.to_string())
        }
        RequestError::Api { errcode, .. } if errcode == "M_LIMIT_EXCEEDED" => SendFailure::RateLimited(None),
        // It was taken: only the answer cannot be read.
        RequestError::TooLarge | RequestError::Malformed(_) | RequestError::Denied => {
            SendFailure::Refused(error.to_string())
        }
        _ if error.is_outage() => SendFailure::Unavailable(error.to_string()),
        _ => SendFailure::Refused(error.to_string()),
    }
}

/// Events that the other server did not accept: for who looks for the reason.
fn log_refused_events(destination: &ServerName, body: &[u8]) {
    #[derive(Deserialize)]
    struct Answer {
        #[serde(default)]
        pdus: std::collections::BTreeMap<String, Value>,
    }
    let Ok(answer) = serde_json::from_slice::<Answer>(body) else { return };
    for (event_id, result) in answer.pdus {
        if let Some(error) = result.get("error").and_then(Value::as_str) {
            tracing::debug!(%destination, event_id, error, "another server did not accept an event");
        }
    }
}
