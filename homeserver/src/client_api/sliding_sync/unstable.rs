//! The body of a request in the unstable dialect.

use std::collections::BTreeMap;

use hs_sync::sliding::{Filters, List, RoomConfig, StatePattern, StateRule};
use ruma::OwnedRoomId;
use serde::Deserialize;

use super::{ExtensionsBody, can_match, timeline_limit};
use crate::client_api::auth::Session;

#[derive(Debug, Deserialize)]
pub(in crate::client_api) struct Body {
    pub(super) conn_id: Option<String>,
    pub(super) txn_id: Option<String>,
    #[serde(default)]
    pub(super) lists: BTreeMap<String, ListBody>,
    #[serde(default)]
    pub(super) room_subscriptions: BTreeMap<OwnedRoomId, RoomBody>,
    #[serde(default)]
    pub(super) extensions: ExtensionsBody,
}

#[derive(Debug, Deserialize)]
pub(super) struct ListBody {
    ranges: Option<Vec<(u64, u64)>>,
    #[serde(flatten)]
    room: RoomBody,
    filters: Option<FiltersBody>,
}

#[derive(Debug, Deserialize)]
pub(super) struct RoomBody {
    timeline_limit: u64,
    #[serde(default)]
    required_state: Vec<(String, String)>,
}

#[derive(Debug, Deserialize)]
struct FiltersBody {
    is_dm: Option<bool>,
    spaces: Option<Vec<OwnedRoomId>>,
    is_encrypted: Option<bool>,
    is_invite: Option<bool>,
    room_types: Option<Vec<Option<String>>>,
    not_room_types: Option<Vec<Option<String>>>,
    tags: Option<Vec<String>>,
    not_tags: Option<Vec<String>>,
}

impl ListBody {
    pub(super) fn read(self, session: &Session) -> List {
        let filters = self.filters.map(|filters| Filters {
            is_dm: filters.is_dm,
            spaces: filters.spaces,
            is_encrypted: filters.is_encrypted,
            is_invited: filters.is_invite,
            room_types: filters.room_types,
            not_room_types: filters.not_room_types,
            tags: filters.tags,
            not_tags: filters.not_tags,
        });
        List { ranges: self.ranges, filters: filters.unwrap_or_default(), config: self.room.read(session) }
    }
}

impl RoomBody {
    pub(super) fn read(self, session: &Session) -> RoomConfig {
        let mut rule = StateRule::default();
        for (event_type, state_key) in self.required_state {
            let state_key = match state_key.as_str() {
                "$LAZY" => {
                    rule.lazy_members |= event_type == "m.room.member";
                    continue;
                }
                "$ME" => Some(session.user_id.to_string()),
                "*" => None,
                _ => Some(state_key),
            };
            let event_type = (event_type != "*").then_some(event_type);
            rule.include.insert(StatePattern { event_type, state_key });
        }
        rule.include.retain(can_match);
        RoomConfig { timeline_limit: timeline_limit(self.timeline_limit), required_state: rule }
    }
}
