//! `GET /_matrix/client/v3/account/whoami`
//!
//! <https://spec.matrix.org/v1.19/client-server-api/#get_matrixclientv3accountwhoami>

use hs_http::{Args, JsonReply};
use ruma::api::client::account::whoami::v3::Request;
use serde_json::{Value, json};

use crate::client_api::auth::Session;

pub(in crate::client_api) async fn get(session: Session, _: Args<Request>) -> JsonReply<Value> {
    JsonReply(
        json!({ "user_id": session.user_id, "device_id": session.device_id, "is_guest": session.is_guest }),
    )
}
