//! Keys of servers that are written down, some of which do not answer.

use std::{
    collections::HashSet,
    sync::atomic::{AtomicUsize, Ordering},
};

use futures_util::future::join_all;
use hs_model::clock::TestClock;
use hs_room_rules::{
    canonical_json::{Number, ParseOptions, Value},
    hash::content_hash,
    pdu::FormatError,
    redact::redact_event,
    room_version,
};
use hs_testkit::TestDb;
use parking_lot::Mutex;
use ruma::RoomVersionId;

use super::*;
use crate::RequestError;

const NOW: i64 = 1_800_000_000_000;
const DAY: i64 = 24 * 60 * 60 * 1_000;

fn name(text: &str) -> OwnedServerName {
    text.try_into().unwrap()
}

/// The key of a server; every seed is another.
fn key(seed: u8) -> SigningKey {
    SigningKey::from_seed(&format!("k{seed}"), &[seed; 32]).unwrap()
}

fn integer(value: i64) -> Value<'static> {
    Value::Number(Number::Int(value))
}

/// What a server with the current key `current`, and `old` until some time, publishes.
fn document(server: &str, current: &SigningKey, old: &[(&SigningKey, i64)], valid_until_ms: i64) -> String {
    let mut verify_keys = Object::new();
    let mut published = Object::new();
    published.insert("key", current.public_key());
    verify_keys.insert(current.key_id().to_string(), published);
    let mut old_verify_keys = Object::new();
    for (key, expired_ms) in old {
        let mut published = Object::new();
        published.insert("key", key.public_key());
        published.insert("expired_ts", integer(*expired_ms));
        old_verify_keys.insert(key.key_id().to_string(), published);
    }
    let mut document = Object::new();
    document.insert("server_name", server.to_owned());
    document.insert("verify_keys", verify_keys);
    document.insert("old_verify_keys", old_verify_keys);
    document.insert("valid_until_ts", integer(valid_until_ms));
    current.sign_json(&name(server), &mut document);
    document.to_canonical_string()
}

/// The same, with a notary's signature beside.
fn countersigned(document: &str, notary: &str, key: &SigningKey) -> String {
    let mut document = Object::parse(document, ParseOptions::STRICT).unwrap();
    key.sign_json(&name(notary), &mut document);
    document.to_canonical_string()
}

/// Servers, by what they publish; and notaries, by what they know.
#[derive(Debug, Default)]
struct Script {
    published: Mutex<HashMap<String, String>>,
    notarised: Mutex<Vec<String>>,
    fetches: AtomicUsize,
    queries: AtomicUsize,
}

impl Script {
    fn publish(&self, server: &str, document: String) {
        self.published.lock().insert(server.to_owned(), document);
    }

    fn fetches(&self) -> usize {
        self.fetches.load(Ordering::SeqCst)
    }
}

impl KeySource for Script {
    fn fetch<'a>(&'a self, server: &'a ServerName) -> SourceFuture<'a, String> {
        Box::pin(async move {
            self.fetches.fetch_add(1, Ordering::SeqCst);
            // So that those who ask at the same time meet here.
            tokio::task::yield_now().await;
            let published = self.published.lock().get(server.as_str()).cloned();
            published.ok_or_else(|| RequestError::Unreachable("nobody there".to_owned()))
        })
    }

    fn query<'a>(&'a self, _: &'a ServerName, _: Vec<KeyQuery>) -> SourceFuture<'a, Vec<String>> {
        self.queries.fetch_add(1, Ordering::SeqCst);
        Box::pin(std::future::ready(Ok(self.notarised.lock().clone())))
    }
}

struct Ground {
    keyring: Keyring,
    script: Arc<Script>,
    clock: TestClock,
    db: TestDb,
}

impl Ground {
    async fn new() -> Self {
        let (db, script, clock) = (TestDb::new().await, Arc::new(Script::default()), TestClock::at(NOW));
        let keyring = keyring(&db, &script, &clock).await;
        Self { keyring, script, clock, db }
    }

    /// Another process with the same database.
    async fn restarted(&self) -> Keyring {
        keyring(&self.db, &self.script, &self.clock).await
    }

    async fn has(&self, server: &str, key: &SigningKey) -> bool {
        self.keyring.request_key(&name(server), key.key_id().as_str()).await.is_ok()
    }
}

async fn keyring(db: &TestDb, script: &Arc<Script>, clock: &TestClock) -> Keyring {
    let options = KeyringOptions {
        server_name: name("here.example"),
        signing_key: Arc::new(key(0)),
        old_keys: Vec::new(),
        notaries: vec![name("notary.example")],
    };
    Keyring::new(script.clone(), db.store().await, Arc::new(clock.clone()), options)
}

#[tokio::test]
async fn key_is_fetched_once_and_kept_over_a_restart() {
    let ground = Ground::new().await;
    ground.script.publish("a.example", document("a.example", &key(1), &[], NOW + DAY));
    let (server, id) = (name("a.example"), key(1).key_id().to_string());

    let asked = join_all((0..5).map(|_| ground.keyring.request_key(&server, &id))).await;

    assert!(asked.iter().all(|found| found.as_ref().is_ok_and(|found| *found == key(1).public_key())));
    ground.restarted().await.request_key(&server, &id).await.unwrap();
    assert_eq!(ground.script.fetches(), 1);
}

#[tokio::test]
async fn own_key_is_known_without_asking() {
    let ground = Ground::new().await;
    assert!(ground.has("here.example", &key(0)).await);
    assert_eq!(ground.script.fetches(), 0);
}

#[tokio::test]
async fn expired_key_is_fetched_again() {
    let ground = Ground::new().await;
    ground.script.publish("a.example", document("a.example", &key(1), &[], NOW + DAY));
    assert!(ground.has("a.example", &key(1)).await);

    ground.clock.advance_ms(DAY + 1);
    assert!(!ground.has("a.example", &key(1)).await);

    ground.clock.advance_ms(DAY);
    ground.script.publish("a.example", document("a.example", &key(1), &[], NOW + 4 * DAY));
    assert!(ground.has("a.example", &key(1)).await);
}

#[tokio::test]
async fn key_is_not_believed_for_longer_than_a_week() {
    let ground = Ground::new().await;
    ground.script.publish("a.example", document("a.example", &key(1), &[], NOW + 100 * DAY));
    assert!(ground.has("a.example", &key(1)).await);
    ground.script.published.lock().clear();

    ground.clock.advance_ms(7 * DAY + 1);

    assert!(!ground.has("a.example", &key(1)).await);
}

#[tokio::test]
async fn unknown_key_ids_do_not_make_us_ask_without_end() {
    let ground = Ground::new().await;
    ground.script.publish("a.example", document("a.example", &key(1), &[], NOW + DAY));
    for seed in 2..20 {
        assert!(!ground.has("a.example", &key(seed)).await);
    }
    assert_eq!(ground.script.fetches(), 5);

    ground.clock.advance_ms(30_000);
    assert!(!ground.has("a.example", &key(20)).await);
    assert_eq!(ground.script.fetches(), 6);
}

#[tokio::test]
async fn new_key_counts_at_once_and_the_old_one_no_longer() {
    let ground = Ground::new().await;
    ground.script.publish("a.example", document("a.example", &key(1), &[], NOW + DAY));
    assert!(ground.has("a.example", &key(1)).await);

    ground.script.publish("a.example", document("a.example", &key(2), &[(&key(1), NOW)], NOW + DAY));

    assert!(ground.has("a.example", &key(2)).await);
    assert!(!ground.has("a.example", &key(1)).await, "a retired key signs no requests");
}

#[tokio::test]
async fn server_that_does_not_answer_is_asked_ever_more_rarely() {
    let ground = Ground::new().await;
    let mut asked_at = Vec::new();
    for second in 0..120 {
        let before = ground.script.fetches();
        // Notaries are asked too, and know nothing.
        assert!(!ground.has("a.example", &key(1)).await);
        if ground.script.fetches() > before {
            asked_at.push(second);
        }
        ground.clock.advance_ms(1_000);
    }
    assert_eq!(asked_at, [0, 5, 15, 35, 75]);
}

#[tokio::test]
async fn forged_documents_are_not_believed() {
    let ground = Ground::new().await;
    let honest = document("a.example", &key(1), &[], NOW + 20 * DAY);
    for forged in [
        document("b.example", &key(1), &[], NOW + 20 * DAY),
        honest.replace(&key(1).public_key(), &key(2).public_key()),
        honest.replace("a.example\":{\"ed25519", "b.example\":{\"ed25519"),
        "{}".to_owned(),
        "[".to_owned(),
    ] {
        ground.clock.advance_ms(DAY);
        ground.script.publish("a.example", forged.clone());
        assert!(!ground.has("a.example", &key(1)).await, "{forged}");
    }
    ground.clock.advance_ms(DAY);
    ground.script.publish("a.example", honest);
    assert!(ground.has("a.example", &key(1)).await);
}

#[tokio::test]
async fn notary_tells_the_keys_of_a_server_that_is_gone() {
    let ground = Ground::new().await;
    ground.script.publish("notary.example", document("notary.example", &key(9), &[], NOW + DAY));
    let gone = document("gone.example", &key(1), &[], NOW + DAY);
    *ground.script.notarised.lock() = vec![countersigned(&gone, "notary.example", &key(9))];

    assert!(ground.has("gone.example", &key(1)).await);
}

#[tokio::test]
async fn notary_is_believed_only_with_both_signatures() {
    let gone = || document("gone.example", &key(1), &[], NOW + DAY);
    let forged = gone().replace(&key(1).public_key(), &key(2).public_key());
    for told in [
        gone(),
        countersigned(&gone(), "notary.example", &key(8)),
        countersigned(&gone(), "other.example", &key(9)),
        countersigned(&forged, "notary.example", &key(9)),
        countersigned(
            &document("asked-by-nobody.example", &key(1), &[], NOW + DAY),
            "notary.example",
            &key(9),
        ),
    ] {
        let ground = Ground::new().await;
        ground.script.publish("notary.example", document("notary.example", &key(9), &[], NOW + DAY));
        *ground.script.notarised.lock() = vec![told.clone()];
        assert!(!ground.has("gone.example", &key(1)).await, "{told}");
        assert!(!ground.has("gone.example", &key(2)).await, "{told}");
    }
}

#[tokio::test]
async fn old_word_of_a_notary_does_not_bring_a_retired_key_back() {
    let ground = Ground::new().await;
    ground.script.publish("notary.example", document("notary.example", &key(9), &[], NOW + DAY));
    ground.script.publish("a.example", document("a.example", &key(2), &[(&key(1), NOW)], NOW + DAY));
    assert!(ground.has("a.example", &key(2)).await);
    ground.script.published.lock().remove("a.example");
    let old = document("a.example", &key(1), &[], NOW + 3 * DAY);
    *ground.script.notarised.lock() = vec![countersigned(&old, "notary.example", &key(9))];

    ground.clock.advance_ms(2 * DAY);
    assert!(!ground.has("a.example", &key(2)).await, "expired, and the notary does not know it");

    assert!(!ground.has("a.example", &key(1)).await);
}

/// An event of `sender`, signed with `key`.
fn event(key: &SigningKey, (sender, sent_at): (&str, i64), version: &RoomVersionId) -> String {
    signed_event(key, sender, version, |json| json.replace(&NOW.to_string(), &sent_at.to_string()))
}

/// An event of `sender`, changed before it is hashed and signed with `key`.
fn signed_event(
    key: &SigningKey,
    sender: &str,
    version: &RoomVersionId,
    change: impl FnOnce(String) -> String,
) -> String {
    let rules = room_version::rules(version).unwrap();
    let json = change(format!(
        r#"{{"auth_events":[],"content":{{"body":"hello"}},"depth":1,"origin_server_ts":{NOW},
            "prev_events":[],"room_id":"!r:a.example","sender":"{sender}","type":"m.room.message"}}"#
    ));
    let mut event = Object::parse(&json, ParseOptions::federation(rules)).unwrap();
    let server = name(sender.split_once(':').unwrap().1);
    let mut hashes = Object::new();
    hashes.insert("sha256", content_hash(&event));
    event.insert("hashes", hashes);
    let mut redacted = event.clone();
    redact_event(&mut redacted, &rules.redaction);
    key.sign_json(&server, &mut redacted);
    event.insert("signatures", redacted.remove("signatures").unwrap());
    event.to_canonical_string()
}

#[tokio::test]
async fn events_are_checked_one_by_one() {
    let ground = Ground::new().await;
    let rules = room_version::rules(&RoomVersionId::V10).unwrap();
    ground.script.publish("a.example", document("a.example", &key(1), &[], NOW + DAY));
    let good = event(&key(1), ("@u:a.example", NOW), &RoomVersionId::V10);
    let events = vec![
        good.clone(),
        good.replace("hello", "forged"),
        good.replace("m.room.message", "m.room.create"),
        event(&key(2), ("@u:a.example", NOW), &RoomVersionId::V10),
        event(&key(1), ("@u:gone.example", NOW), &RoomVersionId::V10),
        "{".to_owned(),
    ];

    let checked = ground.keyring.verify_pdus(events, rules).await;

    assert_eq!(checked[0].as_ref().unwrap().content_str(), r#"{"body":"hello"}"#);
    assert_eq!(checked[1].as_ref().unwrap().content_str(), "{}", "a wrong hash leaves the redacted event");
    assert_eq!(checked[1].as_ref().unwrap().event_id(), checked[0].as_ref().unwrap().event_id());
    assert!(matches!(checked[2], Err(PduError::Signature(_))));
    assert!(matches!(checked[3], Err(PduError::Signature(_))));
    assert!(matches!(checked[4], Err(PduError::NoKeys(_))));
    assert!(matches!(checked[5], Err(PduError::Format(_))));
}

/// The event with further signatures of its sender's server, which nobody can check.
fn with_signatures(event: &str, key_ids: &[&str]) -> String {
    let mut event: serde_json::Value = serde_json::from_str(event).unwrap();
    for id in key_ids {
        event["signatures"]["a.example"][id] = "c2lnbmF0dXJl".into();
    }
    event.to_string()
}

#[tokio::test]
async fn nobody_is_asked_for_the_key_of_a_policy_server() {
    let ground = Ground::new().await;
    let rules = room_version::rules(&RoomVersionId::V10).unwrap();
    ground.script.publish("a.example", document("a.example", &key(1), &[], NOW + DAY));
    let good = event(&key(1), ("@u:a.example", NOW), &RoomVersionId::V10);
    let signed = with_signatures(&good, &["ed25519:policy_server"]);
    let mut only: serde_json::Value = serde_json::from_str(&signed).unwrap();
    only["signatures"]["a.example"].as_object_mut().unwrap().remove(key(1).key_id().as_str());

    let checked = ground.keyring.verify_pdus(vec![signed.clone(), signed, only.to_string()], rules).await;

    let are_good: Vec<bool> = checked.iter().map(Result::is_ok).collect();
    assert_eq!(are_good, [true, true, false]);
    assert_eq!((ground.script.fetches(), ground.script.queries.load(Ordering::SeqCst)), (1, 0));
}

#[tokio::test]
async fn nobody_is_asked_for_other_keys_of_who_signed_with_a_known_one() {
    let ground = Ground::new().await;
    let rules = room_version::rules(&RoomVersionId::V10).unwrap();
    ground.script.publish("a.example", document("a.example", &key(1), &[], NOW + DAY));
    let good = event(&key(1), ("@u:a.example", NOW), &RoomVersionId::V10);
    assert!(ground.keyring.verify_pdus(vec![good.clone()], rules).await[0].is_ok());

    let signed = with_signatures(&good, &["ed25519:made_up", "other:x"]);
    let checked = ground.keyring.verify_pdus(vec![signed], rules).await;

    assert!(checked[0].is_ok());
    assert_eq!((ground.script.fetches(), ground.script.queries.load(Ordering::SeqCst)), (1, 0));
}

#[tokio::test]
async fn too_large_is_too_large_whatever_its_hash() {
    let ground = Ground::new().await;
    let rules = room_version::rules(&RoomVersionId::V10).unwrap();
    ground.script.publish("a.example", document("a.example", &key(1), &[], NOW + DAY));
    let good = event(&key(1), ("@u:a.example", NOW), &RoomVersionId::V10);
    let fits = good.replace("hello", &"x".repeat(60_000));
    let too_large = good.replace("hello", &"x".repeat(66_000));

    let checked = ground.keyring.verify_pdus(vec![fits, too_large], rules).await;

    assert_eq!(checked[0].as_ref().unwrap().content_str(), "{}");
    assert!(matches!(checked[1], Err(PduError::Format(FormatError::TooLarge))), "{:?}", checked[1]);
}

#[tokio::test]
async fn history_may_refer_to_many_events() {
    let ground = Ground::new().await;
    let rules = room_version::rules(&RoomVersionId::V10).unwrap();
    ground.script.publish("a.example", document("a.example", &key(1), &[], NOW + DAY));
    let many: Vec<String> = (0..30).map(|number| format!("\"$e{number}\"")).collect();
    let many = format!("[{}]", many.join(","));
    let old = signed_event(&key(1), "@u:a.example", &RoomVersionId::V10, |json| {
        json.replace("\"prev_events\":[]", &format!("\"prev_events\":{many}"))
            .replace("\"auth_events\":[]", &format!("\"auth_events\":{many}"))
    });

    let new = ground.keyring.verify_pdus(vec![old.clone()], rules).await;
    let past = ground.keyring.verify_past_pdus(vec![old], rules).await;

    assert!(matches!(new[0], Err(PduError::Format(FormatError::TooManyEntries("prev_events")))));
    assert_eq!(past[0].as_ref().unwrap().prev_events().len(), 30);
    assert_eq!(past[0].as_ref().unwrap().auth_events().len(), 30);
}

#[tokio::test]
async fn key_counts_only_as_long_as_it_was_valid_where_the_room_version_says_so() {
    for (version, is_enforced) in [(RoomVersionId::V4, false), (RoomVersionId::V5, true)] {
        let ground = Ground::new().await;
        let rules = room_version::rules(&version).unwrap();
        let published = document("a.example", &key(2), &[(&key(1), NOW - DAY)], NOW + DAY);
        ground.script.publish("a.example", published);
        let events = [(1, NOW - 2 * DAY), (1, NOW), (2, NOW), (2, NOW + 2 * DAY)]
            .map(|(seed, sent_at)| event(&key(seed), ("@u:a.example", sent_at), &version));

        let checked = ground.keyring.verify_pdus(events.into(), rules).await;

        let are_good: Vec<bool> = checked.iter().map(Result::is_ok).collect();
        assert_eq!(are_good, [true, !is_enforced, true, !is_enforced], "version {version}");
    }
}

#[tokio::test]
async fn many_events_of_many_servers_cost_one_question_each() {
    let ground = Ground::new().await;
    let rules = room_version::rules(&RoomVersionId::V10).unwrap();
    let mut events = Vec::new();
    for seed in 1..=40 {
        let server = format!("s{}.example", seed % 4);
        ground.script.publish(&server, document(&server, &key(seed % 4 + 1), &[], NOW + DAY));
        events.push(event(&key(seed % 4 + 1), (&format!("@u:{server}"), NOW), &RoomVersionId::V10));
    }

    let checked = ground.keyring.verify_pdus(events, rules).await;

    assert!(checked.iter().all(Result::is_ok));
    assert_eq!(ground.script.fetches(), 4);
    let servers: HashSet<_> =
        checked.iter().flatten().map(|pdu| pdu.sender().server_name().to_owned()).collect();
    assert_eq!(servers.len(), 4);
}

#[tokio::test(start_paused = true)]
async fn slow_servers_hold_up_no_others() {
    let begun_at = Instant::now();
    let takes = |seconds| async move {
        tokio::time::sleep(Duration::from_secs(seconds)).await;
        seconds
    };

    // The quick ones pass by the slow one.
    let slow =
        gather((0..500).map(|number| takes(if number == 0 { 12 } else { 1 })).collect(), PATIENCE).await;
    assert_eq!((slow.len(), begun_at.elapsed()), (500, Duration::from_secs(12)));

    let silent = gather((0..130).map(|_| takes(12)).collect(), PATIENCE).await;
    assert_eq!((silent.len(), begun_at.elapsed()), (100, Duration::from_secs(12) + PATIENCE));
}
