//! What a user's push rules are.
//!
//! <https://spec.matrix.org/v1.19/client-server-api/#push-rules>

use ruma::{
    OwnedRoomId, OwnedUserId, UserId,
    push::{
        Action, InsertPushRuleError, NewConditionalPushRule, NewPatternedPushRule, NewPushRule,
        NewSimplePushRule, RemovePushRuleError, Ruleset,
    },
};
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value, json};

use crate::{NewRule, Place};

/// The type of the account data that holds a user's rules.
pub const RULES_TYPE: &str = "m.push_rules";

/// The kinds that every list of rules has, the most important first. That of [`RuleKind::PostContent`] stands there only
/// for those who have rules of it.
pub(crate) const KINDS: [RuleKind; 5] =
    [RuleKind::Override, RuleKind::Content, RuleKind::Room, RuleKind::Sender, RuleKind::Underride];

/// A kind of rules.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum RuleKind {
    /// Before all others.
    Override,
    /// By words in the body.
    Content,
    /// After the words: the predefined rules about subscriptions to threads, and no others.
    ///
    /// <https://github.com/matrix-org/matrix-spec-proposals/pull/4306>
    PostContent,
    /// By room.
    Room,
    /// By sender.
    Sender,
    /// After all others.
    Underride,
}

impl RuleKind {
    /// Reads the word used in paths and rulesets.
    pub fn parse(word: &str) -> Option<Self> {
        if [Self::PostContent.as_str(), "io.element.msc4306.postcontent"].contains(&word) {
            return Some(Self::PostContent);
        }
        KINDS.into_iter().find(|kind| kind.as_str() == word)
    }

    /// The word used in paths and rulesets.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Override => "override",
            Self::Content => "content",
            Self::PostContent => "postcontent",
            Self::Room => "room",
            Self::Sender => "sender",
            Self::Underride => "underride",
        }
    }

    fn ruma(self) -> ruma::push::RuleKind {
        match self {
            Self::Override => ruma::push::RuleKind::Override,
            Self::Content => ruma::push::RuleKind::Content,
            Self::PostContent => ruma::push::RuleKind::PostContent,
            Self::Room => ruma::push::RuleKind::Room,
            Self::Sender => ruma::push::RuleKind::Sender,
            Self::Underride => ruma::push::RuleKind::Underride,
        }
    }
}

/// Why rules cannot be changed like this.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum RuleChangeError {
    /// There is no such rule.
    #[error("There is no such push rule")]
    NotFound,
    /// The rule that another is to stand beside does not exist.
    #[error("The rule named by before or after does not exist")]
    UnknownNeighbour,
    /// `before` stands above `after`.
    #[error("The rule named by before stands before the one named by after")]
    CrossedNeighbours,
    /// The id is kept for predefined rules, or not usable.
    #[error("{0}")]
    InvalidId(&'static str),
    /// A content rule needs a pattern.
    #[error("A rule of the kind content needs a pattern")]
    MissingPattern,
    /// The kind has predefined rules only.
    #[error("Rules of this kind cannot be added")]
    ClosedKind,
    /// Predefined rules cannot be removed.
    #[error("Predefined rules can be disabled, but not removed")]
    Predefined,
}

/// The content of the account data.
#[derive(Debug, Deserialize)]
struct Stored {
    global: Ruleset,
}

/// The rules of a user who has not changed them. Those about subscriptions to threads are not among them: they silence
/// threads that a user takes no part in, which only clients that subscribe to threads can expect.
pub(crate) fn predefined(user_id: &UserId) -> Ruleset {
    let mut rules = Ruleset::server_default(user_id);
    rules.postcontent.clear();
    rules
}

/// Adds the predefined rules about subscriptions to threads, unless they are there.
pub(crate) fn add_thread_rules(rules: &mut Ruleset, user_id: &UserId) {
    if rules.postcontent.is_empty() {
        rules.postcontent = Ruleset::server_default(user_id).postcontent;
    }
}

/// A user's rules, from what is stored for the user.
pub fn ruleset(user_id: &UserId, stored: Option<&str>) -> Ruleset {
    let predefined = predefined(user_id);
    let Some(stored) = stored else { return predefined };
    match serde_json::from_str::<Stored>(stored) {
        Ok(Stored { global: mut rules }) => {
            let of_threads = std::mem::take(&mut rules.postcontent);
            rules.update_with_server_default(predefined);
            rules.postcontent = of_threads;
            rules
        }
        Err(error) => {
            tracing::error!(%user_id, %error, "the push rules of a user cannot be read: using the predefined ones");
            predefined
        }
    }
}

/// Rules as clients see them: every kind is there, if only as an empty list.
pub(crate) fn to_json(rules: &Ruleset) -> Map<String, Value> {
    let mut json = match serde_json::to_value(rules) {
        Ok(Value::Object(json)) => json,
        _ => Map::new(),
    };
    for kind in KINDS {
        json.entry(kind.as_str()).or_insert_with(|| json!([]));
    }
    json
}

/// The content of the account data that clients get, from what is stored for the user.
pub fn client_content(user_id: &UserId, stored: Option<&str>) -> String {
    content(&ruleset(user_id, stored))
}

pub(crate) fn content(rules: &Ruleset) -> String {
    #[derive(Serialize)]
    struct Content {
        global: Map<String, Value>,
    }
    serde_json::to_string(&Content { global: to_json(rules) }).expect("maps of values can be written as JSON")
}

/// Adds a rule of the user's, or replaces it. A replaced rule stays where it is unless a place is named, and stays
/// disabled if it was.
pub(crate) fn insert(
    rules: &mut Ruleset,
    kind: RuleKind,
    rule_id: &str,
    rule: NewRule,
    place: &Place,
) -> Result<(), RuleChangeError> {
    let new = new_rule(kind, rule_id, rule)?;
    // A rule cannot stand beside itself: it stays where it is.
    let neighbour = |id: &Option<String>| id.clone().filter(|id| id != rule_id);
    let (after, before) = (neighbour(&place.after), neighbour(&place.before));
    let mut was_disabled = false;
    if after.is_some() || before.is_some() {
        // Moving is taking away and putting in: ruma's way to move in place goes beyond the end of the list.
        was_disabled = rules.get(kind.ruma(), rule_id).is_some_and(|rule| !rule.enabled());
        let _ = rules.remove(kind.ruma(), rule_id);
    }
    rules.insert(new, after.as_deref(), before.as_deref()).map_err(|error| match error {
        InsertPushRuleError::ServerDefaultRuleId => {
            RuleChangeError::InvalidId("Ids that start with a dot are kept for predefined rules")
        }
        InsertPushRuleError::RelativeToServerDefaultRule | InsertPushRuleError::UnknownRuleId => {
            RuleChangeError::UnknownNeighbour
        }
        InsertPushRuleError::BeforeHigherThanAfter => RuleChangeError::CrossedNeighbours,
        _ => RuleChangeError::InvalidId("Ids must not hold slashes or backslashes"),
    })?;
    if was_disabled {
        let _ = rules.set_enabled(kind.ruma(), rule_id, false);
    }
    Ok(())
}

fn new_rule(kind: RuleKind, rule_id: &str, rule: NewRule) -> Result<NewPushRule, RuleChangeError> {
    let NewRule { actions, conditions, pattern } = rule;
    let id = rule_id.to_owned();
    Ok(match kind {
        RuleKind::Override => NewPushRule::Override(NewConditionalPushRule::new(id, conditions, actions)),
        RuleKind::Underride => NewPushRule::Underride(NewConditionalPushRule::new(id, conditions, actions)),
        RuleKind::Content => {
            let pattern = pattern.ok_or(RuleChangeError::MissingPattern)?;
            NewPushRule::Content(NewPatternedPushRule::new(id, pattern, actions))
        }
        RuleKind::PostContent => return Err(RuleChangeError::ClosedKind),
        RuleKind::Room => {
            let id = OwnedRoomId::try_from(id)
                .map_err(|_| RuleChangeError::InvalidId("The id of a room rule is the id of a room"))?;
            NewPushRule::Room(NewSimplePushRule::new(id, actions))
        }
        RuleKind::Sender => {
            let id = OwnedUserId::try_from(id)
                .map_err(|_| RuleChangeError::InvalidId("The id of a sender rule is the id of a user"))?;
            NewPushRule::Sender(NewSimplePushRule::new(id, actions))
        }
    })
}

pub(crate) fn remove(rules: &mut Ruleset, kind: RuleKind, rule_id: &str) -> Result<(), RuleChangeError> {
    rules.remove(kind.ruma(), rule_id).map_err(|error| match error {
        RemovePushRuleError::ServerDefault => RuleChangeError::Predefined,
        _ => RuleChangeError::NotFound,
    })
}

pub(crate) fn set_enabled(
    rules: &mut Ruleset,
    kind: RuleKind,
    rule_id: &str,
    is_enabled: bool,
) -> Result<(), RuleChangeError> {
    rules.set_enabled(kind.ruma(), rule_id, is_enabled).map_err(|_| RuleChangeError::NotFound)
}

pub(crate) fn set_actions(
    rules: &mut Ruleset,
    kind: RuleKind,
    rule_id: &str,
    actions: Vec<Action>,
) -> Result<(), RuleChangeError> {
    rules.set_actions(kind.ruma(), rule_id, actions).map_err(|_| RuleChangeError::NotFound)
}

#[cfg(test)]
mod tests;
