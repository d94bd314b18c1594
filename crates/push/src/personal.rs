//! The rules of users, in memory, in the forms that evaluation needs.

use std::{
    collections::HashMap,
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
};

use hs_model::ids::UserNid;
use hs_storage::{StorageError, Store};
use moka::sync::Cache;
use ruma::{
    OwnedUserId, RoomId, UserId, owned_user_id,
    push::{Action, PushCondition, Ruleset},
};

use crate::{RULES_TYPE, ruleset, ruleset::ruleset as read};

/// How many users' rules are kept in memory.
const MAX_USERS: u64 = 20_000;

/// Stands for whoever has a set of rules that several users share. Nobody has this name.
pub(crate) fn anybody() -> OwnedUserId {
    owned_user_id!("@:anybody.invalid")
}

/// The rules of one user who has changed them.
#[derive(Debug)]
pub(crate) struct PersonalRules {
    pub(crate) user_id: OwnedUserId,
    pub(crate) rules: Ruleset,
    /// Whether they say what the predefined ones say.
    pub(crate) is_default: bool,
    /// The user's display name, for rules that look for it.
    pub(crate) display_name: String,
    looks_for_name: bool,
}

impl PersonalRules {
    fn new(user_id: OwnedUserId, stored: &str, display_name: Option<&str>) -> Self {
        let rules = read(&user_id, Some(stored));
        let is_default = ruleset::content(&rules) == ruleset::content(&ruleset::predefined(&user_id));
        let conditions = rules.override_.iter().chain(&rules.underride).flat_map(|rule| &rule.conditions);
        let looks_for_name =
            conditions.into_iter().any(|condition| condition.kind() == "contains_display_name");
        let display_name = display_name.and_then(|name| serde_json::from_str(name).ok());
        let display_name = display_name.unwrap_or_else(|| user_id.localpart().to_owned());
        Self { user_id, rules, is_default, display_name, looks_for_name }
    }

    /// Whether events of a room do not notify the user unless a rule says so.
    pub(crate) fn is_quiet_in(&self, room_id: &RoomId) -> bool {
        is_quiet(&self.rules, room_id)
    }

    /// What of the rules can apply in a room, with [`anybody`] in place of the user, so that users whose rules come to the
    /// same share them.
    pub(crate) fn shared_in(&self, room_id: &RoomId) -> Ruleset {
        let mut rules = self.rules.clone();
        rules.room.retain(|rule| rule.enabled && rule.rule_id == room_id);
        rules.sender.retain(|rule| rule.enabled);
        rules.content.retain(|rule| rule.enabled);
        rules.postcontent.retain(|rule| rule.enabled);
        let is_of_room = |conditions: &[PushCondition]| {
            conditions.iter().all(|condition| names_room(condition).is_none_or(|id| id == room_id.as_str()))
        };
        rules.override_.retain(|rule| rule.enabled && is_of_room(&rule.conditions));
        rules.underride.retain(|rule| rule.enabled && is_of_room(&rule.conditions));
        if self.looks_for_name {
            return rules;
        }
        let json = serde_json::to_string(&rules).unwrap_or_default();
        let quoted = |id: &UserId| serde_json::to_string(id.as_str()).unwrap_or_default();
        serde_json::from_str(&json.replace(&quoted(&self.user_id), &quoted(&anybody()))).unwrap_or(rules)
    }

    /// What users who share rules have in common; rules that look for the user's own name are shared with nobody.
    pub(crate) fn sharing_key(&self, user: UserNid, shared: &Ruleset) -> String {
        let owner = if self.looks_for_name { user.0.to_string() } else { String::new() };
        owner + &serde_json::to_string(shared).unwrap_or_default()
    }
}

/// The room that a condition names, if it is about nothing else.
fn names_room(condition: &PushCondition) -> Option<&str> {
    match condition {
        PushCondition::EventMatch(data) if data.key == "room_id" && !data.pattern.contains(['*', '?']) => {
            Some(&data.pattern)
        }
        _ => None,
    }
}

/// Whether rules say of a room, without looking at the event, that it does not notify. Events for which an earlier rule
/// says otherwise notify all the same.
pub(crate) fn is_quiet(rules: &Ruleset, room_id: &RoomId) -> bool {
    let notifies = |actions: &[Action]| actions.iter().any(Action::should_notify);
    for rule in rules.override_.iter().filter(|rule| rule.enabled) {
        let mut conditions = rule.conditions.iter();
        if conditions.all(|condition| names_room(condition) == Some(room_id.as_str())) {
            return !notifies(&rule.actions);
        }
    }
    let room = rules.room.iter().find(|rule| rule.enabled && rule.rule_id == room_id);
    room.is_some_and(|rule| !notifies(&rule.actions))
}

/// The rules in memory. Users without an entry in the answers have the predefined ones.
#[derive(Debug)]
pub(crate) struct RulesCache {
    users: Cache<UserNid, Option<Arc<PersonalRules>>>,
    /// Counts changes. What was read before one may be stale after it.
    epoch: AtomicU64,
}

impl RulesCache {
    pub(crate) fn new() -> Self {
        Self { users: Cache::new(MAX_USERS), epoch: AtomicU64::new(0) }
    }

    pub(crate) fn epoch(&self) -> u64 {
        self.epoch.load(Ordering::SeqCst)
    }

    /// Makes what was read before now unfit to be kept.
    pub(crate) fn bump(&self) {
        self.epoch.fetch_add(1, Ordering::SeqCst);
    }

    /// Whether a user has rules, in memory, that look for their name.
    pub(crate) fn looks_for_name(&self, user: UserNid) -> bool {
        self.users.get(&user).flatten().is_some_and(|rules| rules.looks_for_name)
    }

    /// A user has changed their rules.
    pub(crate) fn forget(&self, user: UserNid) {
        self.bump();
        self.users.invalidate(&user);
    }

    /// The rules of those of the users who have changed them.
    pub(crate) async fn find(
        &self,
        store: &Store,
        users: &[UserNid],
    ) -> Result<HashMap<UserNid, Arc<PersonalRules>>, StorageError> {
        let mut found = HashMap::new();
        let mut unknown = Vec::new();
        for user in users {
            match self.users.get(user) {
                Some(Some(rules)) => {
                    found.insert(*user, rules);
                }
                Some(None) => {}
                None => unknown.push(*user),
            }
        }
        if unknown.is_empty() {
            return Ok(found);
        }
        let epoch = self.epoch();
        let stored = store.reader().await?.list_push_rules(&unknown, RULES_TYPE).await?;
        let owners: Vec<UserNid> = stored.iter().map(|row| row.user).collect();
        let ids = store.user_ids(&owners).await?;
        let mut read: HashMap<UserNid, Arc<PersonalRules>> = HashMap::new();
        for row in stored {
            let Some(user_id) = ids.get(&row.user).cloned() else { continue };
            let rules = PersonalRules::new(user_id, &row.content, row.display_name.as_deref());
            read.insert(row.user, Arc::new(rules));
        }
        if self.epoch() == epoch {
            for user in &unknown {
                self.users.insert(*user, read.get(user).cloned());
            }
        }
        found.extend(read);
        Ok(found)
    }
}

#[cfg(test)]
mod tests {
    use ruma::{room_id, user_id};

    use super::*;
    use crate::{NewRule, Place, RuleKind};

    fn personal(user_id: &UserId, change: impl FnOnce(&mut Ruleset)) -> PersonalRules {
        let mut rules = ruleset::predefined(user_id);
        change(&mut rules);
        PersonalRules::new(user_id.to_owned(), &ruleset::content(&rules), None)
    }

    fn mute(rules: &mut Ruleset, room: &str) {
        let rule = NewRule { actions: Vec::new(), conditions: Vec::new(), pattern: None };
        ruleset::insert(rules, RuleKind::Room, room, rule, &Place::default()).unwrap();
    }

    #[test]
    fn users_who_muted_a_room_share_their_rules_in_it() {
        let (cats, dogs) = (room_id!("!cats:example.org"), room_id!("!dogs:example.org"));
        let alice = personal(user_id!("@alice:example.org"), |rules| mute(rules, cats.as_str()));
        let bob = personal(user_id!("@bob:example.org"), |rules| {
            mute(rules, cats.as_str());
            mute(rules, dogs.as_str());
        });
        let key = |rules: &PersonalRules, room| rules.sharing_key(UserNid(1), &rules.shared_in(room));

        assert_eq!(key(&alice, cats), key(&bob, cats));
        assert_ne!(key(&alice, dogs), key(&bob, dogs));
        assert!(alice.is_quiet_in(cats) && !alice.is_quiet_in(dogs));
    }

    #[test]
    fn master_rule_makes_every_room_quiet() {
        let alice = personal(user_id!("@alice:example.org"), |rules| {
            ruleset::set_enabled(rules, RuleKind::Override, ".m.rule.master", true).unwrap();
        });
        assert!(alice.is_quiet_in(room_id!("!cats:example.org")));
    }

    #[test]
    fn unchanged_rules_are_known_as_such() {
        let alice = personal(user_id!("@alice:example.org"), |_| {});
        assert!(alice.is_default);
        assert!(!alice.is_quiet_in(room_id!("!cats:example.org")));
    }
}
