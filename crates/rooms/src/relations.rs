//! The children of an event, and the threads of a room.
//!
//! <https://spec.matrix.org/v1.19/client-server-api/#relationships-api>,
//! <https://spec.matrix.org/v1.19/client-server-api/#querying-threads-in-a-room>

use std::sync::Arc;

use hs_model::{ids::EventNid, records::EventRecord, stream::RoomStreamToken};
use hs_storage::{
    StorageError,
    relations::{RelatedQuery, ThreadQuery},
};
use ruma::EventId;

use crate::{
    Room, Rooms,
    access::Access,
    client_event::Viewer,
    paginate::{MAX_LIMIT, Page, PageRequest, Source, token_at},
    visibility::Facts,
};

/// How many relations may lie between an event and those listed as related to it. The specification asks for at least 3.
pub const MAX_RECURSION: i32 = 3;
/// How often the list of threads is continued when a user may see none of those found.
const MAX_THREAD_PAGES: usize = 5;

/// Which children of an event are wanted.
#[derive(Clone, Copy, Debug)]
pub struct RelatedRequest<'a> {
    /// The event.
    pub parent: &'a EventId,
    /// Only relations of this type.
    pub rel_type: Option<&'a str>,
    /// Only children of this type.
    pub event_type: Option<&'a str>,
    /// Whether children of children count.
    pub recurse: bool,
}

/// Which threads are wanted.
#[derive(Clone, Copy, Debug)]
pub struct ThreadsRequest {
    /// Only those that the user has taken part in.
    pub only_participated: bool,
    /// Where to begin; `None` for the thread with the newest event.
    pub from: Option<RoomStreamToken>,
    /// The most threads to return.
    pub limit: usize,
}

/// A page of the list of threads.
#[derive(Clone, Debug, Default)]
pub struct ThreadsPage {
    /// The roots.
    pub roots: Vec<Arc<EventRecord>>,
    /// Where the next page begins; `None` when there is none.
    pub next: Option<RoomStreamToken>,
}

impl Rooms {
    /// A page of an event's children, as far as the user may see them.
    pub async fn related(
        &self,
        room: &Room,
        viewer: &Viewer<'_>,
        access: &Access,
        related: RelatedRequest<'_>,
        page: PageRequest<'_>,
    ) -> Result<Page, StorageError> {
        let source = Source::Related(RelatedQuery {
            room: room.nid,
            parent: related.parent,
            rel_type: related.rel_type,
            event_type: related.event_type,
            max_hops: if related.recurse { MAX_RECURSION } else { 1 },
        });
        self.page_of(source, room, viewer, access, page).await
    }

    /// A page of a room's threads, the one with the newest event first.
    pub async fn threads(
        &self,
        room: &Room,
        viewer: &Viewer<'_>,
        access: &Access,
        request: ThreadsRequest,
    ) -> Result<ThreadsPage, StorageError> {
        let limit = request.limit.clamp(1, MAX_LIMIT);
        let mut query = ThreadQuery {
            room: room.nid,
            participant: request.only_participated.then_some(viewer.user),
            until: access.until(),
            from: match request.from {
                Some(token) => Some(self.place_of_token(room, token).await?),
                None => None,
            },
        };
        let mut page = ThreadsPage::default();
        let ignored = self.ignored_by(viewer.user).await?;
        for _ in 0..MAX_THREAD_PAGES {
            let mut rows = self.inner.store.reader().await?.list_threads(query, limit as i64 + 1).await?;
            let has_more = rows.len() > limit;
            rows.truncate(limit);
            query.from = rows.last().map(|row| row.latest.before());
            page.next = query.from.filter(|_| has_more).map(token_at);
            let facts: Vec<Facts> = rows.iter().map(|row| Facts::from(&row.root)).collect();
            let visible = self.visible(room, &facts, viewer).await?;
            let roots: Vec<EventNid> =
                rows.iter().map(|row| row.root.nid).filter(|nid| visible.contains(*nid)).collect();
            page.roots = self.inner.store.list_events(&roots).await?;
            page.roots.retain(|root| !ignored.hides(root));
            if !page.roots.is_empty() || !has_more {
                break;
            }
        }
        Ok(page)
    }
}
