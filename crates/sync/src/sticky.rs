//! Events that are delivered for a while whatever comes after them: which they are, by room, kept in memory and fed by the
//! log.
//!
//! <https://github.com/matrix-org/matrix-spec-proposals/pull/4354>

use std::{
    collections::{HashMap, HashSet},
    sync::Arc,
};

use hs_model::{
    clock::{Clock as _, SystemClock},
    ids::{EventNid, RoomNid},
    records::{EventRecord, Outcome},
    stream::Position,
};
use hs_rooms::people::IgnoredUsers;
use hs_storage::{
    StorageError, Store,
    log::LogEntry,
    sticky_events::{StickyEvent, sticky_until},
};
use parking_lot::Mutex;
use tokio::sync::OnceCell;

/// After so many new ones, those that have expired are looked for everywhere.
const SWEEP_EVERY: usize = 1_000;

/// The sticky events of all rooms.
#[derive(Clone, Debug)]
pub(crate) struct StickyEvents {
    inner: Arc<Inner>,
}

#[derive(Debug)]
struct Inner {
    store: Store,
    state: Mutex<State>,
    /// Whether those from before this process are known as well.
    past: OnceCell<()>,
}

#[derive(Debug, Default)]
struct State {
    /// The log has been followed from here on.
    since: Position,
    /// In the order of the log.
    rooms: HashMap<RoomNid, Vec<StickyEvent>>,
    new: usize,
}

/// Which part of the log is wanted.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Span {
    /// After this.
    pub(crate) after: Position,
    /// Up to and including this.
    pub(crate) until: Position,
}

impl StickyEvents {
    pub(crate) fn new(store: Store) -> Self {
        Self { inner: Arc::new(Inner { store, state: Mutex::default(), past: OnceCell::new() }) }
    }

    /// Begins where the log stands: must be called once, before the log is followed.
    pub(crate) fn start(&self) {
        self.inner.state.lock().since = self.inner.store.applied();
    }

    /// Takes note of what happens.
    pub(crate) fn apply(&self, entries: &[LogEntry]) {
        let accepted = entries.iter().filter_map(|entry| Some((entry, entry.event.as_ref()?)));
        let accepted = accepted.filter(|(_, event)| event.outcome == Outcome::Accepted);
        let sticky = accepted.filter_map(|(entry, event)| {
            let expires_at = sticky_until(event, SystemClock.now_ms())?;
            Some(StickyEvent { event: event.nid, room: event.room, position: entry.position, expires_at })
        });
        for event in sticky {
            self.inner.state.lock().add(event);
        }
    }

    /// Sticky events of a room that are to be delivered beside its timeline: not those that stand in it, not those of
    /// people whom the user ignores, and not those that were redacted.
    pub(crate) async fn beside<'a>(
        &self,
        room: RoomNid,
        span: Span,
        timeline: impl Iterator<Item = &'a Arc<EventRecord>>,
        ignored: &IgnoredUsers,
    ) -> Result<Vec<Arc<EventRecord>>, StorageError> {
        self.inner.past.get_or_try_init(|| self.read_past()).await?;
        let mut wanted = self.inner.state.lock().between(room, span, SystemClock.now_ms());
        if wanted.is_empty() {
            return Ok(Vec::new());
        }
        let shown: HashSet<EventNid> = timeline.map(|event| event.nid).collect();
        wanted.retain(|event| !shown.contains(event));
        let mut events = self.inner.store.list_events(&wanted).await?;
        events.retain(|event| event.redacted_by.is_none() && !ignored.hides(event));
        Ok(events)
    }

    async fn read_past(&self) -> Result<(), StorageError> {
        let since = self.inner.state.lock().since;
        let past = self.inner.store.reader().await?.list_sticky_events(since, SystemClock.now_ms()).await?;
        let mut state = self.inner.state.lock();
        let mut rooms: HashMap<RoomNid, Vec<StickyEvent>> = HashMap::new();
        for event in past {
            rooms.entry(event.room).or_default().push(event);
        }
        for (room, mut events) in rooms {
            let known = state.rooms.entry(room).or_default();
            events.append(known);
            *known = events;
        }
        Ok(())
    }
}

impl State {
    fn add(&mut self, event: StickyEvent) {
        let now_ms = SystemClock.now_ms();
        let events = self.rooms.entry(event.room).or_default();
        events.retain(|event| event.expires_at > now_ms);
        events.push(event);
        self.new += 1;
        if self.new.is_multiple_of(SWEEP_EVERY) {
            self.rooms.retain(|_, events| {
                events.retain(|event| event.expires_at > now_ms);
                !events.is_empty()
            });
        }
    }

    fn between(&self, room: RoomNid, span: Span, now_ms: i64) -> Vec<EventNid> {
        let events = self.rooms.get(&room).map(Vec::as_slice).unwrap_or_default();
        let is_wanted = |event: &&StickyEvent| {
            event.position > span.after && event.position <= span.until && event.expires_at > now_ms
        };
        events.iter().filter(is_wanted).map(|event| event.event).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_events_of_the_span_that_last_are_told() {
        let mut state = State::default();
        let far = SystemClock.now_ms() + 1_000_000;
        for (position, expires_at) in [(1, far), (2, far + 10), (3, far + 20)] {
            let (event, room) = (EventNid(position), RoomNid(7));
            state.add(StickyEvent { event, room, position: Position(position), expires_at });
        }
        let span = |after, until| Span { after: Position(after), until: Position(until) };

        assert_eq!(state.between(RoomNid(7), span(0, 2), far - 1), [EventNid(1), EventNid(2)]);
        assert_eq!(state.between(RoomNid(7), span(0, 9), far + 10), [EventNid(3)]);
        assert_eq!(state.between(RoomNid(8), span(0, 9), far - 1), []);
    }
}
