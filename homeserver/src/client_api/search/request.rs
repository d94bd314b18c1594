//! What clients may ask for.

use hs_http::ApiError;
use hs_rooms::{context::Limits, event_filter::EventFilter};
use hs_storage::search::SearchField;
use serde::Deserialize;
use serde_json::{Map, Value};

/// How many results a page has when the filter does not say.
const DEFAULT_LIMIT: u64 = 10;
/// How many it has at most.
const MAX_LIMIT: u64 = 50;
/// How many events stand around each result when the client does not say.
const DEFAULT_CONTEXT: u64 = 5;
/// How many at most.
const MAX_CONTEXT: u64 = 20;
/// The longest search.
const MAX_TERM_BYTES: usize = 2_000;

#[derive(Debug, Deserialize)]
pub(in crate::client_api) struct Body {
    pub(super) search_categories: Categories,
}

#[derive(Debug, Deserialize)]
pub(super) struct Categories {
    pub(super) room_events: Option<RawCriteria>,
}

#[derive(Debug, Deserialize)]
pub(super) struct RawCriteria {
    search_term: String,
    keys: Option<Vec<String>>,
    filter: Option<Map<String, Value>>,
    order_by: Option<String>,
    event_context: Option<RawContext>,
    include_state: Option<bool>,
    groupings: Option<Groupings>,
}

#[derive(Debug, Deserialize)]
struct RawContext {
    before_limit: Option<u64>,
    after_limit: Option<u64>,
    include_profile: Option<bool>,
}

#[derive(Debug, Deserialize)]
struct Groupings {
    group_by: Option<Vec<GroupBy>>,
}

#[derive(Debug, Deserialize)]
struct GroupBy {
    key: String,
}

/// How results are grouped.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct GroupKeys {
    pub(super) by_room: bool,
    pub(super) by_sender: bool,
}

/// What to show around each result.
#[derive(Clone, Copy, Debug)]
pub(super) struct ContextWanted {
    pub(super) limits: Limits,
    pub(super) include_profile: bool,
}

/// What to search for, and what to tell of it.
#[derive(Debug)]
pub(super) struct Criteria {
    pub(super) term: String,
    pub(super) fields: Vec<SearchField>,
    pub(super) filter: EventFilter,
    pub(super) limit: usize,
    pub(super) by_rank: bool,
    pub(super) context: Option<ContextWanted>,
    pub(super) include_state: bool,
    pub(super) groups: GroupKeys,
}

impl RawCriteria {
    pub(super) fn read(self) -> Result<Criteria, ApiError> {
        if self.search_term.len() > MAX_TERM_BYTES {
            return Err(ApiError::invalid_param("`search_term` is too long"));
        }
        let filter = self.filter.unwrap_or_default();
        let filter = EventFilter::parse(&Value::Object(filter).to_string())
            .map_err(|error| ApiError::invalid_param(format!("filter: {error}")))?;
        let by_rank = match self.order_by.as_deref() {
            None | Some("rank") => true,
            Some("recent") => false,
            Some(_) => return Err(ApiError::invalid_param("`order_by` must be `rank` or `recent`")),
        };
        let limit = filter.limit.unwrap_or(DEFAULT_LIMIT).clamp(1, MAX_LIMIT);
        let context = self.event_context.map(|context| {
            let side = |limit: Option<u64>| limit.unwrap_or(DEFAULT_CONTEXT).min(MAX_CONTEXT) as usize;
            ContextWanted {
                limits: Limits { before: side(context.before_limit), after: side(context.after_limit) },
                include_profile: context.include_profile.unwrap_or_default(),
            }
        });
        let mut groups = GroupKeys::default();
        for group in self.groupings.and_then(|groupings| groupings.group_by).unwrap_or_default() {
            match &*group.key {
                "room_id" => groups.by_room = true,
                "sender" => groups.by_sender = true,
                _ => return Err(ApiError::invalid_param("results are grouped by `room_id` or `sender`")),
            }
        }
        Ok(Criteria {
            term: self.search_term,
            fields: fields(self.keys)?,
            filter,
            limit: limit as usize,
            by_rank,
            context,
            include_state: self.include_state.unwrap_or_default(),
            groups,
        })
    }
}

fn fields(keys: Option<Vec<String>>) -> Result<Vec<SearchField>, ApiError> {
    let Some(keys) = keys else {
        return Ok(vec![SearchField::Body, SearchField::Name, SearchField::Topic]);
    };
    keys.iter()
        .map(|key| match &**key {
            "content.body" => Ok(SearchField::Body),
            "content.name" => Ok(SearchField::Name),
            "content.topic" => Ok(SearchField::Topic),
            _ => {
                Err(ApiError::invalid_param("`keys` are `content.body`, `content.name` and `content.topic`"))
            }
        })
        .collect()
}
