//! Requests between servers: each is signed by the server that makes it, in an `Authorization` header of its own scheme.
//!
//! Specification: <https://spec.matrix.org/v1.19/server-server-api/#request-authentication>

mod header;

use bytes::Bytes;
use hs_room_rules::{
    canonical_json::{DuplicateKeys, Numbers, Object, ParseError, ParseOptions, Value},
    sign::{SigningKey, is_valid_signature},
};
use http::{HeaderMap, Method, header::AUTHORIZATION};
use ruma::{OwnedServerName, ServerName};

pub use self::header::{XMatrix, XMatrixError};
use crate::{FederationClient, Keyring, KeyringError, ServerPolicy, keyring::run, outbound::Sender};

/// How the body of a request is read to check its signature: transactions carry events of room versions that allow any
/// number.
const BODY: ParseOptions =
    ParseOptions { numbers: Numbers::Lenient, duplicate_keys: DuplicateKeys::LastWins };

/// Up to which length a body is put into the form that is signed where it came in: longer ones take so long that others would
/// wait for it.
const MAX_INLINE_BYTES: usize = 64 * 1024;

/// Why a request of another server is not answered.
#[derive(Debug, thiserror::Error)]
pub enum RequestAuthError {
    /// It is not signed at all.
    #[error("The request has no X-Matrix authorization")]
    Missing,
    /// The header cannot be read.
    #[error("The X-Matrix authorization is malformed: {0}")]
    Malformed(#[from] XMatrixError),
    /// It was made for another server.
    #[error("The request is for {0}, which is not this server")]
    OtherDestination(String),
    /// It says that it comes from this server.
    #[error("The request says that it comes from this server")]
    OwnOrigin,
    /// This server does not talk to the one that made it.
    #[error("This server does not federate with {0}")]
    Denied(OwnedServerName),
    /// The body is no JSON that could have been signed.
    #[error("The request body is not JSON that can be signed: {0}")]
    Body(#[from] ParseError),
    /// The key is not known.
    #[error(transparent)]
    Key(KeyringError),
    /// The signature is wrong.
    #[error("The signature of {origin} with {key_id} is wrong")]
    Signature {
        /// Who is said to have signed.
        origin: OwnedServerName,
        /// With which key.
        key_id: String,
    },
}

/// What is signed of a request.
#[derive(Clone, Copy, Debug)]
pub struct SignedRequest<'a> {
    /// The method.
    pub method: &'a Method,
    /// Path and query, as they are sent.
    pub uri: &'a str,
    /// The server that makes the request.
    pub origin: &'a ServerName,
    /// The server that it is for.
    pub destination: Option<&'a ServerName>,
    /// The body, unless there is none.
    pub body: Option<&'a [u8]>,
}

impl SignedRequest<'_> {
    /// The text that is signed.
    pub fn text(&self) -> Result<String, ParseError> {
        let mut object = Object::new();
        let body =
            self.body.map(|body| std::str::from_utf8(body).map_err(|_| ParseError::NotJson)).transpose()?;
        if let Some(body) = body {
            object.insert("content", Value::parse(body, BODY)?);
        }
        if let Some(destination) = self.destination {
            object.insert("destination", destination.as_str());
        }
        object.insert("method", self.method.as_str());
        object.insert("origin", self.origin.as_str());
        object.insert("uri", self.uri);
        Ok(object.to_canonical_string())
    }

    /// The header that proves that `key`'s server made the request.
    pub(crate) fn sign(&self, key: &SigningKey) -> Result<XMatrix, ParseError> {
        Ok(XMatrix {
            origin: self.origin.to_owned(),
            destination: self.destination.map(ToOwned::to_owned),
            key_id: key.key_id().to_string(),
            signature: key.sign_text(&self.text()?),
        })
    }
}

/// The key that a request must be signed with.
#[derive(Clone, Debug)]
pub struct RequestKey(String);

/// Checks who made a request. Cloning is cheap.
#[derive(Clone, Debug)]
pub struct RequestVerifier {
    server_name: OwnedServerName,
    keyring: Keyring,
    policy: ServerPolicy,
    /// Try servers again that make themselves heard.
    sender: Option<Sender>,
    client: Option<FederationClient>,
}

impl RequestVerifier {
    /// Checks requests to `server_name`.
    pub fn new(server_name: OwnedServerName, keyring: Keyring, policy: ServerPolicy) -> Self {
        Self { server_name, keyring, policy, sender: None, client: None }
    }

    /// Tells `sender` and `client` who makes requests: a server that was given up for a while is there again.
    #[must_use]
    pub fn waking(self, sender: Sender, client: FederationClient) -> Self {
        Self { sender: Some(sender), client: Some(client), ..self }
    }

    /// Which servers are talked to.
    pub fn policy(&self) -> &ServerPolicy {
        &self.policy
    }

    /// Reads who says to have made a request, and refuses it where that is enough: before its body is read.
    pub fn claim(&self, headers: &HeaderMap) -> Result<XMatrix, RequestAuthError> {
        let headers = headers.get_all(AUTHORIZATION);
        let mut texts = headers.iter().filter_map(|value| value.to_str().ok());
        let text = texts.find(|text| XMatrix::is_scheme_of(text)).ok_or(RequestAuthError::Missing)?;
        let claim = XMatrix::parse(text)?;
        if let Some(destination) = claim.destination.as_deref().filter(|name| **name != *self.server_name) {
            return Err(RequestAuthError::OtherDestination(destination.to_string()));
        }
        if claim.origin == *self.server_name {
            return Err(RequestAuthError::OwnOrigin);
        }
        if !self.policy.allows(&claim.origin) {
            return Err(RequestAuthError::Denied(claim.origin));
        }
        Ok(claim)
    }

    /// The key that a request must be signed with. It may have to be fetched: the body is best read after that, so that nobody
    /// has us hold bodies for servers without keys.
    pub async fn find_key(&self, claim: &XMatrix) -> Result<RequestKey, RequestAuthError> {
        let key = self.keyring.request_key(&claim.origin, &claim.key_id).await;
        key.map(RequestKey).map_err(RequestAuthError::Key)
    }

    /// Checks that the claimed server made a request. `uri` is path and query as they came; `body` is `None` where there
    /// was none.
    pub async fn verify(
        &self,
        claim: &XMatrix,
        key: RequestKey,
        (method, uri): (&Method, &str),
        body: Option<&Bytes>,
    ) -> Result<(), RequestAuthError> {
        let (method, uri, body) = (method.clone(), uri.to_owned(), body.cloned());
        let (claim, server_name) = (claim.clone(), self.server_name.clone());
        let is_large = body.as_ref().is_some_and(|body| body.len() > MAX_INLINE_BYTES);
        let check = move || {
            // Servers that are older than the field in the header sign whom they mean all the same.
            let destination = Some(&*server_name);
            let signed = SignedRequest {
                method: &method,
                uri: &uri,
                origin: &claim.origin,
                destination,
                body: body.as_deref(),
            };
            if is_valid_signature(&signed.text()?, &key.0, &claim.signature) {
                return Ok(claim.origin);
            }
            Err(RequestAuthError::Signature { origin: claim.origin, key_id: claim.key_id })
        };
        let origin = run(is_large, check).await?;
        if let Some(sender) = &self.sender {
            sender.heard_from(&origin);
        }
        if let Some(client) = &self.client {
            client.heard_from(&origin);
        }
        Ok(())
    }
}
