//! Who sends a request.

use std::{ops::Deref, sync::Arc};

use axum::extract::{FromRef, FromRequestParts};
use hs_accounts::{Accounts, ResolveSessionError, Standing};
use hs_http::{ApiError, ClientIp, access_token};
use http::{StatusCode, request::Parts};
use ruma::UserId;

use super::guests;

/// The session of a request that needs one.
#[derive(Clone, Debug)]
pub(crate) struct Session(pub(crate) Arc<hs_accounts::Session>);

/// The session of a request that works with or without one.
#[derive(Clone, Debug)]
pub(crate) struct OptionalSession(pub(crate) Option<Session>);

/// As [`Session`], but for what may be done even with a locked account: to log out.
#[derive(Clone, Debug)]
pub(crate) struct AnySession(pub(crate) Session);

impl Deref for Session {
    type Target = hs_accounts::Session;

    fn deref(&self) -> &Self::Target {
        &self.0
    }
}

impl Session {
    /// For paths that name the user whose things they are about: those are nobody else's business.
    pub(crate) fn must_be(&self, user_id: &UserId) -> Result<(), ApiError> {
        if self.user_id == user_id {
            Ok(())
        } else {
            Err(ApiError::forbidden("This belongs to another user"))
        }
    }

    /// For what a suspended user may not do: whatever others would notice.
    pub(crate) fn must_not_be_suspended(&self) -> Result<(), ApiError> {
        if self.standing == Standing::Free {
            return Ok(());
        }
        Err(ApiError::new(
            StatusCode::FORBIDDEN,
            "M_USER_SUSPENDED",
            "You cannot perform this action while suspended",
        ))
    }

    /// For what guests may not do though the endpoint is open to them.
    pub(crate) fn must_not_be_guest(&self) -> Result<(), ApiError> {
        if self.is_guest { Err(guests::forbidden()) } else { Ok(()) }
    }

    /// For what only administrators may do.
    pub(crate) fn must_be_admin(&self) -> Result<(), ApiError> {
        if self.is_admin { Ok(()) } else { Err(ApiError::forbidden("You are not a server admin")) }
    }
}

impl<S> FromRequestParts<S> for Session
where
    S: Send + Sync,
    Arc<Accounts>: FromRef<S>,
{
    type Rejection = ApiError;

    async fn from_request_parts(parts: &mut Parts, state: &S) -> Result<Self, ApiError> {
        let OptionalSession(session) = OptionalSession::from_request_parts(parts, state).await?;
        let session = session.ok_or_else(ApiError::missing_token)?;
        guests::check(&session, parts)?;
        Ok(session)
    }
}

impl<S> FromRequestParts<S> for OptionalSession
where
    S: Send + Sync,
    Arc<Accounts>: FromRef<S>,
{
    type Rejection = ApiError;

    async fn from_request_parts(parts: &mut Parts, state: &S) -> Result<Self, ApiError> {
        let session = resolve(parts, state).await?;
        if session.as_ref().is_some_and(|session| session.standing == Standing::Locked) {
            return Err(locked());
        }
        Ok(Self(session))
    }
}

impl<S> FromRequestParts<S> for AnySession
where
    S: Send + Sync,
    Arc<Accounts>: FromRef<S>,
{
    type Rejection = ApiError;

    async fn from_request_parts(parts: &mut Parts, state: &S) -> Result<Self, ApiError> {
        resolve(parts, state).await?.map(Self).ok_or_else(ApiError::missing_token)
    }
}

/// The session that the access token of a request stands for; `None` when there is no token.
async fn resolve<S>(parts: &mut Parts, state: &S) -> Result<Option<Session>, ApiError>
where
    S: Send + Sync,
    Arc<Accounts>: FromRef<S>,
{
    let ClientIp(ip) = ClientIp::from_request_parts(parts, state).await?;
    let accounts = Arc::<Accounts>::from_ref(state);
    let Some(token) = access_token(parts) else { return Ok(None) };
    let session = accounts.resolve_session(&token, ip).await.map_err(api_error)?;
    Ok(Some(Session(session)))
}

/// For whatever is asked with a locked account. The client keeps its data, and waits.
///
/// <https://spec.matrix.org/v1.19/client-server-api/#account-locking>
pub(super) fn locked() -> ApiError {
    ApiError::new(StatusCode::UNAUTHORIZED, "M_USER_LOCKED", "This account has been locked")
        .with("soft_logout", true)
}

fn api_error(error: ResolveSessionError) -> ApiError {
    match error {
        ResolveSessionError::Unknown => ApiError::unknown_token("Unknown access token", false),
        ResolveSessionError::Expired => ApiError::unknown_token("The access token has expired", true),
        ResolveSessionError::Failure(failure) => ApiError::internal(failure),
    }
}
