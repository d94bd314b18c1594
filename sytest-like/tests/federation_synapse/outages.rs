//! One of the two is away for a while.

use crate::federation::absence;
use crate::federation::scenes::World;
use sytest_like::Pair;

/// What Kith says while Synapse is away is there when it is back.
/// spec: server-server-api/#transactions
/// covers: PUT /_matrix/federation/v1/send/{txnId}
/// not on synapse: it is the other server
#[tokio::test]
async fn synapse_catches_up() {
    absence::catching_up(&World::on(Pair::start_kith_and_synapse().await).await).await;
}

/// What Synapse says while Kith is away is there when it is back.
/// spec: server-server-api/#transactions
/// covers: PUT /_matrix/federation/v1/send/{txnId}
/// not on synapse: it is the other server
#[tokio::test]
async fn kith_catches_up() {
    absence::catching_up(&World::on(Pair::start_kith_and_synapse().await.swapped()).await).await;
}
