//! Asking policy servers to sign events.
//!
//! <https://spec.matrix.org/v1.19/server-server-api/#post_matrixpolicyv1sign>

use std::{collections::BTreeMap, time::Duration};

use bytes::Bytes;
use hs_room_rules::policy::POLICY_KEY_ID;
use hs_rooms::ports::{PolicyServers, RemoteError, SignatureFuture};
use http::{Method, Request, header};
use ruma::{OwnedServerName, ServerName};

use super::client::{FederationClient, Limits, RequestError};

/// How long somebody who sends a message waits for the policy server.
const TIMEOUT: Duration = Duration::from_secs(10);
/// A signature is small.
const MAX_RESPONSE_BYTES: usize = 64 * 1024;

/// The policy servers of rooms, asked over federation.
#[derive(Clone, Debug)]
pub struct FederatedPolicyServers(pub FederationClient);

impl PolicyServers for FederatedPolicyServers {
    fn sign<'a>(&'a self, server: &'a ServerName, pdu: &'a str) -> SignatureFuture<'a> {
        Box::pin(async move {
            let request = Request::builder()
                .method(Method::POST)
                .uri("/_matrix/policy/v1/sign")
                .header(header::CONTENT_TYPE, "application/json")
                .body(Bytes::copy_from_slice(pdu.as_bytes()))
                .map_err(|error| RemoteError::Unreachable(error.to_string()))?;
            let limits = Limits { timeout: TIMEOUT, max_response_bytes: MAX_RESPONSE_BYTES };
            let answer = self.0.exchange(server, request, limits).await.map_err(remote_error)?;
            let signatures: BTreeMap<OwnedServerName, BTreeMap<String, String>> =
                serde_json::from_slice(answer.body())
                    .map_err(|error| RemoteError::Unreachable(error.to_string()))?;
            let signature = signatures.get(server).and_then(|keys| keys.get(POLICY_KEY_ID)).cloned();
            signature.ok_or_else(|| RemoteError::Unreachable("the answer has no signature".to_owned()))
        })
    }
}

fn remote_error(error: RequestError) -> RemoteError {
    match error {
        RequestError::Api { status, errcode, message, .. } if status.is_client_error() => {
            RemoteError::Refused { errcode, message }
        }
        error => RemoteError::Unreachable(error.to_string()),
    }
}
