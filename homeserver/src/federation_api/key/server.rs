//! `GET /_matrix/key/v2/server`
//!
//! <https://spec.matrix.org/v1.19/server-server-api/#get_matrixkeyv2server>

use axum::extract::State;
use hs_http::RawJson;

use super::OwnKeys;

pub(in crate::federation_api) async fn get(State(keys): State<OwnKeys>) -> RawJson {
    RawJson(keys.document())
}
