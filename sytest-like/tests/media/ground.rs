//! What the cases about media stand on.

use std::io::{Read as _, Write as _};
use std::net::{Shutdown, TcpStream};
use std::path::{Path, PathBuf};

use http::Method;
use sytest_like::{Client, Request, Response, Server, User, unique};

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

/// An administrator of the server, which has a secret that makes them.
pub(super) async fn admin_of(server: &Server) -> User {
    let answer = crate::accounts::shared_secret::register(server, &unique("admin"), true).await.expect_ok();
    User::from_login(server, &answer, "secret words")
}

/// What stands behind `mxc://`.
pub(super) fn of(uri: &str) -> &str {
    uri.strip_prefix("mxc://").expect("an mxc URI")
}

/// An upload that is written by hand: what comes behind the type in the head, and the body; the answer as it came.
pub(super) async fn raw_upload(user: &User, head: &str, body: &[u8]) -> String {
    send_by_hand(user, head, body, |_| Ok(())).await
}

/// The same, and nothing comes after the body; the answer, if there is one.
pub(super) async fn broken_upload(user: &User, head: &str, body: &[u8]) -> String {
    send_by_hand(user, head, body, |stream| stream.shutdown(Shutdown::Write)).await
}

async fn send_by_hand(
    user: &User,
    head: &str,
    body: &[u8],
    then: fn(&TcpStream) -> std::io::Result<()>,
) -> String {
    let address = user.server.address().to_owned();
    let head = format!(
        "POST /_matrix/media/v3/upload HTTP/1.1\r\nHost: {address}\r\nAuthorization: Bearer {}\r\n\
         Content-Type: text/plain\r\nConnection: close\r\n{head}\r\n\r\n",
        user.access_token
    );
    let request = [head.as_bytes(), body].concat();
    let ask = move || {
        let mut stream = TcpStream::connect(address)?;
        // A server that has had enough does not read to the end.
        let _ = stream.write_all(&request).and_then(|()| then(&stream));
        let mut answer = String::new();
        stream.read_to_string(&mut answer)?;
        Ok::<_, std::io::Error>(answer)
    };
    tokio::task::spawn_blocking(ask).await.expect("no panic").unwrap_or_default()
}

/// A figure of the server, by its name with its labels; nothing where there is none yet.
pub(super) async fn figure(server: &Server, name: &str) -> String {
    let host = server.address().split(':').next().expect("an address has a host");
    let metrics = Client::new(&format!("http://{host}:9008"));
    let answer = metrics.request(Method::GET, "/metrics").await.expect_status(200);
    let text = String::from_utf8_lossy(&answer.body).into_owned();
    let value = text.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(' '));
    value.unwrap_or_default().to_owned()
}

/// All files below a directory.
pub(super) fn files_below(directory: &Path) -> Vec<PathBuf> {
    let entries = std::fs::read_dir(directory).expect("a directory");
    let paths = entries.map(|entry| entry.expect("an entry").path());
    paths.flat_map(|path| if path.is_dir() { files_below(&path) } else { vec![path] }).collect()
}
