//! `GET /_matrix/client/v3/voip/turnServer`
//!
//! <https://spec.matrix.org/v1.19/client-server-api/#get_matrixclientv3voipturnserver>

use std::{sync::Arc, time::Duration};

use axum::extract::State;
use base64::{Engine as _, engine::general_purpose::STANDARD};
use hmac::{Hmac, KeyInit, Mac};
use hs_http::{ApiError, Args, Reply};
use hs_model::clock::{Clock, SystemClock};
use ruma::api::client::voip::get_turn_server_info::v3::{Request, Response};
use sha1::Sha1;

use super::{CallFacts, auth::Session};

pub(super) async fn get(
    session: Session,
    State(calls): State<Arc<CallFacts>>,
    _: Args<Request>,
) -> Result<Reply<Response>, ApiError> {
    let turn = &calls.turn;
    if turn.uris.is_empty() {
        return Err(ApiError::not_found("This server has no TURN server"));
    }
    let lifetime = Duration::from_secs(turn.lifetime_seconds);
    let expires_at = SystemClock.now_ms() / 1000 + turn.lifetime_seconds as i64;
    let username = format!("{expires_at}:{}", session.user_id);
    let password = password(turn.shared_secret.expose(), &username).map_err(ApiError::internal)?;
    Ok(Reply(Response::new(username, password, turn.uris.clone(), lifetime)))
}

/// The password that the TURN server works out of the name and the secret as well.
///
/// <https://datatracker.ietf.org/doc/html/draft-uberti-behave-turn-rest-00#section-2.2>
fn password(secret: &str, username: &str) -> Result<String, hmac::digest::InvalidLength> {
    let mut mac = Hmac::<Sha1>::new_from_slice(secret.as_bytes())?;
    mac.update(username.as_bytes());
    Ok(STANDARD.encode(mac.finalize().into_bytes()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn password_is_what_coturn_expects() {
        // printf '1433895918:@alice:example.org' | openssl dgst -binary -sha1 -hmac 'north' | base64
        assert_eq!(password("north", "1433895918:@alice:example.org").unwrap(), EXPECTED);
    }

    const EXPECTED: &str = "U1hnS4Fn7mbCvacwlDvVjDlUr5M=";
}
