//! What the cases about media stand on.

use http::Method;
use sytest_like::{Request, Response, User};

/// Uploads a file; its `mxc://` URI.
pub(crate) async fn upload(user: &User, content: impl Into<Vec<u8>>, content_type: &str) -> String {
    upload_request(user, content.into(), content_type).await.expect_ok().str("content_uri").to_owned()
}

/// An upload in the making.
pub(crate) fn upload_request(user: &User, content: Vec<u8>, content_type: &str) -> Request {
    user.request(Method::POST, "/_matrix/media/v3/upload").body(content).header("content-type", content_type)
}

/// Where a file is downloaded: `SERVER/ID` behind the path of the endpoint.
pub(crate) fn download_path(uri: &str) -> String {
    format!("/v1/media/download/{}", uri.strip_prefix("mxc://").expect("an mxc URI"))
}

/// A download in the making.
pub(crate) fn download(user: &User, uri: &str) -> Request {
    user.get(&download_path(uri))
}

/// The id in a URI.
pub(crate) fn id_of(uri: &str) -> &str {
    uri.rsplit('/').next().expect("an mxc URI")
}

/// The answer is this file.
#[track_caller]
pub(crate) fn expect_file(answer: Response, content: &[u8], content_type: &str) -> Response {
    let answer = answer.expect_status(200);
    assert!(answer.body == content, "{answer}: another file");
    assert_eq!(answer.header("content-type"), content_type, "{answer}");
    answer
}
