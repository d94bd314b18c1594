//! Relations bundled into the events they relate to.
//!
//! <https://spec.matrix.org/v1.19/client-server-api/#aggregations-of-child-events>

use std::{collections::HashMap, sync::Arc};

use hs_model::{ids::EventNid, records::EventRecord};
use hs_storage::StorageError;

use crate::{Room, Rooms, client_event::Viewer};

impl Rooms {
    /// `m.relations` of those of the events that have any, as JSON.
    pub(crate) async fn bundled_relations(
        &self,
        _room: &Room,
        _events: &[Arc<EventRecord>],
        _viewer: &Viewer<'_>,
    ) -> Result<HashMap<EventNid, String>, StorageError> {
        Ok(HashMap::new())
    }
}
