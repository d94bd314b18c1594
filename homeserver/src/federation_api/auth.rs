//! Who made a request: every one is signed by the server that it comes from.
//!
//! <https://spec.matrix.org/v1.19/server-server-api/#request-authentication>

use axum::extract::{FromRef, FromRequest, Request};
use federation::{KeyringError, RequestAuthError, RequestVerifier};
use hs_http::{ApiError, RawArgs, RequestArgs};
use http::StatusCode;
use metrics::counter;
use ruma::{OwnedServerName, api::IncomingRequest};

/// A request of ruma's type `T`, and the server that made it, which has proved that. The last argument of a handler.
///
/// Whether the server may act in the room that it asks about is for the handler to check.
#[derive(Clone, Debug)]
pub(crate) struct FederationArgs<T>(pub(crate) OwnedServerName, pub(crate) T);

impl<T: IncomingRequest> RequestArgs for FederationArgs<T> {
    type Request = T;
}

impl<T, S> FromRequest<S> for FederationArgs<T>
where
    T: IncomingRequest,
    S: Send + Sync,
    RequestVerifier: FromRef<S>,
{
    type Rejection = ApiError;

    async fn from_request(request: Request, state: &S) -> Result<Self, ApiError> {
        let verifier = RequestVerifier::from_ref(state);
        let claim = verifier.claim(request.headers()).map_err(refusal)?;
        let key = verifier.find_key(&claim).await.map_err(refusal)?;
        let args = RawArgs::read::<T, S>(request, state).await?;
        let uri = args.parts.uri.path_and_query().map_or("/", |uri| uri.as_str());
        let body = args.has_body.then_some(&args.body);
        let verified = verifier.verify(&claim, key, (&args.parts.method, uri), body).await;
        verified.map_err(refusal)?;
        Ok(Self(claim.origin, args.parse()?))
    }
}

fn refusal(error: RequestAuthError) -> ApiError {
    let unauthorized = |message| ApiError::new(StatusCode::UNAUTHORIZED, "M_UNAUTHORIZED", message);
    let (reason, refusal): (_, fn(String) -> ApiError) = match &error {
        RequestAuthError::Missing => ("missing", unauthorized),
        RequestAuthError::Malformed(_) => ("malformed", unauthorized),
        RequestAuthError::OtherDestination(_) => ("other_destination", unauthorized),
        RequestAuthError::OwnOrigin => ("own_origin", unauthorized),
        RequestAuthError::Denied(_) => ("denied", |message| ApiError::forbidden(message)),
        RequestAuthError::Body(_) => ("body", |message| ApiError::bad_json(message)),
        RequestAuthError::Key(KeyringError::Unreachable(_)) => ("no_keys", unauthorized),
        RequestAuthError::Key(KeyringError::Unknown { .. }) => ("unknown_key", unauthorized),
        RequestAuthError::Signature { .. } => ("signature", unauthorized),
    };
    counter!("kith_federation_requests_refused_total", "reason" => reason).increment(1);
    refusal(error.to_string())
}
