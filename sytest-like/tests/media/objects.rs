//! Files in an S3-compatible store, and on the way there and back.

use super::ground::{download, expect_file, id_of, upload};
use sytest_like::{ObjectStore, ServerOptions, User, json, unique};

fn content(length: u32) -> Vec<u8> {
    (0..length).map(|at| (at * 13 % 256) as u8).collect()
}

async fn expect(user: &User, uri: &str, content: &[u8]) {
    expect_file(download(user, uri).await, content, "video/mp4");
}

/// Small files and large ones are kept in the store, and parts of them are read from there.
/// spec: none (operation)
/// covers: POST /_matrix/media/v3/upload
/// covers: GET /_matrix/client/v1/media/download/{serverName}/{mediaId}
/// not on synapse: it has such a store only with a module
#[tokio::test]
async fn files_are_kept_in_the_store() {
    let store = ObjectStore::start().await;
    let server = store.keeping(ServerOptions::default()).start().await;
    let alice = server.register("alice").await;
    // More than one part.
    let (small, large) = (content(1000), content(11_000_000));

    let (one, two) = (upload(&alice, &*small, "video/mp4").await, upload(&alice, &*large, "video/mp4").await);
    let empty = upload(&alice, Vec::new(), "video/mp4").await;

    assert_eq!(store.count().await, 3);
    expect(&alice, &one, &small).await;
    expect(&alice, &two, &large).await;
    expect(&alice, &empty, b"").await;
    let part = download(&alice, &two).header("range", "bytes=8388600-8388700").await.expect_status(206);
    assert_eq!(part.body, large[8_388_600..=8_388_700]);
}

/// What is deleted is deleted there.
/// spec: none (operation)
/// covers: POST /_matrix/media/v3/upload
/// not on synapse: it has such a store only with a module
#[tokio::test]
async fn deleted_files_are_gone_from_the_store() {
    let store = ObjectStore::start().await;
    let server = store.keeping(ServerOptions::default().shared_secret("a secret")).start().await;
    let registered =
        crate::accounts::shared_secret::register(&server, &unique("admin"), true).await.expect_ok();
    let admin = User::from_login(&server, &registered, "secret words");
    let uri = upload(&admin, content(10), "video/mp4").await;

    let path = format!("/_synapse/admin/v1/media/{}/{}", server.name(), id_of(&uri));
    admin.delete(&path).await.expect_ok();

    assert_eq!(store.count().await, 0);
    admin.post(&path, json!({})).await.expect_refused();
}

/// Files move to the store and back, beside the running server, and can be read all the time.
/// spec: none (operation)
/// covers: GET /_matrix/client/v1/media/download/{serverName}/{mediaId}
/// not on synapse: it has no such command
#[tokio::test]
async fn files_move_between_the_stores() {
    let store = ObjectStore::start().await;
    let server = store.known_to(ServerOptions::default()).start().await;
    let alice = server.register("alice").await;
    let files = [content(10), content(9_000_000)];
    let uris = [upload(&alice, &*files[0], "video/mp4").await, upload(&alice, &*files[1], "video/mp4").await];
    assert_eq!(store.count().await, 0);

    for (to, count) in [("s3", 2), ("s3", 2), ("disk", 0)] {
        server.run(&["media", "migrate", to]).await.expect_success();
        assert_eq!(store.count().await, count);
        for (uri, file) in uris.iter().zip(&files) {
            expect(&alice, uri, file).await;
        }
    }
    server.run(&["media", "check"]).await.expect_success();
}

/// What is missing is found, and forgotten if so asked.
/// spec: none (operation)
/// covers: GET /_matrix/client/v1/media/download/{serverName}/{mediaId}
/// not on synapse: it has no such command
#[tokio::test]
async fn missing_files_are_found() {
    let server = ServerOptions::default().start().await;
    let alice = server.register("alice").await;
    let (gone, here) =
        (upload(&alice, "gone", "text/plain").await, upload(&alice, "here", "text/plain").await);
    server.run(&["media", "check"]).await.expect_success();
    let files = server.data_directory().join("media/files");
    let gone_file = find(&files, 4, b"gone");
    std::fs::remove_file(gone_file).expect("the file is there");

    server.run(&["media", "check"]).await.expect_failure("kith media check --repair");
    let said = server.run(&["media", "check", "--repair"]).await.expect_success();

    assert!(said.contains(&gone), "{said}");
    server.run(&["media", "check"]).await.expect_success();
    download(&alice, &gone).await.expect_err(404, "M_NOT_FOUND");
    expect_file(download(&alice, &here).await, b"here", "text/plain");
}

fn find(directory: &std::path::Path, depth: usize, content: &[u8]) -> std::path::PathBuf {
    let mut paths = vec![directory.to_owned()];
    for _ in 0..depth {
        let read = |path: &std::path::PathBuf| {
            if !path.is_dir() {
                return vec![path.clone()];
            }
            std::fs::read_dir(path)
                .expect("a directory")
                .map(|entry| entry.expect("an entry").path())
                .collect()
        };
        paths = paths.iter().flat_map(read).collect();
    }
    let found = paths.into_iter().find(|path| std::fs::read(path).is_ok_and(|read| read == content));
    found.expect("the file is there")
}
