use super::*;
pub(super) async fn section(_c: &Context<'_>, _s: &RoomsSection) -> Result<Batch, StorageError> { Ok(Batch::default()) }
