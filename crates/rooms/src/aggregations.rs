//! What an event is told about its children: `m.relations` in `unsigned`.
//!
//! Only visible children count. State events have no aggregations, and neither have replacements and annotations.
//! Annotations are left to clients.
//!
//! <https://spec.matrix.org/v1.19/client-server-api/#aggregations-of-child-events>

use std::{
    collections::{HashMap, HashSet},
    fmt::Write as _,
    sync::Arc,
};

use hs_model::{
    ids::{EventNid, UserNid},
    records::EventRecord,
};
use hs_storage::{StorageError, relations::ChildRow};
use ruma::{EventId, OwnedEventId};
use serde::Deserialize;
use serde_json::value::RawValue;

use crate::{
    Room, Rooms,
    client_event::{RoomId, Viewer},
    relation::relation_in,
    visibility::Facts,
};

const REPLACE: &str = "m.replace";
const THREAD: &str = "m.thread";
const REFERENCE: &str = "m.reference";
/// The types of relations that are aggregated.
pub(crate) const AGGREGATED: [&str; 3] = [REPLACE, THREAD, REFERENCE];
/// How many replacements of one event are looked at in search of a valid one.
const MAX_REPLACEMENTS_READ: usize = 10;

/// What there is to say about one event's children.
#[derive(Debug, Default)]
struct Bundle {
    replacement: Option<Arc<EventRecord>>,
    thread: Option<Thread>,
    references: Vec<OwnedEventId>,
}

#[derive(Debug)]
struct Thread {
    latest: Arc<EventRecord>,
    count: usize,
    current_user_participated: bool,
}

/// An event that may have aggregations.
struct Parent<'a> {
    event: &'a Arc<EventRecord>,
    /// Only what relates to nothing can begin a thread.
    can_begin_thread: bool,
}

impl Rooms {
    /// The text of `m.relations` for those of the events that have any.
    pub(crate) async fn aggregations(
        &self,
        room: &Room,
        events: &[Arc<EventRecord>],
        viewer: &Viewer<'_>,
        room_id: RoomId,
    ) -> Result<HashMap<EventNid, String>, StorageError> {
        let bundles = self.bundles(room, events, viewer).await?;
        if bundles.is_empty() {
            return Ok(HashMap::new());
        }
        // The newest event of a thread comes with aggregations of its own. It is a child, so it begins no thread itself.
        let latest: Vec<Arc<EventRecord>> =
            bundles.values().filter_map(|bundle| Some(bundle.thread.as_ref()?.latest.clone())).collect();
        let inner = self.bundles(room, &latest, viewer).await?;
        let inner = self.texts(room, inner, &HashMap::new(), viewer, room_id).await?;
        self.texts(room, bundles, &inner, viewer, room_id).await
    }

    /// Collects the children of events. One query for their rows, one for those events that are shown in full.
    async fn bundles(
        &self,
        room: &Room,
        events: &[Arc<EventRecord>],
        viewer: &Viewer<'_>,
    ) -> Result<HashMap<EventNid, Bundle>, StorageError> {
        let parents = possible_parents(room, events);
        if parents.is_empty() {
            return Ok(HashMap::new());
        }
        let ids: Vec<&EventId> = parents.iter().map(|parent| &*parent.event.event_id).collect();
        let mut children = self.inner.store.reader().await?.list_children(room.nid, &ids).await?;
        if children.is_empty() {
            return Ok(HashMap::new());
        }
        let facts: Vec<Facts> = children.iter().map(|child| Facts::from(&child.row)).collect();
        let visible = self.visible(room, &facts, viewer).await?;
        children.retain(|child| visible.contains(child.row.nid));
        self.drop_ignored(&mut children, viewer).await?;
        let mut by_parent: HashMap<&EventId, Vec<&ChildRow>> = HashMap::new();
        for child in &children {
            by_parent.entry(&child.parent_id).or_default().push(child);
        }
        let families: Vec<(&Parent<'_>, &[&ChildRow])> = parents
            .iter()
            .filter_map(|parent| Some((parent, &**by_parent.get(&*parent.event.event_id)?)))
            .collect();

        let mut replacements = self.replacements(&families).await?;
        let latest: Vec<EventNid> = families
            .iter()
            .filter_map(|(parent, children)| Some(latest_in_thread(parent, children)?.row.nid))
            .collect();
        let latest = match latest.as_slice() {
            [] => HashMap::new(),
            latest => self.inner.store.find_events(latest).await?,
        };
        let mut bundles = HashMap::new();
        for (parent, children) in families {
            let of_type =
                |rel_type: &'static str| children.iter().filter(move |child| child.rel_type == rel_type);
            let thread = latest_in_thread(parent, children).and_then(|last| {
                Some(Thread {
                    latest: latest.get(&last.row.nid)?.clone(),
                    count: of_type(THREAD).count(),
                    current_user_participated: parent.event.sender_nid == viewer.user
                        || of_type(THREAD).any(|child| child.sender == viewer.user),
                })
            });
            let bundle = Bundle {
                replacement: replacements.remove(&parent.event.nid),
                thread,
                references: of_type(REFERENCE).map(|child| child.event_id.clone()).collect(),
            };
            if bundle.replacement.is_some() || bundle.thread.is_some() || !bundle.references.is_empty() {
                bundles.insert(parent.event.nid, bundle);
            }
        }
        Ok(bundles)
    }

    /// Leaves out what users have sent whom the viewer ignores.
    async fn drop_ignored(
        &self,
        children: &mut Vec<ChildRow>,
        viewer: &Viewer<'_>,
    ) -> Result<(), StorageError> {
        let ignored = self.ignored_by(viewer.user).await?;
        if ignored.is_empty() {
            return Ok(());
        }
        let senders: Vec<UserNid> = children.iter().map(|child| child.sender).collect();
        let ids = self.inner.store.user_ids(&senders).await?;
        children.retain(|child| {
            child.row.slot.is_some() || ids.get(&child.sender).is_none_or(|id| !ignored.contains(id))
        });
        Ok(())
    }

    /// The newest valid replacement of each event.
    ///
    /// <https://spec.matrix.org/v1.19/client-server-api/#validity-of-replacement-events>
    async fn replacements(
        &self,
        families: &[(&Parent<'_>, &[&ChildRow])],
    ) -> Result<HashMap<EventNid, Arc<EventRecord>>, StorageError> {
        let mut candidates: Vec<(EventNid, Vec<&ChildRow>)> = families
            .iter()
            .filter(|(parent, _)| parent.event.redacted_by.is_none())
            .map(|(parent, children)| {
                let mut valid: Vec<&ChildRow> = children
                    .iter()
                    .copied()
                    .filter(|child| {
                        child.rel_type == REPLACE
                            && child.sender == parent.event.sender_nid
                            && child.event_type == *parent.event.event_type
                            && child.row.slot.is_none()
                    })
                    .collect();
                valid.sort_by_key(|child| (child.row.origin_server_ts, &child.event_id));
                (parent.event.nid, valid)
            })
            .collect();
        let mut found = HashMap::new();
        for _ in 0..MAX_REPLACEMENTS_READ {
            candidates.retain(|(parent, rest)| !rest.is_empty() && !found.contains_key(parent));
            let newest: Vec<(EventNid, EventNid)> = candidates
                .iter_mut()
                .filter_map(|(parent, rest)| Some((*parent, rest.pop()?.row.nid)))
                .collect();
            if newest.is_empty() {
                break;
            }
            let nids: Vec<EventNid> = newest.iter().map(|(_, nid)| *nid).collect();
            let events = self.inner.store.find_events(&nids).await?;
            for (parent, nid) in newest {
                if let Some(event) = events.get(&nid).filter(|event| has_new_content(event)) {
                    found.insert(parent, event.clone());
                }
            }
        }
        Ok(found)
    }

    /// Writes bundles as JSON. `inner` has the aggregations of the newest events of threads.
    async fn texts(
        &self,
        room: &Room,
        bundles: HashMap<EventNid, Bundle>,
        inner: &HashMap<EventNid, String>,
        viewer: &Viewer<'_>,
        room_id: RoomId,
    ) -> Result<HashMap<EventNid, String>, StorageError> {
        let shown: Vec<Arc<EventRecord>> = bundles
            .values()
            .flat_map(|bundle| [bundle.replacement.as_ref(), bundle.thread.as_ref().map(|t| &t.latest)])
            .flatten()
            .cloned()
            .collect();
        let rendered = self.render_with(room, &shown, viewer, room_id, inner).await?;
        let rendered: HashMap<EventNid, Box<RawValue>> =
            shown.iter().map(|event| event.nid).zip(rendered).collect();
        let json_of = |event: &EventRecord| rendered.get(&event.nid).map_or("null", |json| json.get());
        Ok(bundles
            .into_iter()
            .map(|(parent, bundle)| {
                let mut parts = Vec::new();
                if !bundle.references.is_empty() {
                    let chunk: Vec<_> =
                        bundle.references.iter().map(|id| serde_json::json!({ "event_id": id })).collect();
                    parts.push(format!("\"{REFERENCE}\":{}", serde_json::json!({ "chunk": chunk })));
                }
                if let Some(replacement) = &bundle.replacement {
                    parts.push(format!("\"{REPLACE}\":{}", json_of(replacement)));
                }
                if let Some(thread) = &bundle.thread {
                    let mut text = String::new();
                    let _ = write!(
                        text,
                        "\"{THREAD}\":{{\"count\":{},\"current_user_participated\":{},\"latest_event\":{}}}",
                        thread.count,
                        thread.current_user_participated,
                        json_of(&thread.latest)
                    );
                    parts.push(text);
                }
                (parent, format!("{{{}}}", parts.join(",")))
            })
            .collect())
    }
}

/// Those of the events that may have aggregations, as far as memory can tell. Asks nothing of the database.
fn possible_parents<'a>(room: &Room, events: &'a [Arc<EventRecord>]) -> Vec<Parent<'a>> {
    let mut seen = HashSet::new();
    let state = room.read();
    events
        .iter()
        .filter(|event| {
            event.state_key.is_none()
                && event.position.is_some()
                && !state.is_known_childless(event)
                && seen.insert(event.nid)
        })
        .filter_map(|event| {
            let relation = relation_in(&event.json);
            let is_leaf = relation.as_ref().is_some_and(|r| matches!(&*r.rel_type, REPLACE | "m.annotation"));
            (!is_leaf).then_some(Parent { event, can_begin_thread: relation.is_none() })
        })
        .collect()
}

/// The newest event of the thread that begins with an event. Children are in topological order.
fn latest_in_thread<'a>(parent: &Parent<'_>, children: &[&'a ChildRow]) -> Option<&'a ChildRow> {
    children.iter().rev().find(|child| parent.can_begin_thread && child.rel_type == THREAD).copied()
}

/// Whether a replacement says what it replaces the content with. What is encrypted cannot be looked into.
fn has_new_content(event: &EventRecord) -> bool {
    #[derive(Deserialize)]
    struct Event<'a> {
        #[serde(borrow)]
        content: Content<'a>,
    }
    #[derive(Deserialize)]
    struct Content<'a> {
        #[serde(rename = "m.new_content", borrow)]
        new_content: Option<&'a RawValue>,
    }
    &*event.event_type == "m.room.encrypted"
        || serde_json::from_str::<Event<'_>>(&event.json).is_ok_and(|event| {
            event.content.new_content.is_some_and(|content| content.get().starts_with('{'))
        })
}
