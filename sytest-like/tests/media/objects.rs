//! Files in an S3-compatible store, and on the way there and back.

use super::ground::{admin_of, download, expect_file, files_below, id_of, upload, upload_request};
use sytest_like::{FakeServer, ObjectStore, Server, ServerOptions, User, json};

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
    let admin = admin_of(&server).await;
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
    let files = files_below(&server.data_directory().join("media/files"));
    let gone_file = files.iter().find(|path| std::fs::read(path).is_ok_and(|content| content == b"gone"));
    std::fs::remove_file(gone_file.expect("the file is there")).expect("it can be deleted");

    server.run(&["media", "check"]).await.expect_failure("kith media check --repair");
    let said = server.run(&["media", "check", "--repair"]).await.expect_success();

    assert!(said.contains(&gone), "{said}");
    server.run(&["media", "check"]).await.expect_success();
    download(&alice, &gone).await.expect_err(404, "M_NOT_FOUND");
    expect_file(download(&alice, &here).await, b"here", "text/plain");
}

/// Files that belong to nothing are found once nobody can be about to use them, and deleted if so asked.
/// spec: none (operation)
/// covers: POST /_matrix/media/v3/upload
/// not on synapse: it has no such command
#[tokio::test]
async fn files_that_belong_to_nothing_are_found() {
    let server = Server::start().await;
    let alice = server.register("alice").await;
    let uri = upload(&alice, "kept", "text/plain").await;
    let directory = server.data_directory().join("media/files/00/00");
    std::fs::create_dir_all(&directory).expect("a directory can be made");
    let (young, old) = (directory.join("young"), directory.join("old"));
    for path in [&young, &old] {
        std::fs::write(path, "left behind").expect("a file can be written");
    }
    let file = std::fs::File::options().write(true).open(&old).expect("the file is there");
    file.set_modified(std::time::UNIX_EPOCH).expect("its time can be set");

    server.run(&["media", "check"]).await.expect_failure("kith media check --repair");
    let said = server.run(&["media", "check", "--repair"]).await.expect_success();

    assert!(said.contains("00/00/old") && !said.contains("young"), "{said}");
    assert!(young.exists() && !old.exists());
    expect_file(download(&alice, &uri).await, b"kept", "text/plain");
}

/// A damaged file is not moved, and all others are; when it is whole again, the same command moves it too.
/// spec: none (operation)
/// covers: GET /_matrix/client/v1/media/download/{serverName}/{mediaId}
/// not on synapse: it has no such command
#[tokio::test]
async fn damaged_files_are_not_moved() {
    let store = ObjectStore::start().await;
    let server = store.known_to(ServerOptions::default()).start().await;
    let alice = server.register("alice").await;
    let (whole, damaged) = (content(1000), content(2000));
    let uris = [upload(&alice, &*whole, "video/mp4").await, upload(&alice, &*damaged, "video/mp4").await];
    let files = files_below(&server.data_directory().join("media/files"));
    let file = files.iter().find(|path| path.metadata().is_ok_and(|metadata| metadata.len() == 2000));
    let file = file.expect("the file is there");
    std::fs::write(file, vec![0; 2000]).expect("it can be damaged");

    server.run(&["media", "migrate", "s3"]).await.expect_failure("kith media check");
    assert_eq!(store.count().await, 1);
    assert!(file.exists());
    std::fs::write(file, &damaged).expect("it can be mended");
    server.run(&["media", "migrate", "s3"]).await.expect_success();

    assert_eq!(store.count().await, 2);
    assert!(!file.exists());
    expect(&alice, &uris[0], &whole).await;
    expect(&alice, &uris[1], &damaged).await;
}

/// Clients and other servers are sent to the store if so configured, which answers as the server would.
/// spec: client-server-api/#get_matrixclientv1mediadownloadservernamemediaid
/// covers: GET /_matrix/client/v1/media/download/{serverName}/{mediaId}
/// covers: GET /_matrix/media/v3/download/{serverName}/{mediaId}
/// covers: GET /_matrix/federation/v1/media/download/{mediaId}
/// not on synapse: it has such a store only with a module
#[tokio::test]
async fn clients_are_sent_to_the_store() {
    let store = ObjectStore::start().await;
    let options = store.keeping(Server::federated()).kith("media.s3_link_seconds", "60");
    let options = options.kith("media.unauthenticated_before", "\"2999-01-01\"");
    let (server, fake) = tokio::join!(options.start(), FakeServer::start());
    let alice = server.register("alice").await;
    let request = upload_request(&alice, b"in the store".to_vec(), "text/plain");
    let uri = request.query("filename", "n\u{e4}me.txt").await.expect_ok().str("content_uri").to_owned();

    let answer = download(&alice, &uri).await.expect_status(307);
    assert_eq!(answer.header("cache-control"), "no-store");
    let file = store.follow(answer.header("location")).await;
    assert!(file.contains("in the store") && file.contains("text/plain"), "{file}");
    assert!(file.to_lowercase().contains("inline; filename*=utf-8''n%c3%a4me.txt"), "{file}");

    // Old clients say that they can be sent elsewhere.
    let old = format!("/_matrix/media/v3/download/{}/{}", server.name(), id_of(&uri));
    expect_file(server.get(&old).await, b"in the store", "text/plain");
    server.get(&old).query("allow_redirect", "true").await.expect_status(307);

    let path = format!("/_matrix/federation/v1/media/download/{}", id_of(&uri));
    let answer = fake.get(server.name(), &path).await.expect_status(200);
    let parts = String::from_utf8_lossy(&answer.body).into_owned();
    assert!(parts.contains("Location: http") && !parts.contains("in the store"), "{parts}");
}

/// `kith check` says where files are kept, and whether they can be.
/// spec: none (operation)
/// not on synapse: it has no such command
#[tokio::test]
async fn check_looks_at_the_stores() {
    let store = ObjectStore::start().await;
    let (good, bad) = tokio::join!(
        store.keeping(ServerOptions::default()).start(),
        store.keeping(ServerOptions::default()).kith("media.s3_bucket", "\"no-such-bucket\"").start(),
    );

    let said = good.run(&["check"]).await.output;
    assert!(said.contains("files come in through") && said.contains("can be read"), "{said}");
    let ran = bad.run(&["check"]).await;
    assert!(!ran.is_success && ran.output.contains("BAD   media"), "{ran:?}");
}
