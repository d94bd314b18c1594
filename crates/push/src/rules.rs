//! Reading and editing a user's rules.

use hs_model::ids::UserNid;
use hs_storage::StorageError;
use ruma::{
    UserId,
    push::{Action, PushCondition, Ruleset},
};
use serde::Deserialize;
use serde_json::{Map, Value};

use crate::{
    Push, RULES_TYPE, RuleChangeError, RuleKind,
    ruleset::{self, ruleset},
};

/// The most bytes that all rules of a user may have. They are evaluated for each event of the user's rooms.
const MAX_BYTES: usize = 128 * 1024;

/// A rule as a client gives it.
#[derive(Clone, Debug, Deserialize)]
pub struct NewRule {
    /// What to do.
    pub actions: Vec<Action>,
    /// When, for the kinds override and underride.
    #[serde(default)]
    pub conditions: Vec<PushCondition>,
    /// The words to look for, for the kind content.
    #[serde(default)]
    pub pattern: Option<String>,
}

/// Where a rule is to stand among those of its kind.
#[derive(Clone, Debug, Default, Deserialize)]
pub struct Place {
    /// Next after this one.
    pub after: Option<String>,
    /// Next before this one.
    pub before: Option<String>,
}

/// Why rules were not changed.
#[derive(Debug, thiserror::Error)]
pub enum EditRulesError {
    /// They cannot be changed like this.
    #[error(transparent)]
    Refused(#[from] RuleChangeError),
    /// All rules together are too large.
    #[error("There are too many push rules")]
    TooLarge,
    /// The database failed.
    #[error(transparent)]
    Storage(#[from] StorageError),
}

impl Push {
    /// A user's rules, by kind.
    pub async fn list_rules(
        &self,
        user: UserNid,
        user_id: &UserId,
    ) -> Result<Map<String, Value>, StorageError> {
        let stored = self.inner.store.reader().await?.find_account_data(user, None, RULES_TYPE).await?;
        Ok(ruleset::to_json(&ruleset(user_id, stored.as_deref())))
    }

    /// One rule of a user.
    pub async fn find_rule(
        &self,
        user: UserNid,
        user_id: &UserId,
        kind: RuleKind,
        rule_id: &str,
    ) -> Result<Option<Value>, StorageError> {
        let mut rules = self.list_rules(user, user_id).await?;
        let Some(Value::Array(rules)) = rules.remove(kind.as_str()) else { return Ok(None) };
        Ok(rules.into_iter().find(|rule| rule["rule_id"] == rule_id))
    }

    /// Adds or replaces a rule.
    pub async fn put_rule(
        &self,
        user: UserNid,
        user_id: &UserId,
        (kind, rule_id): (RuleKind, &str),
        rule: NewRule,
        place: &Place,
    ) -> Result<(), EditRulesError> {
        self.edit_rules(user, user_id, |rules| ruleset::insert(rules, kind, rule_id, rule, place)).await
    }

    /// Removes a rule.
    pub async fn delete_rule(
        &self,
        user: UserNid,
        user_id: &UserId,
        kind: RuleKind,
        rule_id: &str,
    ) -> Result<(), EditRulesError> {
        self.edit_rules(user, user_id, |rules| ruleset::remove(rules, kind, rule_id)).await
    }

    /// Switches a rule on or off.
    pub async fn set_rule_enabled(
        &self,
        user: UserNid,
        user_id: &UserId,
        (kind, rule_id): (RuleKind, &str),
        is_enabled: bool,
    ) -> Result<(), EditRulesError> {
        self.edit_rules(user, user_id, |rules| ruleset::set_enabled(rules, kind, rule_id, is_enabled)).await
    }

    /// Sets what a rule does.
    pub async fn set_rule_actions(
        &self,
        user: UserNid,
        user_id: &UserId,
        (kind, rule_id): (RuleKind, &str),
        actions: Vec<Action>,
    ) -> Result<(), EditRulesError> {
        self.edit_rules(user, user_id, |rules| ruleset::set_actions(rules, kind, rule_id, actions)).await
    }

    /// Gives a user the predefined rules about subscriptions to threads: they come with the first subscription.
    ///
    /// <https://github.com/matrix-org/matrix-spec-proposals/pull/4306>
    pub async fn add_thread_rules(&self, user: UserNid, user_id: &UserId) -> Result<(), EditRulesError> {
        let known = self.inner.rules.find(&self.inner.store, &[user]).await?;
        if known.get(&user).is_some_and(|own| !own.rules.postcontent.is_empty()) {
            return Ok(());
        }
        self.edit_rules(user, user_id, |rules| {
            ruleset::add_thread_rules(rules, user_id);
            Ok(())
        })
        .await
    }

    async fn edit_rules(
        &self,
        user: UserNid,
        user_id: &UserId,
        edit: impl FnOnce(&mut Ruleset) -> Result<(), RuleChangeError> + Send,
    ) -> Result<(), EditRulesError> {
        let mut txn = self.inner.store.begin().await?;
        // Two devices may edit at the same time.
        txn.lock_account(user).await?;
        let stored = txn.find_account_data(user, None, RULES_TYPE).await?;
        let mut rules = ruleset(user_id, stored.as_deref());
        edit(&mut rules)?;
        let content = ruleset::content(&rules);
        if content.len() > MAX_BYTES {
            return Err(EditRulesError::TooLarge);
        }
        txn.upsert_push_rules(user, RULES_TYPE, &content).await?;
        Ok(txn.commit().await?)
    }
}
