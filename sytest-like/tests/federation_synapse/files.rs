//! Files that Kith and Synapse fetch from each other.

use crate::media::elsewhere::reach;
use sytest_like::Pair;

/// Kith reads a file of Synapse, with its type and its name.
/// spec: server-server-api/#content-repository
/// covers: GET /_matrix/federation/v1/media/download/{mediaId}
/// not on synapse: it is the other server
#[tokio::test]
async fn kith_reads_files_of_synapse() {
    reach(&Pair::kith_and_synapse().await).await;
}

/// Synapse reads a file of Kith, with its type and its name.
/// spec: server-server-api/#content-repository
/// covers: GET /_matrix/federation/v1/media/download/{mediaId}
/// not on synapse: it is the other server
#[tokio::test]
async fn synapse_reads_files_of_kith() {
    reach(&Pair::kith_and_synapse().await.swapped()).await;
}
