//! Who may do what in a room.
//!
//! [`PowerLevelsContent`] is what an `m.room.power_levels` event says; [`PowerLevels`] is what follows from it,
//! or from its absence, together with the create event.

use ruma::{UserId, room_version_rules::RoomVersionRules};

use crate::{
    canonical_json::{MAX_INTEGER, Number, Object, ParseOptions, Value},
    pdu::{CreateFacts, Pdu},
};

/// A user's power.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Level {
    /// A number.
    Int(i64),
    /// More than any number: the creators of rooms of version 12 and later.
    Infinite,
}

impl Level {
    /// Whether it is enough for something that needs `required`.
    pub fn reaches(self, required: i64) -> bool {
        self >= Self::Int(required)
    }
}

/// What an `m.room.power_levels` event says. A level that it does not mention is `None`.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct PowerLevelsContent {
    /// The level of users who are not listed.
    pub users_default: Option<i64>,
    /// The level needed for message events that are not listed.
    pub events_default: Option<i64>,
    /// The level needed for state events that are not listed.
    pub state_default: Option<i64>,
    /// The level needed to ban.
    pub ban: Option<i64>,
    /// The level needed to kick.
    pub kick: Option<i64>,
    /// The level needed to invite.
    pub invite: Option<i64>,
    /// The level needed to redact events of others.
    pub redact: Option<i64>,
    users: Levels,
    events: Levels,
    notifications: Levels,
    normalised: Option<Box<str>>,
}

/// Levels by name, sorted.
type Levels = Box<[(Box<str>, i64)]>;

fn find(levels: &Levels, name: &str) -> Option<i64> {
    levels.binary_search_by(|(key, _)| key.as_ref().cmp(name)).ok().map(|index| levels[index].1)
}

impl PowerLevelsContent {
    /// Reads the content of an event. Before version 10, levels may be strings; before version 6, floats.
    pub fn parse(content: &str, rules: &RoomVersionRules) -> Result<Self, String> {
        let object =
            Object::parse(content, ParseOptions::federation(rules)).map_err(|error| error.to_string())?;
        let level = |key: &str| match object.get(key) {
            None => Ok(None),
            Some(value) => read_level(value, rules)
                .map(Some)
                .ok_or_else(|| format!("`{key}` of the `m.room.power_levels` event is not an integer")),
        };
        let users = read_levels(&object, "users", rules)?;
        if let Some((user_id, _)) = users.iter().find(|(user_id, _)| <&UserId>::try_from(&**user_id).is_err())
        {
            return Err(format!("`{user_id}` in the `m.room.power_levels` event is not a user id"));
        }
        Ok(Self {
            users_default: level("users_default")?,
            events_default: level("events_default")?,
            state_default: level("state_default")?,
            ban: level("ban")?,
            kick: level("kick")?,
            invite: level("invite")?,
            redact: level("redact")?,
            users,
            events: read_levels(&object, "events", rules)?,
            notifications: read_notifications(&object, rules)?,
            normalised: normalise(&object, rules),
        })
    }

    /// The users that are listed, with their levels.
    pub fn users(&self) -> impl Iterator<Item = (&str, i64)> {
        self.users.iter().map(|(user_id, level)| (&**user_id, *level))
    }

    /// The event types that are listed, with the levels they need.
    pub fn events(&self) -> impl Iterator<Item = (&str, i64)> {
        self.events.iter().map(|(event_type, level)| (&**event_type, *level))
    }

    /// The content with plain integers, where the event has floats or integers out of range instead, and without what the
    /// rules of its room version do not look at.
    pub(crate) fn normalised(&self) -> Option<&str> {
        self.normalised.as_deref()
    }
}

fn read_levels(object: &Object<'_>, key: &str, rules: &RoomVersionRules) -> Result<Levels, String> {
    let Some(levels) = object.get(key) else { return Ok(Levels::default()) };
    let malformed = || format!("`{key}` of the `m.room.power_levels` event is not an object of integers");
    let levels = levels.as_object().ok_or_else(malformed)?;
    let read = |(name, value): (&str, &Value<'_>)| Some((Box::from(name), read_level(value, rules)?));
    levels.iter().map(|entry| read(entry).ok_or_else(malformed)).collect()
}

/// The rules look at `notifications` from version 6 on: before, whatever stands there does not spoil the event.
fn read_notifications(object: &Object<'_>, rules: &RoomVersionRules) -> Result<Levels, String> {
    match read_levels(object, "notifications", rules) {
        Err(_) if !rules.authorization.limit_notifications_power_levels => Ok(Levels::default()),
        read => read,
    }
}

fn read_level(value: &Value<'_>, rules: &RoomVersionRules) -> Option<i64> {
    let is_lenient = !rules.authorization.integer_power_levels;
    match value {
        Value::Number(Number::Int(int)) => Some((*int).clamp(-MAX_INTEGER, MAX_INTEGER)),
        // Floats are cut off at the point; `as` brings what is out of range to the end of the range.
        Value::Number(Number::Text(text)) if is_lenient => {
            let float: f64 = text.parse().ok()?;
            Some((float.trunc() as i64).clamp(-MAX_INTEGER, MAX_INTEGER))
        }
        Value::String(text) if is_lenient => {
            let text = text.trim();
            let digits = text.strip_prefix(['+', '-']).unwrap_or(text);
            let is_integer = !digits.is_empty() && digits.bytes().all(|byte| byte.is_ascii_digit());
            let int: i64 = text.parse().ok()?;
            (is_integer && int.abs() <= MAX_INTEGER).then_some(int)
        }
        _ => None,
    }
}

/// Writes the content with every level as an integer, if some are numbers that are not plain integers, and without
/// `notifications` that cannot be read. Only room versions 1 to 5 have those, and ruma, which checks the rules, does not
/// know them.
fn normalise(object: &Object<'_>, rules: &RoomVersionRules) -> Option<Box<str>> {
    fn normalise_value(value: &mut Value<'_>, rules: &RoomVersionRules) -> bool {
        let Value::Number(number) = value else { return false };
        let is_plain = matches!(number, Number::Int(int) if int.unsigned_abs() <= MAX_INTEGER.unsigned_abs());
        if let (false, Some(level)) = (is_plain, read_level(value, rules)) {
            *value = Value::Number(Number::Int(level));
        }
        !is_plain
    }
    if rules.authorization.strict_canonical_json {
        return None;
    }
    let mut normalised = object.clone();
    let mut is_changed = false;
    if read_levels(object, "notifications", rules).is_err() {
        normalised.remove("notifications");
        is_changed = true;
    }
    normalised.retain(|_, value| {
        if let Value::Object(levels) = value {
            levels.retain(|_, level| {
                is_changed |= normalise_value(level, rules);
                true
            });
        }
        is_changed |= normalise_value(value, rules);
        true
    });
    is_changed.then(|| normalised.to_canonical_string().into_boxed_str())
}

/// Everybody's power at one point of a room, for asking questions. Cheap to make: it borrows from the events.
#[derive(Clone, Copy, Debug)]
pub struct PowerLevels<'a> {
    create: &'a CreateFacts,
    content: Option<&'a PowerLevelsContent>,
    rules: &'static RoomVersionRules,
}

impl<'a> PowerLevels<'a> {
    /// Takes them from the create event and the `m.room.power_levels` event of a state, if there is one.
    pub fn new(create: &'a Pdu, power_levels: Option<&'a Pdu>) -> Result<Self, &'a str> {
        Ok(Self {
            create: create.create_facts()?,
            content: power_levels.map(Pdu::power_levels).transpose()?,
            rules: create.rules(),
        })
    }

    fn level(&self, level: impl FnOnce(&PowerLevelsContent) -> Option<i64>, default: i64) -> i64 {
        self.content.and_then(level).unwrap_or(default)
    }

    /// The level of a user.
    pub fn user(&self, user_id: &UserId) -> Level {
        let is_creator = self.create.is_creator(user_id);
        if is_creator && self.rules.authorization.explicitly_privilege_room_creators {
            return Level::Infinite;
        }
        Level::Int(match self.content {
            Some(content) => {
                find(&content.users, user_id.as_str()).or(content.users_default).unwrap_or_default()
            }
            None if is_creator => 100,
            None => 0,
        })
    }

    /// The level needed to send a message event of this type.
    pub fn for_message(&self, event_type: &str) -> i64 {
        self.level(|content| find(&content.events, event_type).or(content.events_default), 0)
    }

    /// The level needed to send a state event of this type.
    pub fn for_state(&self, event_type: &str) -> i64 {
        self.level(|content| find(&content.events, event_type).or(content.state_default), 50)
    }

    /// The level needed to invite.
    pub fn invite(&self) -> i64 {
        self.level(|content| content.invite, 0)
    }

    /// The level needed to kick.
    pub fn kick(&self) -> i64 {
        self.level(|content| content.kick, 50)
    }

    /// The level needed to ban.
    pub fn ban(&self) -> i64 {
        self.level(|content| content.ban, 50)
    }

    /// The level needed to redact events of others.
    pub fn redact(&self) -> i64 {
        self.level(|content| content.redact, 50)
    }

    /// The level needed for a kind of notification, such as `room` for `@room`.
    pub fn notification(&self, kind: &str) -> i64 {
        self.level(|content| find(&content.notifications, kind), 50)
    }

    /// Whether the user has the level for a message event of this type.
    pub fn can_send_message(&self, user_id: &UserId, event_type: &str) -> bool {
        self.user(user_id).reaches(self.for_message(event_type))
    }

    /// Whether the user has the level for a state event of this type.
    pub fn can_send_state(&self, user_id: &UserId, event_type: &str) -> bool {
        self.user(user_id).reaches(self.for_state(event_type))
    }

    /// Whether the user has the level to invite.
    pub fn can_invite(&self, user_id: &UserId) -> bool {
        self.user(user_id).reaches(self.invite())
    }

    /// Whether the user has the levels to kick `target`.
    pub fn can_kick(&self, user_id: &UserId, target: &UserId) -> bool {
        self.user(user_id).reaches(self.kick()) && self.user(user_id) > self.user(target)
    }

    /// Whether the user has the levels to ban `target`.
    pub fn can_ban(&self, user_id: &UserId, target: &UserId) -> bool {
        self.user(user_id).reaches(self.ban()) && self.user(user_id) > self.user(target)
    }

    /// Whether the user has the levels to unban `target`: those of kicking and of banning.
    pub fn can_unban(&self, user_id: &UserId, target: &UserId) -> bool {
        self.can_kick(user_id, target) && self.can_ban(user_id, target)
    }

    /// Whether a redaction takes effect that is allowed as an event (version 3 on): the redaction's sender has
    /// the level, or is of the server that sent the redacted event.
    ///
    /// <https://spec.matrix.org/v1.19/rooms/v12/#handling-redactions>
    pub fn can_redact(&self, redaction_sender: &UserId, redacted_sender: &UserId) -> bool {
        self.user(redaction_sender).reaches(self.redact())
            || redaction_sender.server_name() == redacted_sender.server_name()
    }
}
