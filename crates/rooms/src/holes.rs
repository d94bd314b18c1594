//! Holes in what this server has of a room: events that others name as their predecessors, and that have not come.

use hs_model::{ids::RoomNid, records::EventRecord, stream::RoomStreamToken};
use hs_storage::{StorageError, events::Order, graph::MissingEvent};
use ruma::OwnedEventId;

use crate::{
    Room, Rooms,
    access::Access,
    client_event::Viewer,
    paginate::{Page, PageRequest},
};

/// How many missing events are named together.
const MAX_MISSING: i64 = 20;
/// How often a page is read while what is missing keeps coming.
const MAX_READINGS: usize = 5;

impl Rooms {
    /// What is missing here before the events in the range of a page, backwards; without those of `except`. `to` is where the
    /// page had to stop.
    pub async fn missing_in_page(
        &self,
        room: &Room,
        page: &Page,
        to: Option<RoomStreamToken>,
        except: &[OwnedEventId],
    ) -> Result<Vec<MissingEvent>, StorageError> {
        let high = depth_of(page.start).unwrap_or(i64::MAX);
        let depths = (lowest_depth(page, to), high);
        self.inner.store.reader().await?.list_missing(room.nid, depths, except, MAX_MISSING).await
    }

    /// A page that goes backwards, and what is missing in its range: see [`Rooms::missing_in_page`].
    pub async fn page_and_missing(
        &self,
        room: &Room,
        viewer: &Viewer<'_>,
        access: &Access,
        request: PageRequest<'_>,
        except: &[OwnedEventId],
    ) -> Result<(Page, Vec<MissingEvent>), StorageError> {
        let high = request.from.and_then(depth_of).unwrap_or(i64::MAX);
        let mut attempts = 0;
        loop {
            attempts += 1;
            let mut reader = self.inner.store.reader().await?;
            let before = reader.list_missing(room.nid, (0, high), except, MAX_MISSING).await?;
            drop(reader);
            let page = self.page(room, viewer, access, request).await?;
            let missing = self.missing_in_page(room, &page, request.to, except).await?;
            // What has come since may not be in the page, though nothing says any more that it is missing there.
            let low = lowest_depth(&page, request.to);
            let has_come = |event: &MissingEvent| {
                event.named_depth >= low && missing.iter().all(|other| other.event_id != event.event_id)
            };
            if attempts == MAX_READINGS || !before.iter().any(has_come) {
                return Ok((page, missing));
            }
        }
    }

    /// What is missing here of what happened since this server came into a room; without those of `except`.
    pub async fn missing_since_entrance(
        &self,
        room: &Room,
        except: &[OwnedEventId],
    ) -> Result<Vec<MissingEvent>, StorageError> {
        let depths = (self.entrance_depth(room).await?.saturating_add(1), i64::MAX);
        self.inner.store.reader().await?.list_missing(room.nid, depths, except, MAX_MISSING).await
    }

    /// How deep in its graph this server came into a room; beyond everything when it is not in it.
    pub async fn entrance_depth(&self, room: &Room) -> Result<i64, StorageError> {
        let mut reader = self.inner.store.reader().await?;
        let entrance = reader.find_entrance(room.nid, self.server_name().as_str()).await?;
        Ok(entrance.unwrap_or(i64::MAX))
    }

    /// The rooms in which something is missing since this server came into them.
    pub async fn list_rooms_with_holes(&self) -> Result<Vec<RoomNid>, StorageError> {
        self.inner.store.reader().await?.list_rooms_with_holes(self.server_name().as_str()).await
    }

    /// What is missing here that may be nearer to a time than what was found.
    pub async fn missing_near(
        &self,
        room: &Room,
        found: Option<&EventRecord>,
        (ts, order): (i64, Order),
    ) -> Result<Vec<MissingEvent>, StorageError> {
        let depths = match (order, found) {
            // What is missing comes before something that is here, and so before the newest of it.
            (Order::Forward, None) => return Ok(Vec::new()),
            (Order::Forward, Some(found)) => (0, found.depth),
            (Order::Backward, None) => (0, i64::MAX),
            (Order::Backward, Some(found)) => (found.depth + 1, i64::MAX),
        };
        let mut reader = self.inner.store.reader().await?;
        let mut missing = reader.list_missing(room.nid, depths, &[], MAX_MISSING).await?;
        if order == Order::Forward {
            missing.retain(|event| event.named_at >= ts);
        }
        Ok(missing)
    }
}

fn depth_of(token: RoomStreamToken) -> Option<i64> {
    match token {
        RoomStreamToken::Topological { depth, .. } => Some(depth),
        RoomStreamToken::Stream(_) => None,
    }
}

/// How deep the range of a page reaches that goes backwards.
fn lowest_depth(page: &Page, to: Option<RoomStreamToken>) -> i64 {
    page.end.or(to).and_then(depth_of).unwrap_or(0)
}
