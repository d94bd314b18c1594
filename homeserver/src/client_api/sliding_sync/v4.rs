//! The body of a request as the proposal has it.

use std::collections::BTreeMap;

use hs_sync::sliding::{Filters, List, RoomConfig, StatePattern, StateRule};
use ruma::OwnedRoomId;
use serde::{
    Deserialize, Deserializer,
    de::{DeserializeOwned, Error as _},
};
use serde_json::{Map, Value};

use super::{ExtensionsBody, can_match, timeline_limit};

#[derive(Debug, Deserialize)]
pub(in crate::client_api) struct Body {
    pub(super) conn_id: Option<String>,
    pub(super) pos: Option<String>,
    pub(super) timeout: Option<u64>,
    pub(super) set_presence: Option<String>,
    #[serde(default)]
    pub(super) lists: BTreeMap<String, ListBody>,
    #[serde(default)]
    pub(super) room_subscriptions: BTreeMap<OwnedRoomId, RoomBody>,
    #[serde(default)]
    pub(super) extensions: ExtensionsBody,
}

#[derive(Debug, Deserialize)]
pub(super) struct ListBody {
    range: Option<(u64, u64)>,
    #[serde(flatten)]
    room: RoomBody,
    filters: Option<FiltersBody>,
}

#[derive(Debug, Deserialize)]
pub(super) struct RoomBody {
    timeline_limit: u64,
    #[serde(deserialize_with = "object")]
    required_state: RequiredStateBody,
}

/// Reads an object as what it says. By itself, serde would take an array for a struct as well.
fn object<'de, D: Deserializer<'de>, T: DeserializeOwned>(deserializer: D) -> Result<T, D::Error> {
    let object = Map::<String, Value>::deserialize(deserializer)?;
    T::deserialize(Value::Object(object)).map_err(D::Error::custom)
}

#[derive(Debug, Deserialize)]
struct RequiredStateBody {
    #[serde(default)]
    include: Vec<ElementBody>,
    #[serde(default)]
    exclude: Vec<ElementBody>,
    #[serde(default)]
    lazy_members: bool,
}

#[derive(Debug, Deserialize)]
struct ElementBody {
    r#type: Option<String>,
    state_key: Option<String>,
}

#[derive(Debug, Deserialize)]
struct FiltersBody {
    is_dm: Option<bool>,
    spaces: Option<Vec<OwnedRoomId>>,
    is_encrypted: Option<bool>,
    is_invited: Option<bool>,
    room_types: Option<Vec<Option<String>>>,
    not_room_types: Option<Vec<Option<String>>>,
    tags: Option<Vec<String>>,
    not_tags: Option<Vec<String>>,
}

impl ListBody {
    pub(super) fn read(self) -> List {
        let filters = self.filters.map(|filters| Filters {
            is_dm: filters.is_dm,
            spaces: filters.spaces,
            is_encrypted: filters.is_encrypted,
            is_invited: filters.is_invited,
            room_types: filters.room_types,
            not_room_types: filters.not_room_types,
            tags: filters.tags,
            not_tags: filters.not_tags,
        });
        List {
            ranges: self.range.map(|range| vec![range]),
            filters: filters.unwrap_or_default(),
            config: self.room.read(),
        }
    }
}

impl RoomBody {
    pub(super) fn read(self) -> RoomConfig {
        let patterns = |elements: Vec<ElementBody>| {
            elements
                .into_iter()
                .map(|element| StatePattern { event_type: element.r#type, state_key: element.state_key })
                .filter(can_match)
                .collect()
        };
        let required = self.required_state;
        RoomConfig {
            timeline_limit: timeline_limit(self.timeline_limit),
            required_state: StateRule {
                include: patterns(required.include),
                exclude: patterns(required.exclude),
                lazy_members: required.lazy_members,
            },
        }
    }
}
