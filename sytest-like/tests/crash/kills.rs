//! `kill -9`, of the server, of its database, and of one of two replicas.

use super::load::Load;
use sytest_like::{Server, ServerOptions, against_synapse};

/// A crash that loses something one time in ten must not pass.
const ROUNDS: usize = 20;
const MESSAGES_PER_ROUND: usize = 40;

fn rounds() -> usize {
    // Synapse takes seconds to start, and is not what these cases are about.
    if against_synapse() { 3 } else { ROUNDS }
}

/// The server is killed during concurrent sends: no acknowledged event is lost, none is there twice, and a sync token from before goes on.
/// spec: client-server-api/#put_matrixclientv3roomsroomidsendeventtypetxnid
/// covers: PUT /_matrix/client/v3/rooms/{roomId}/send/{eventType}/{txnId}
/// covers: GET /_matrix/client/v3/sync
/// covers: GET /_matrix/client/v3/rooms/{roomId}/messages
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn killed_server_loses_and_repeats_nothing() {
    let server = Server::start().await;
    // What a server says of its own crash is its own affair; a panic still fails the case.
    server.expect_log("");
    let load = Load::start(std::slice::from_ref(&server)).await;
    for _ in 0..rounds() {
        load.acknowledges(MESSAGES_PER_ROUND).await;
        server.kill9();
        server.start_again().await;
    }
    load.acknowledges(MESSAGES_PER_ROUND).await;
    load.finish().await;
}

/// The supervised database is killed during concurrent sends: the server starts it again and goes on, and nothing is lost or repeated.
/// spec: client-server-api/#put_matrixclientv3roomsroomidsendeventtypetxnid
/// covers: PUT /_matrix/client/v3/rooms/{roomId}/send/{eventType}/{txnId}
/// covers: GET /_matrix/client/v3/sync
/// not on synapse: it does not supervise a database
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn killed_database_loses_and_repeats_nothing() {
    let server = ServerOptions::default().with_embedded_database().start().await;
    server.expect_log("");
    let load = Load::start(std::slice::from_ref(&server)).await;
    for _ in 0..rounds() {
        load.acknowledges(MESSAGES_PER_ROUND).await;
        server.kill9_postgres();
    }
    load.acknowledges(MESSAGES_PER_ROUND).await;
    load.finish().await;
}

/// Server and database are killed at one moment, as in a power cut: the next start adopts what is there.
/// spec: client-server-api/#put_matrixclientv3roomsroomidsendeventtypetxnid
/// covers: PUT /_matrix/client/v3/rooms/{roomId}/send/{eventType}/{txnId}
/// covers: GET /_matrix/client/v3/sync
/// not on synapse: it does not supervise a database
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn killed_server_and_database_lose_and_repeat_nothing() {
    let server = ServerOptions::default().with_embedded_database().start().await;
    server.expect_log("");
    let load = Load::start(std::slice::from_ref(&server)).await;
    for round in 0..rounds() {
        load.acknowledges(MESSAGES_PER_ROUND).await;
        // Every second time the database stays behind alone and is adopted.
        if round % 2 == 0 {
            server.kill9_postgres();
        }
        server.kill9();
        server.start_again().await;
    }
    load.acknowledges(MESSAGES_PER_ROUND).await;
    load.finish().await;
}

/// One of two replicas is killed during concurrent sends on both: the other goes on at once, clients move over, and nothing is lost or repeated.
/// spec: client-server-api/#put_matrixclientv3roomsroomidsendeventtypetxnid
/// covers: PUT /_matrix/client/v3/rooms/{roomId}/send/{eventType}/{txnId}
/// covers: GET /_matrix/client/v3/sync
/// not on synapse: it has no equal replicas
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn killed_replica_loses_and_repeats_nothing() {
    let replicas = ServerOptions::default().start_replicas(2).await;
    for replica in &replicas {
        replica.expect_log("");
    }
    let load = Load::start(&replicas).await;
    for round in 0..rounds() {
        let victim = &replicas[round % 2];
        load.acknowledges(MESSAGES_PER_ROUND).await;
        victim.kill9();
        load.acknowledges(MESSAGES_PER_ROUND).await;
        victim.start_again().await;
    }
    load.acknowledges(MESSAGES_PER_ROUND).await;
    load.finish().await;
}

/// A clean stop under load loses nothing either, and ends with success.
/// spec: client-server-api/#put_matrixclientv3roomsroomidsendeventtypetxnid
/// covers: PUT /_matrix/client/v3/rooms/{roomId}/send/{eventType}/{txnId}
/// covers: GET /_matrix/client/v3/sync
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn restarted_server_loses_and_repeats_nothing() {
    const RESTARTS: usize = 3;
    let server = Server::start().await;
    let load = Load::start(std::slice::from_ref(&server)).await;
    for _ in 0..RESTARTS {
        load.acknowledges(MESSAGES_PER_ROUND).await;
        server.restart().await;
    }
    load.acknowledges(MESSAGES_PER_ROUND).await;
    load.finish().await;
}
