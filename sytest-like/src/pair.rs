//! Two servers that federate, shared by the cases of a run that only need them to be there.

use tokio::sync::OnceCell;

use crate::{Server, install};

/// Two servers that talk to each other.
#[derive(Clone, Debug)]
pub struct Pair {
    /// The one that the case is mostly about.
    pub near: Server,
    /// The other one.
    pub far: Server,
}

impl Pair {
    /// Two servers of the kind that the cases run against, shared by this run.
    pub async fn shared() -> Self {
        static SHARED: OnceCell<Pair> = OnceCell::const_new();
        SHARED.get_or_init(Self::start).await.anew()
    }

    /// Two servers for this case alone, which it may stop and kill.
    pub async fn start() -> Self {
        let (near, far) = tokio::join!(Server::federated().start(), Server::federated().start());
        Self { near, far }
    }

    /// A Kith and a Synapse, shared by this run.
    pub async fn kith_and_synapse() -> Self {
        static SHARED: OnceCell<Pair> = OnceCell::const_new();
        SHARED.get_or_init(Self::start_kith_and_synapse).await.anew()
    }

    /// A Kith and a Synapse for this case alone.
    pub async fn start_kith_and_synapse() -> Self {
        // Once for each machine; the first case waits for it.
        tokio::task::spawn_blocking(install::synapse).await.expect("Synapse can be installed");
        let synapse = Server::federated().on_synapse();
        let (near, far) = tokio::join!(Server::federated().start(), synapse.start());
        Self { near, far }
    }

    /// The same two the other way round.
    #[must_use]
    pub fn swapped(self) -> Self {
        Self { near: self.far, far: self.near }
    }

    /// Handles whose connections belong to the case that asks.
    fn anew(&self) -> Self {
        Self { near: self.near.anew(), far: self.far.anew() }
    }
}
