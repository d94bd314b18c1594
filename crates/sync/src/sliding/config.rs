//! What a client wants to know of a room: how many events, and which state.

use std::{collections::BTreeSet, sync::Arc};

use serde::{Deserialize, Serialize};

pub(super) const MEMBER: &str = "m.room.member";

/// Which state events a pattern stands for. What is absent matches everything.
#[derive(Clone, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub struct StatePattern {
    /// The type.
    #[serde(rename = "t", default, skip_serializing_if = "Option::is_none")]
    pub event_type: Option<String>,
    /// The state key.
    #[serde(rename = "k", default, skip_serializing_if = "Option::is_none")]
    pub state_key: Option<String>,
}

impl StatePattern {
    fn matches(&self, event_type: &str, state_key: &str) -> bool {
        self.event_type.as_deref().is_none_or(|wanted| wanted == event_type)
            && self.state_key.as_deref().is_none_or(|wanted| wanted == state_key)
    }
}

/// The state that one list or subscription asks for.
#[derive(Clone, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub struct StateRule {
    /// What is wanted.
    #[serde(rename = "i", default, skip_serializing_if = "BTreeSet::is_empty")]
    pub include: BTreeSet<StatePattern>,
    /// What of that is not.
    #[serde(rename = "e", default, skip_serializing_if = "BTreeSet::is_empty")]
    pub exclude: BTreeSet<StatePattern>,
    /// Whether members are sent when they are needed to show the timeline.
    #[serde(rename = "l", default, skip_serializing_if = "std::ops::Not::not")]
    pub lazy_members: bool,
}

impl StateRule {
    fn matches(&self, event_type: &str, state_key: &str) -> bool {
        // "Everything" does not mean the members when these are loaded lazily.
        let spares_members = self.lazy_members && event_type == MEMBER;
        let is_included = self.include.iter().any(|pattern| {
            pattern.matches(event_type, state_key)
                && !(spares_members && pattern.event_type.is_none() && pattern.state_key.is_none())
        });
        is_included && !self.exclude.iter().any(|pattern| pattern.matches(event_type, state_key))
    }
}

/// The state that all lists and subscriptions of a room ask for together.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(transparent)]
pub(crate) struct RequiredState(Vec<StateRule>);

impl RequiredState {
    pub(super) fn union(rules: impl IntoIterator<Item = StateRule>) -> Self {
        let mut rules: Vec<StateRule> = rules.into_iter().collect();
        rules.sort();
        rules.dedup();
        Self(rules)
    }

    /// Whether an event that fills this slot is wanted for itself.
    pub(super) fn matches(&self, event_type: &str, state_key: &str) -> bool {
        self.0.iter().any(|rule| rule.matches(event_type, state_key))
    }

    /// Whether members are wanted that the timeline needs.
    pub(super) fn is_lazy(&self) -> bool {
        self.0.iter().any(|rule| rule.lazy_members)
    }

    /// The slots that are wanted by name, and the types (`None` for all) of which more may be.
    pub(super) fn places(&self) -> Places<'_> {
        let mut places = Places::default();
        for pattern in self.0.iter().flat_map(|rule| &rule.include) {
            match (&pattern.event_type, &pattern.state_key) {
                (Some(event_type), Some(state_key)) => {
                    places.slots.insert((event_type, state_key));
                }
                (Some(event_type), None) => {
                    places.types.insert(event_type);
                }
                (None, _) => places.all_types = true,
            }
        }
        places
    }
}

/// Where wanted state may be found.
#[derive(Debug, Default)]
pub(super) struct Places<'a> {
    pub(super) slots: BTreeSet<(&'a str, &'a str)>,
    pub(super) types: BTreeSet<&'a str>,
    pub(super) all_types: bool,
}

/// What a list or a subscription wants to know of its rooms.
#[derive(Clone, Debug, Default)]
pub struct RoomConfig {
    /// How many events at most.
    pub timeline_limit: u16,
    /// Which state.
    pub required_state: StateRule,
}

/// What all lists and subscriptions of a room want together.
#[derive(Clone, Debug)]
pub(super) struct Wanted {
    pub(super) timeline_limit: u16,
    pub(super) required_state: Arc<RequiredState>,
}

impl Wanted {
    pub(super) fn union<'a>(configs: impl IntoIterator<Item = &'a RoomConfig>) -> Self {
        let mut limit = 0;
        let rules: Vec<StateRule> = configs
            .into_iter()
            .map(|config| {
                limit = limit.max(config.timeline_limit);
                config.required_state.clone()
            })
            .collect();
        Self { timeline_limit: limit, required_state: Arc::new(RequiredState::union(rules)) }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn pattern(event_type: Option<&str>, state_key: Option<&str>) -> StatePattern {
        StatePattern { event_type: event_type.map(str::to_owned), state_key: state_key.map(str::to_owned) }
    }

    fn required(include: &[StatePattern], exclude: &[StatePattern], lazy_members: bool) -> RequiredState {
        RequiredState::union([StateRule {
            include: include.iter().cloned().collect(),
            exclude: exclude.iter().cloned().collect(),
            lazy_members,
        }])
    }

    #[test]
    fn everything_but_lazy_members_is_matched_by_the_empty_pattern() {
        let eager = required(&[pattern(None, None)], &[], false);
        let lazy = required(&[pattern(None, None), pattern(Some(MEMBER), Some("@me:x"))], &[], true);

        assert!(eager.matches(MEMBER, "@a:x") && eager.matches("m.room.topic", ""));
        assert!(lazy.matches("m.room.topic", "") && lazy.matches(MEMBER, "@me:x"));
        assert!(!lazy.matches(MEMBER, "@a:x"));
    }

    #[test]
    fn excluded_state_is_left_out_of_its_own_rule_only() {
        let rule = |include, exclude| StateRule {
            include: BTreeSet::from([include]),
            exclude: BTreeSet::from([exclude]),
            lazy_members: false,
        };
        let create = pattern(Some("m.room.create"), Some(""));
        let narrow = RequiredState::union([rule(pattern(None, None), create.clone())]);
        let wide = RequiredState::union([
            rule(pattern(None, None), create.clone()),
            rule(create, pattern(Some("x"), None)),
        ]);

        assert!(!narrow.matches("m.room.create", "") && narrow.matches("m.room.name", ""));
        assert!(wide.matches("m.room.create", ""));
    }
}
