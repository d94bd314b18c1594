use super::*;
pub(super) async fn section(_c: &Context<'_>, _r: &Arc<Room>, _n: bool) -> Result<Batch, StorageError> { Ok(Batch::default()) }
