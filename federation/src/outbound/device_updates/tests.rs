use ruma::user_id;

use super::*;

const USER: UserNid = UserNid(1);

/// What a test knows of a user as time goes on.
#[derive(Default)]
struct Story {
    row: Option<DeviceAnnouncement>,
    told: BTreeMap<String, Vec<u8>>,
}

impl Story {
    fn change(&mut self, position: i64, keys: &PublicKeys) -> Vec<Value> {
        let user = (USER, user_id!("@alice:test.example"));
        let changes = changes_of(user, Position(position), self.row.clone(), &self.told, keys);
        for device in changes.announced {
            self.told.insert(device.device_id, device.hash);
        }
        for (_, device_id) in changes.withdrawn {
            self.told.remove(&device_id);
        }
        self.row = changes.announcement.or_else(|| self.row.take());
        changes.edus.iter().map(|edu| serde_json::from_str(&edu.json).unwrap()).collect()
    }
}

fn keys(devices: &[(&str, &str)]) -> PublicKeys {
    let device = |name: &str| json!({ "keys": {}, "unsigned": { "device_display_name": name } });
    let devices = devices.iter().map(|(id, name)| ((*id).to_owned(), device(name)));
    PublicKeys { devices: devices.collect(), ..PublicKeys::default() }
}

fn chain(edus: &[Value]) -> Vec<(&str, i64, Vec<i64>)> {
    let link = |edu: &'_ Value| {
        let content = &edu["content"];
        let prev = content["prev_id"].as_array().unwrap().iter().map(|id| id.as_i64().unwrap()).collect();
        (content["stream_id"].as_i64().unwrap(), prev)
    };
    edus.iter()
        .map(|edu| {
            let (id, prev) = link(edu);
            (edu["content"]["device_id"].as_str().unwrap(), id, prev)
        })
        .collect()
}

#[test]
fn updates_form_a_chain() {
    let mut story = Story::default();

    let first = story.change(10, &keys(&[("A", "phone")]));
    let second = story.change(20, &keys(&[("A", "phone"), ("B", "tablet")]));
    let third = story.change(30, &keys(&[("A", "my phone")]));

    assert_eq!(chain(&first), [("A", 10, vec![])]);
    assert_eq!(chain(&second), [("B", 20, vec![10])]);
    // Two at once have ids of their own.
    assert_eq!(chain(&third), [("A", 29, vec![20]), ("B", 30, vec![29])]);
    assert_eq!(third[0]["content"]["device_display_name"], "my phone");
    assert_eq!(third[0]["content"]["keys"], json!({ "keys": {} }));
    assert_eq!(third[1]["content"]["deleted"], true);
}

#[test]
fn updates_that_have_no_room_for_ids_break_the_chain() {
    let mut story = Story::default();

    story.change(10, &keys(&[("A", "phone")]));
    let second = story.change(11, &keys(&[("A", "my phone"), ("B", "tablet")]));

    assert!(chain(&second).iter().all(|(_, id, prev)| *id == 11 && prev.is_empty()));
}

#[test]
fn what_nobody_sees_is_not_told() {
    let mut story = Story::default();
    story.change(10, &keys(&[("A", "phone")]));

    assert!(story.change(20, &keys(&[("A", "phone")])).is_empty());
}

#[test]
fn signing_keys_are_told_when_they_change() {
    let mut story = Story::default();
    let with_master = |key: &str| PublicKeys {
        master: Some(json!({ "keys": { "ed25519:x": key } })),
        ..keys(&[("A", "phone")])
    };

    story.change(10, &keys(&[("A", "phone")]));
    let first = story.change(20, &with_master("one"));
    let again = story.change(30, &with_master("one"));

    assert_eq!(first.len(), 1);
    assert_eq!(first[0]["edu_type"], "m.signing_key_update");
    assert_eq!(first[0]["content"]["master_key"], json!({ "keys": { "ed25519:x": "one" } }));
    assert!(again.is_empty());
}

#[test]
fn who_has_missed_something_is_told_the_latest() {
    let row = DeviceAnnouncement {
        user: USER,
        stream_id: 20,
        prev_id: Some(10),
        device_id: "A".to_owned(),
        signing_keys_hash: None,
        signing_keys_at: Some(15),
    };
    let user_id = user_id!("@alice:test.example");
    let types = |after: i64| {
        let edus = edus_again(&row, user_id, &keys(&[("A", "phone")]), Position(after));
        let parse = |edu: &BuiltEdu| serde_json::from_str::<Value>(&edu.json).unwrap()["edu_type"].clone();
        edus.iter().map(parse).collect::<Vec<_>>()
    };

    assert_eq!(types(0), ["m.device_list_update", "m.signing_key_update"]);
    assert_eq!(types(15), ["m.device_list_update"]);
    assert!(types(20).is_empty());
}
