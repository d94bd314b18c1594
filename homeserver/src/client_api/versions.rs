//! `GET /_matrix/client/versions`
//!
//! <https://spec.matrix.org/v1.19/client-server-api/#get_matrixclientversions>

use std::collections::BTreeMap;

use hs_http::{Args, Reply};
use ruma::api::client::discovery::get_supported_versions::{Request, Response};

/// The versions of the specification that clients can rely on here.
const VERSIONS: [&str; 22] = [
    "r0.5.0", "r0.6.0", "r0.6.1", "v1.1", "v1.2", "v1.3", "v1.4", "v1.5", "v1.6", "v1.7", "v1.8", "v1.9",
    "v1.10", "v1.11", "v1.12", "v1.13", "v1.14", "v1.15", "v1.16", "v1.17", "v1.18", "v1.19",
];

/// Proposals that clients use before they are part of a release, and that work here.
const UNSTABLE_FEATURES: [&str; 7] = [
    "org.matrix.msc4140",
    "org.matrix.msc4143",
    "org.matrix.msc4262",
    "org.matrix.msc4306",
    "org.matrix.msc4354",
    "org.matrix.msc4308",
    "org.matrix.simplified_msc3575",
];

pub(super) async fn get(_: Args<Request>) -> Reply<Response> {
    let mut response = Response::new(VERSIONS.map(str::to_owned).to_vec());
    response.unstable_features = BTreeMap::from(UNSTABLE_FEATURES.map(|feature| (feature.to_owned(), true)));
    Reply(response)
}
