//! `/_kith/client/unsubscribe`: where the links in mails lead to that end notifications by mail.
//!
//! Opening a link changes nothing, since programs that look for malware open all of them; a button does, and so does
//! the one click of mail programs (RFC 8058), which is the same request.

use axum::{
    extract::{Query, State},
    http::header,
    response::{Html, IntoResponse, Response},
};
use hs_http::ApiError;
use hs_push::Push;
use serde::Deserialize;

use crate::html::escape;

pub(crate) const PATH: &str = "/_kith/client/unsubscribe";

#[derive(Debug, Deserialize)]
pub(super) struct Parameters {
    #[serde(default)]
    token: String,
}

/// `GET /_kith/client/unsubscribe`
pub(super) async fn get(
    State(push): State<Push>,
    Query(Parameters { token }): Query<Parameters>,
) -> Result<Response, ApiError> {
    let address = push.address_to_unsubscribe(&token).await.map_err(ApiError::internal)?;
    Ok(match address {
        Some(address) => page(&format!(
            "<h1>No more mail?</h1>\n<p>Notifications are mailed to {}.</p>\n\
             <form method=\"post\"><button>Stop that</button></form>",
            escape(&address)
        )),
        None => page(GONE),
    })
}

/// `POST /_kith/client/unsubscribe`
pub(super) async fn post(
    State(push): State<Push>,
    Query(Parameters { token }): Query<Parameters>,
) -> Result<Response, ApiError> {
    push.unsubscribe(&token).await.map_err(ApiError::internal)?;
    Ok(page(GONE))
}

const GONE: &str = "<h1>No more mail</h1>\n<p>Notifications are not mailed to you any longer. To have them again, \
                    switch them on in the settings of your client.</p>";

fn page(body: &str) -> Response {
    let html = format!(
        "<!DOCTYPE html>\n<html lang=\"en\">\n<head><meta charset=\"utf-8\">\
         <meta name=\"viewport\" content=\"width=device-width\"><title>Notifications by mail</title></head>\n\
         <body style=\"font-family: sans-serif; max-width: 40em; margin: 4em auto; padding: 0 1em\">\n\
         {body}\n</body>\n</html>\n"
    );
    let headers = [
        (header::CACHE_CONTROL, "no-store"),
        (header::REFERRER_POLICY, "no-referrer"),
        (header::X_FRAME_OPTIONS, "DENY"),
        (
            header::CONTENT_SECURITY_POLICY,
            "default-src 'none'; style-src 'unsafe-inline'; form-action 'self'; frame-ancestors 'none'",
        ),
    ];
    (headers, Html(html)).into_response()
}
