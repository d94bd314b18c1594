use ruma::{push::PredefinedOverrideRuleId, user_id};

use super::*;

fn rules() -> Ruleset {
    ruleset(user_id!("@alice:example.org"), None)
}

fn rule(pattern: &str) -> NewRule {
    NewRule { actions: vec![Action::Notify], conditions: Vec::new(), pattern: Some(pattern.to_owned()) }
}

fn at(after: Option<&str>, before: Option<&str>) -> Place {
    Place { after: after.map(str::to_owned), before: before.map(str::to_owned) }
}

fn put(rules: &mut Ruleset, id: &str, place: &Place) -> Result<(), RuleChangeError> {
    insert(rules, RuleKind::Content, id, rule(id), place)
}

fn content_ids(rules: &Ruleset) -> Vec<&str> {
    rules.content.iter().map(|rule| rule.rule_id.as_str()).collect()
}

#[test]
fn rules_are_put_where_the_client_wants_them() {
    let mut rules = rules();
    for id in ["c", "b", "a"] {
        put(&mut rules, id, &Place::default()).unwrap();
    }
    assert_eq!(content_ids(&rules), ["a", "b", "c"]);

    put(&mut rules, "a", &at(Some("c"), None)).unwrap();
    assert_eq!(content_ids(&rules), ["b", "c", "a"]);
    put(&mut rules, "a", &at(None, Some("b"))).unwrap();
    assert_eq!(content_ids(&rules), ["a", "b", "c"]);
    put(&mut rules, "c", &at(Some("c"), None)).unwrap();
    assert_eq!(content_ids(&rules), ["a", "b", "c"]);
    put(&mut rules, "c", &at(Some("a"), Some("b"))).unwrap();
    assert_eq!(content_ids(&rules), ["a", "c", "b"]);

    assert_eq!(put(&mut rules, "d", &at(Some("b"), Some("a"))), Err(RuleChangeError::CrossedNeighbours));
    assert_eq!(put(&mut rules, "d", &at(Some("x"), None)), Err(RuleChangeError::UnknownNeighbour));
}

#[test]
fn moved_rule_stays_disabled() {
    let mut rules = rules();
    put(&mut rules, "b", &Place::default()).unwrap();
    put(&mut rules, "a", &Place::default()).unwrap();
    set_enabled(&mut rules, RuleKind::Content, "a", false).unwrap();

    put(&mut rules, "a", &at(Some("b"), None)).unwrap();

    assert!(!rules.content.get("a").unwrap().enabled);
}

#[test]
fn what_was_stored_survives_and_predefined_rules_come_by_themselves() {
    let alice = user_id!("@alice:example.org");
    let mut changed = rules();
    put(&mut changed, "cake", &Place::default()).unwrap();
    set_enabled(&mut changed, RuleKind::Override, ".m.rule.master", true).unwrap();
    changed.underride.clear();

    let read = ruleset(alice, Some(&content(&changed)));

    assert_eq!(content_ids(&read), ["cake"]);
    assert!(read.override_.get(PredefinedOverrideRuleId::Master.as_str()).unwrap().enabled);
    assert_eq!(read.underride.len(), rules().underride.len());
}

#[test]
fn unreadable_rules_are_the_predefined_ones() {
    for stored in ["", "[]", r#"{"global":[]}"#] {
        let read = ruleset(user_id!("@alice:example.org"), Some(stored));
        assert_eq!(read.override_.len(), rules().override_.len(), "{stored}");
    }
}

#[test]
fn clients_see_every_kind() {
    let json = to_json(&rules());
    for kind in KINDS {
        assert!(json[kind.as_str()].is_array(), "{kind:?}");
    }
}

#[test]
fn rules_of_threads_stay_once_they_are_there() {
    let user_id = user_id!("@alice:example.org");
    let mut rules = rules();
    assert!(rules.postcontent.is_empty());
    add_thread_rules(&mut rules, user_id);
    set_enabled(&mut rules, RuleKind::PostContent, ".io.element.msc4306.rule.subscribed_thread", false)
        .unwrap();
    add_thread_rules(&mut rules, user_id);
    let again = ruleset(user_id, Some(&content(&rules)));
    let enabled: Vec<bool> = again.postcontent.iter().map(|rule| rule.enabled).collect();
    assert_eq!(enabled, [true, false]);
    let added = insert(&mut rules, RuleKind::PostContent, "mine", rule("x"), &Place::default());
    assert_eq!(added, Err(RuleChangeError::ClosedKind));
}
