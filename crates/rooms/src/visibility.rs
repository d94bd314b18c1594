//! temp
use std::sync::Arc; use hs_model::records::EventRecord; use hs_storage::StorageError; use crate::{Room,Rooms,client_event::Viewer};
impl Rooms { /// t
pub async fn filter_visible(&self, _r:&Room, e: Vec<Arc<EventRecord>>, _v:&Viewer<'_>)->Result<Vec<Arc<EventRecord>>,StorageError>{Ok(e)} }
