//! Whom an event notifies.
//!
//! The predefined rules are evaluated once for everybody. Those with rules of their own are grouped by what these come to
//! in the room, and each group is evaluated once. Only users whom the event names are looked at one by one: nothing
//! here grows with the number of members.

use std::{
    collections::{BTreeMap, HashMap, HashSet},
    sync::{Arc, OnceLock},
};

use hs_model::{
    ids::{RoomNid, UserNid},
    notices::{Attention, IndividualNotice, Notice},
    records::{EventRecord, Outcome},
};
use hs_storage::{
    StorageError,
    append::{NewEvent, Relation},
    notices::{Noticed, Notifier, Occasion},
};
use ruma::{
    Int, OwnedEventId, OwnedUserId, UInt, UserId,
    events::AnySyncTimelineEvent,
    power_levels::NotificationPowerLevels,
    push::{FlattenedJson, PushConditionPowerLevelsCtx, PushConditionRoomCtx, Ruleset},
    serde::Raw,
};
use serde::Deserialize;
use serde_json::value::RawValue;

use crate::{Push, attention::Verdict, audience::Class, personal::anybody, ruleset::predefined};

/// How many of the users whom an event mentions are looked at.
const MAX_MENTIONS: usize = 500;
/// The power levels that stand for "may notify the room" and "may not".
const LEVELS: [i32; 2] = [0, 100];

impl Notifier for Push {
    fn notice<'a>(&'a self, occasion: Occasion<'a>) -> Noticed<'a> {
        Box::pin(self.notice_all(occasion))
    }
}

/// What is asked of an event's content beside the rules.
#[derive(Debug, Default, Deserialize)]
struct Content {
    #[serde(rename = "m.mentions", default)]
    mentions: Option<serde_json::Value>,
    #[serde(default)]
    membership: Option<serde_json::Value>,
}

#[derive(Debug, Deserialize)]
struct Event {
    #[serde(default)]
    content: Content,
}

impl Push {
    async fn notice_all(&self, mut occasion: Occasion<'_>) -> Result<(), StorageError> {
        let events = std::mem::take(&mut occasion.events);
        for event in events.iter_mut().filter(|event| event.record.outcome == Outcome::Accepted) {
            event.record.notice = self.notice_one(&occasion, event).await?.map(Arc::new);
        }
        Ok(())
    }

    async fn notice_one(
        &self,
        occasion: &Occasion<'_>,
        event: &NewEvent,
    ) -> Result<Option<Notice>, StorageError> {
        let record = &event.record;
        let scene = Scene::new(occasion, record);
        let everyone = scene.judge(&self.inner.predefined, &anybody(), "", false).await.attention;
        let mut individuals: BTreeMap<UserNid, IndividualNotice> = BTreeMap::new();
        let mut note = |user: UserNid, verdict: Verdict, base: Attention| {
            let Verdict { attention, tweaks } = verdict;
            if user != record.sender_nid && (attention != base || tweaks.is_some()) {
                individuals.insert(user, IndividualNotice { user, attention, tweaks });
            } else {
                individuals.remove(&user);
            }
        };
        let store = &self.inner.store;
        let classes = self.inner.audiences.classes(store, &self.inner.rules, occasion).await?;
        let subscribers = self.subscribers(occasion.room, event.relation.as_ref(), &classes).await?;
        for class in classes.iter() {
            let base = if class.is_quiet { Attention::NONE } else { everyone };
            let present = class.users.iter().filter(|user| (occasion.is_joined)(**user));
            let (subscribed, others): (Vec<UserNid>, Vec<UserNid>) =
                present.partition(|user| subscribers.contains(user));
            for (users, is_subscribed) in [(others, false), (subscribed, true)] {
                if users.is_empty() {
                    continue;
                }
                let verdict = scene.judge(&class.rules, &anybody(), &class.display_name, is_subscribed).await;
                for user in users {
                    note(user, verdict.clone(), base);
                }
            }
        }
        let named = self.named(occasion, record).await?;
        let users: Vec<UserNid> = named.iter().map(|(user, _)| *user).collect();
        let personal =
            if users.is_empty() { HashMap::new() } else { self.inner.rules.find(store, &users).await? };
        for (user, user_id) in &named {
            if let Some(own) = personal.get(user) {
                let is_subscribed = subscribers.contains(user);
                let verdict = scene.judge(&own.rules, user_id, &own.display_name, is_subscribed).await;
                let is_quiet = own.is_quiet_in(occasion.room_id);
                note(*user, verdict, if is_quiet { Attention::NONE } else { everyone });
            } else {
                let verdict = scene.judge(&predefined(user_id), user_id, "", false).await;
                note(*user, verdict, everyone);
            }
        }
        let mut notice = Notice {
            everyone,
            marks_read: record.state_key.is_none() && self.is_local(&record.sender),
            thread_root: None,
            individuals: Some(individuals.into_values().collect()),
        };
        if notice.is_empty() {
            return Ok(None);
        }
        notice.thread_root = self.thread_root(event.relation.as_ref()).await?;
        Ok(Some(notice))
    }

    /// Local users whom an event names: mentioned ones in the room, and those whose membership it is about.
    async fn named(
        &self,
        occasion: &Occasion<'_>,
        record: &EventRecord,
    ) -> Result<Vec<(UserNid, OwnedUserId)>, StorageError> {
        let is_member_event = &*record.event_type == "m.room.member";
        if !is_member_event && !record.json.contains("m.mentions") {
            return Ok(Vec::new());
        }
        let content =
            serde_json::from_str::<Event>(&record.json).map(|event| event.content).unwrap_or_default();
        let mut named = Vec::new();
        if is_member_event
            && content.membership.is_some_and(|membership| membership == "invite")
            && let Some(target) = record.state_key.as_deref().and_then(|key| <&UserId>::try_from(key).ok())
            && let Some(user) = self.find_local(target).await?
        {
            named.push((user, target.to_owned()));
        }
        let mentions = content.mentions.as_ref().and_then(|mentions| mentions.get("user_ids")?.as_array());
        let mentioned = mentions.into_iter().flatten().filter_map(serde_json::Value::as_str);
        let mentioned =
            mentioned.filter_map(|id| <&UserId>::try_from(id).ok()).filter(|id| self.is_local(id));
        for user_id in mentioned.take(MAX_MENTIONS) {
            if let Some(user) = self.find_local(user_id).await?
                && (occasion.is_joined)(user)
            {
                named.push((user, user_id.to_owned()));
            }
        }
        Ok(named)
    }

    /// Who has subscribed to the thread that an event stands in. Nobody is looked for where no rule asks for it.
    async fn subscribers(
        &self,
        room: RoomNid,
        relation: Option<&Relation>,
        classes: &[Class],
    ) -> Result<HashSet<UserNid>, StorageError> {
        let has_rules = classes.iter().any(|class| !class.rules.postcontent.is_empty());
        match relation.filter(|relation| has_rules && relation.rel_type == "m.thread") {
            Some(thread) => {
                self.inner.store.reader().await?.list_thread_subscribers(room, &thread.parent).await
            }
            None => Ok(HashSet::new()),
        }
    }

    async fn find_local(&self, user_id: &UserId) -> Result<Option<UserNid>, StorageError> {
        if self.is_local(user_id) { self.inner.store.find_user(user_id).await } else { Ok(None) }
    }

    fn is_local(&self, user_id: &UserId) -> bool {
        user_id.server_name() == self.inner.server_name
    }

    /// The thread of an event that relates to another one.
    async fn thread_root(&self, relation: Option<&Relation>) -> Result<Option<OwnedEventId>, StorageError> {
        let Some(relation) = relation else { return Ok(None) };
        if relation.rel_type == "m.thread" {
            return Ok(Some(relation.parent.clone()));
        }
        let target = self.inner.store.reader().await?.find_receipt_target(&relation.parent).await?;
        Ok(target.and_then(|target| target.thread_root))
    }
}

/// An event, in the form that rules are evaluated on.
struct Scene<'a> {
    occasion: &'a Occasion<'a>,
    record: &'a EventRecord,
    event: FlattenedJson,
    power_levels: OnceLock<PushConditionPowerLevelsCtx>,
}

impl<'a> Scene<'a> {
    fn new(occasion: &'a Occasion<'a>, record: &'a EventRecord) -> Self {
        let raw = RawValue::from_string(record.json.to_string()).unwrap_or_default();
        let event = FlattenedJson::from_raw(&Raw::<AnySyncTimelineEvent>::from_json(raw));
        Self { occasion, record, event, power_levels: OnceLock::new() }
    }

    fn power_levels(&self) -> PushConditionPowerLevelsCtx {
        let level = LEVELS[usize::from((self.occasion.may_notify_room)(&self.record.sender))];
        let mut notifications = NotificationPowerLevels::new();
        notifications.room = Int::from(LEVELS[1]);
        let rules = ruma::room_version_rules::RoomPowerLevelsRules::new(
            &ruma::room_version_rules::AuthorizationRules::V1,
            std::iter::empty(),
        );
        PushConditionPowerLevelsCtx::new(BTreeMap::new(), Int::from(level), notifications, rules)
    }

    /// Whether rules may ask if the sender may notify the room: a look at the power levels is not for every message.
    fn asks_permission(&self, rules: &Ruleset) -> bool {
        let own = rules.override_.iter().chain(&rules.underride).filter(|rule| !rule.default);
        let mut conditions = own.flat_map(|rule| &rule.conditions);
        self.record.json.contains(r#""room":true"#)
            || conditions.any(|condition| condition.kind() == "sender_notification_permission")
    }

    /// What a set of rules says of the event to those who have subscribed to its thread, or to those who have not.
    async fn judge(
        &self,
        rules: &Ruleset,
        user_id: &UserId,
        display_name: &str,
        is_subscribed: bool,
    ) -> Verdict {
        let mut context = PushConditionRoomCtx::new(
            self.occasion.room_id.to_owned(),
            UInt::try_from(self.occasion.joined_count).unwrap_or(UInt::MAX),
            user_id.to_owned(),
            display_name.to_owned(),
        )
        .with_has_thread_subscription_fn(move |_| Box::pin(std::future::ready(is_subscribed)));
        if self.asks_permission(rules) {
            context.power_levels = Some(self.power_levels.get_or_init(|| self.power_levels()).clone());
        }
        for rule in rules {
            if rule.applies(&self.event, &context).await {
                return Verdict::of(rule.actions());
            }
        }
        Verdict::default()
    }
}
