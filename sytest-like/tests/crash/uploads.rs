//! `kill -9` while files come in.

use std::sync::{Arc, Mutex};

use crate::media::ground::{download, expect_file, upload_request};
use sytest_like::Server;

const ROUNDS: usize = 5;
const CLIENTS: u8 = 6;

/// What was acknowledged: URIs, and what they stand for.
type Kept = Mutex<Vec<(String, Vec<u8>)>>;

/// The server is killed while files are uploaded: whatever was acknowledged is there and whole, and nothing that is named is missing.
/// spec: client-server-api/#post_matrixmediav3upload
/// covers: POST /_matrix/media/v3/upload
/// covers: GET /_matrix/client/v1/media/download/{serverName}/{mediaId}
/// not on synapse: it has no command that looks for what is missing
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn killed_server_keeps_what_it_acknowledged() {
    let server = Server::start().await;
    server.expect_log("");
    let alice = server.register("alice").await;
    let kept: Arc<Kept> = Arc::default();
    for round in 0..ROUNDS {
        let before = kept.lock().expect("no panic").len();
        let clients: Vec<_> = (0..CLIENTS)
            .map(|client| {
                let (alice, kept) = (server.as_seen_here(&alice), Arc::clone(&kept));
                tokio::spawn(async move {
                    for number in 0_usize.. {
                        let mut content = vec![client; 200_000 + 90_000 * usize::from(client)];
                        content.extend(format!("{round} {number}").into_bytes());
                        let request = upload_request(&alice, content.clone(), "application/octet-stream");
                        // The server is gone.
                        let Ok(answer) = request.try_send().await else { return };
                        let uri = answer.expect_ok().str("content_uri").to_owned();
                        kept.lock().expect("no panic").push((uri, content));
                    }
                })
            })
            .collect();
        while kept.lock().expect("no panic").len() < before + 20 {
            tokio::task::yield_now().await;
        }
        server.kill9();
        for client in clients {
            client.await.expect("a client sees the server go, and nothing else");
        }
        server.start_again().await;
    }
    let kept = kept.lock().expect("no panic").clone();
    for (uri, content) in &kept {
        expect_file(download(&alice, uri).await, content, "application/octet-stream");
    }
    let found = server.run(&["media", "check"]).await;
    assert!(!found.output.contains("missing"), "{found:?}");
}
