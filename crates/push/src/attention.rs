//! What a rule's actions ask for.

use hs_model::notices::Attention;
use ruma::push::{Action, Tweak};
use serde_json::{Map, Value};

/// What the first rule that applies asks for.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Verdict {
    pub(crate) attention: Attention,
    /// JSON object of the tweaks, where the attention cannot say them.
    pub(crate) tweaks: Option<Box<str>>,
}

impl Verdict {
    /// Whoever is not notified hears no sound either.
    pub(crate) fn of(actions: &[Action]) -> Self {
        if !actions.iter().any(Action::should_notify) {
            return Self::default();
        }
        let mut attention = Attention::NOTIFY;
        let mut is_plain = true;
        let mut tweaks = Map::new();
        for action in actions {
            let Action::SetTweak(tweak) = action else { continue };
            match tweak.set_tweak() {
                "highlight" if action.is_highlight() => attention = attention.with(Attention::HIGHLIGHT),
                "highlight" => continue,
                "sound" => match action.sound().map(ruma::push::SoundTweakValue::as_str) {
                    Some("default") => attention = attention.with(Attention::SOUND),
                    Some("ring") => attention = attention.with(Attention::RING),
                    _ => is_plain = false,
                },
                _ => is_plain = false,
            }
            tweaks.insert(tweak.set_tweak().to_owned(), value(tweak));
        }
        let tweaks = (!is_plain).then(|| Value::Object(tweaks).to_string().into());
        Self { attention, tweaks }
    }
}

fn value(tweak: &Tweak) -> Value {
    tweak.value().and_then(|raw| serde_json::from_str(raw.get()).ok()).unwrap_or(Value::Bool(true))
}

/// The tweaks that a push gateway is told.
pub fn tweaks(attention: Attention, tweaks: Option<&str>) -> Map<String, Value> {
    if let Some(tweaks) = tweaks.and_then(|tweaks| serde_json::from_str(tweaks).ok()) {
        return tweaks;
    }
    let mut map = Map::new();
    if attention.highlights() {
        map.insert("highlight".to_owned(), true.into());
    }
    if attention.has(Attention::RING) {
        map.insert("sound".to_owned(), "ring".into());
    } else if attention.has(Attention::SOUND) {
        map.insert("sound".to_owned(), "default".into());
    }
    map
}

/// The actions, as `/notifications` tells them.
pub(crate) fn actions(attention: Attention, stored: Option<&str>) -> Vec<Value> {
    if !attention.notifies() {
        return Vec::new();
    }
    let tweaks = tweaks(attention, stored).into_iter();
    let tweaks = tweaks.map(|(name, value)| serde_json::json!({ "set_tweak": name, "value": value }));
    std::iter::once(Value::from("notify")).chain(tweaks).collect()
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn verdict(actions: Value) -> Verdict {
        Verdict::of(&serde_json::from_value::<Vec<Action>>(actions).unwrap())
    }

    #[test]
    fn plain_actions_need_no_text() {
        let loud = verdict(
            json!(["notify", {"set_tweak": "sound", "value": "default"}, {"set_tweak": "highlight"}]),
        );
        assert!(loud.attention.highlights() && loud.attention.has(Attention::SOUND));
        assert_eq!(loud.tweaks, None);
        assert_eq!(
            tweaks(loud.attention, None),
            *json!({"sound": "default", "highlight": true}).as_object().unwrap()
        );
    }

    #[test]
    fn unusual_tweaks_are_kept() {
        let odd = verdict(
            json!(["notify", {"set_tweak": "sound", "value": "bing.caf"}, {"set_tweak": "x", "value": 1}]),
        );
        let told = tweaks(odd.attention, odd.tweaks.as_deref());
        assert_eq!(Value::Object(told), json!({"sound": "bing.caf", "x": 1}));
    }

    #[test]
    fn without_notify_there_is_nothing() {
        for actions in [json!([]), json!(["dont_notify"]), json!([{"set_tweak": "highlight"}])] {
            assert_eq!(verdict(actions), Verdict::default());
        }
        assert!(
            !verdict(json!(["notify", {"set_tweak": "highlight", "value": false}])).attention.highlights()
        );
    }
}
