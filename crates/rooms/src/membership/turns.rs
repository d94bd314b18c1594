//! One after the other: joins to the same room, which would otherwise all fetch its state.

use std::{
    collections::HashMap,
    sync::{Arc, Weak},
};

use parking_lot::Mutex;
use ruma::{OwnedRoomId, RoomId};
use tokio::sync::{Mutex as AsyncMutex, OwnedMutexGuard};

/// How many rooms are remembered before those that nobody waits for are dropped.
const SWEEP_AT: usize = 256;

/// Who may join which room now. Cloning shares it.
#[derive(Clone, Debug, Default)]
pub(crate) struct Turns(Arc<Mutex<HashMap<OwnedRoomId, Weak<AsyncMutex<()>>>>>);

impl Turns {
    /// Waits until nobody else joins the room at this process.
    pub(crate) async fn take_turn(&self, room_id: &RoomId) -> OwnedMutexGuard<()> {
        let turn = {
            let mut turns = self.0.lock();
            if turns.len() >= SWEEP_AT {
                turns.retain(|_, turn| turn.strong_count() > 0);
            }
            if let Some(turn) = turns.get(room_id).and_then(Weak::upgrade) {
                turn
            } else {
                let turn = Arc::new(AsyncMutex::new(()));
                turns.insert(room_id.to_owned(), Arc::downgrade(&turn));
                turn
            }
        };
        turn.lock_owned().await
    }
}
