//! The service.

use std::sync::Arc;

use hs_storage::Store;

/// Push rules. Cheap to clone.
#[derive(Clone, Debug)]
pub struct Push {
    pub(crate) inner: Arc<Inner>,
}

#[derive(Debug)]
pub(crate) struct Inner {
    pub(crate) store: Store,
}

impl Push {
    /// The service over a database.
    pub fn new(store: Store) -> Self {
        Self { inner: Arc::new(Inner { store }) }
    }
}
