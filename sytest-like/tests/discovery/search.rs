//! `POST /search`: messages by their words.

use sytest_like::{Request, Response, Server, ServerOptions, User, Value, json, path, unique};

pub(super) async fn two() -> (User, User) {
    let server = Server::shared().await;
    tokio::join!(server.register("alice"), server.register("bob"))
}

/// A search with everything that the criteria say.
fn ask(user: &User, criteria: Value) -> Request {
    user.post("/v3/search", json!({"search_categories": {"room_events": criteria}}))
}

pub(super) async fn search(user: &User, term: &str) -> Response {
    ask(user, json!({"search_term": term})).await.expect_ok()
}

/// The ids of what was found, in order.
pub(super) fn found(answer: &Response) -> Vec<String> {
    let results = answer.array("/search_categories/room_events/results").iter();
    results.map(|result| result["result"]["event_id"].as_str().unwrap_or_default().to_owned()).collect()
}

fn count(answer: &Response) -> i64 {
    answer.int("/search_categories/room_events/count")
}

/// A word that nobody else in this run uses.
pub(super) fn word(name: &str) -> String {
    unique(name).replace(['-', '_'], "")
}

/// What was just sent is found by its words, with its event and rank; other events are not.
/// spec: client-server-api/#server-side-search
/// covers: POST /_matrix/client/v3/search
#[tokio::test]
async fn messages_are_found_by_their_words() {
    let (alice, bob) = two().await;
    let room = alice.create_public_room().await;
    bob.join(&room).await;
    let word = word("needle");
    let event = alice.send_text(&room, &format!("There is a {word} in the haystack")).await;
    alice.send_text(&room, "There is nothing in the haystack").await;
    for user in [&alice, &bob] {
        let answer = search(user, &word).await;
        assert_eq!(found(&answer), [event.clone()], "{answer}");
        assert_eq!(count(&answer), 1, "{answer}");
        let result = &answer.array("/search_categories/room_events/results")[0];
        assert_eq!(result["result"]["room_id"], room.as_str());
        assert_eq!(result["result"]["sender"], alice.id.as_str());
        assert!(result["rank"].as_f64().is_some_and(|rank| rank > 0.0), "{answer}");
        let highlights = answer.array("/search_categories/room_events/highlights");
        assert!(highlights.contains(&json!(word)), "{answer}");
    }
}

/// All words must be there, in whatever case and order; words in quotation marks stand together; a word after a hyphen must
/// not be there.
/// spec: client-server-api/#server-side-search
/// covers: POST /_matrix/client/v3/search
/// not on synapse: its words are those of English
#[tokio::test]
async fn words_are_combined() {
    let (alice, _) = two().await;
    let room = alice.create_public_room().await;
    let word = word("needle");
    let both = alice.send_text(&room, &format!("{word} RED big apple")).await;
    let one = alice.send_text(&room, &format!("{word} apple, big and green")).await;
    let cases = [
        (format!("{word} red"), vec![&both]),
        (format!("apple {} RED", word.to_uppercase()), vec![&both]),
        (format!("{word} \"big apple\""), vec![&both]),
        (format!("{word} \"apple big\""), vec![&one]),
        (format!("{word} apple -green"), vec![&both]),
        (format!("{word} yellow"), vec![]),
        (format!("{word} appl"), vec![&one, &both]),
    ];
    for (term, expected) in cases {
        let answer = ask(&alice, json!({"search_term": term, "order_by": "recent"})).await.expect_ok();
        assert_eq!(found(&answer).iter().collect::<Vec<_>>(), expected, "{term}: {answer}");
    }
}

/// Chinese, Japanese, Korean and Thai are found by any part of a text; accents and widths do not matter.
/// spec: client-server-api/#server-side-search
/// covers: POST /_matrix/client/v3/search
/// not on synapse: it finds words between spaces only
#[tokio::test]
async fn every_language_is_found() {
    let (alice, _) = two().await;
    let room = alice.create_public_room().await;
    let texts = [
        ("我们明天在北京见面", ["北京", "明天在北", "面", "我"]),
        ("東京タワーへ行きましょう", ["タワー", "東京", "行きま", "う"]),
        ("회의는 내일 아침입니다", ["회의", "내일", "아침", "입니다"]),
        ("สวัสดีตอนเช้า", ["สวัสดี", "ตอน", "เช้า", "สวัสดีตอน"]),
        ("Größe, café & naïve ＡＢＣ", ["cafe", "NAIVE", "größe", "abc"]),
        ("Привет, ёжик", ["привет", "ежик", "ёжик", "ПРИВ"]),
    ];
    for (text, terms) in texts {
        let event = alice.send_text(&room, text).await;
        for term in terms {
            let filter = json!({"rooms": [room]});
            let answer = ask(&alice, json!({"search_term": term, "filter": filter})).await.expect_ok();
            assert_eq!(found(&answer), [event.clone()], "{term} in {text}: {answer}");
        }
    }
    for absent in ["京北", "明在", "タワ行", "내아"] {
        let filter = json!({"rooms": [room]});
        let answer = ask(&alice, json!({"search_term": absent, "filter": filter})).await.expect_ok();
        assert!(found(&answer).is_empty(), "{absent}: {answer}");
    }
}

/// Names and topics of rooms are found, and the keys say where to look.
/// spec: client-server-api/#search-categories
/// covers: POST /_matrix/client/v3/search
#[tokio::test]
async fn keys_say_where_to_look() {
    let (alice, _) = two().await;
    let room = alice.create_public_room().await;
    let word = word("needle");
    let name = alice.set_state(&room, "m.room.name", "", json!({"name": format!("About {word}")})).await;
    let topic = alice.set_state(&room, "m.room.topic", "", json!({"topic": format!("All on {word}")})).await;
    let body = alice.send_text(&room, &word).await;
    for (keys, expected) in [
        (json!(["content.name"]), vec![&name]),
        (json!(["content.topic"]), vec![&topic]),
        (json!(["content.body"]), vec![&body]),
        (json!(["content.body", "content.name"]), vec![&body, &name]),
    ] {
        let criteria = json!({"search_term": word, "keys": keys, "order_by": "recent"});
        let answer = ask(&alice, criteria).await.expect_ok();
        assert_eq!(found(&answer).iter().collect::<Vec<_>>(), expected, "{answer}");
    }
    assert_eq!(found(&search(&alice, &word).await).len(), 3);
}

/// The plain text of a rich topic is found.
/// spec: client-server-api/#search-categories
/// covers: POST /_matrix/client/v3/search
/// not on synapse: it looks at `topic` alone
#[tokio::test]
async fn rich_topics_are_found() {
    let (alice, _) = two().await;
    let room = alice.create_public_room().await;
    let word = word("needle");
    let rich = json!({"m.text": [
        {"mimetype": "text/html", "body": "<b>markup</b>"},
        {"body": format!("about {word}")},
    ]});
    let topic = alice.set_state(&room, "m.room.topic", "", json!({"topic": "plain", "m.topic": rich})).await;
    assert_eq!(found(&search(&alice, &word).await), [topic]);
}

/// By rank, what fits better comes first; by time, what is newer.
/// spec: client-server-api/#ordering-1
/// covers: POST /_matrix/client/v3/search
#[tokio::test]
async fn results_are_ordered() {
    let (alice, _) = two().await;
    let room = alice.create_public_room().await;
    let word = word("needle");
    let often = alice.send_text(&room, &format!("{word} {word} {word}")).await;
    let once = alice.send_text(&room, &format!("{word} and much else")).await;
    let ordered = |order: &'static str| ask(&alice, json!({"search_term": word, "order_by": order}));
    assert_eq!(found(&search(&alice, &word).await), [often.clone(), once.clone()]);
    assert_eq!(found(&ordered("rank").await.expect_ok()), [often.clone(), once.clone()]);
    assert_eq!(found(&ordered("recent").await.expect_ok()), [once, often]);
}

/// Rooms, senders and types are filtered.
/// spec: client-server-api/#post_matrixclientv3search
/// covers: POST /_matrix/client/v3/search
#[tokio::test]
async fn results_are_filtered() {
    let (alice, bob) = two().await;
    let (one, other) = (alice.create_public_room().await, alice.create_public_room().await);
    bob.join(&one).await;
    let word = word("needle");
    let by_alice = alice.send_text(&one, &word).await;
    let by_bob = bob.send_text(&one, &word).await;
    let elsewhere = alice.send_text(&other, &word).await;
    for (filter, expected) in [
        (json!({"rooms": [one]}), vec![&by_bob, &by_alice]),
        (json!({"not_rooms": [one]}), vec![&elsewhere]),
        (json!({"rooms": []}), vec![]),
        (json!({"rooms": ["!unknown:example.org"]}), vec![]),
        (json!({"senders": [bob.id]}), vec![&by_bob]),
        (json!({"not_senders": [bob.id], "rooms": [one]}), vec![&by_alice]),
        (json!({"senders": ["@nobody:example.org"]}), vec![]),
        (json!({"types": ["m.room.name"]}), vec![]),
        (json!({"not_types": ["m.room.message"]}), vec![]),
        (json!({"limit": 1}), vec![&elsewhere]),
    ] {
        let criteria = json!({"search_term": word, "order_by": "recent", "filter": filter});
        let answer = ask(&alice, criteria).await.expect_ok();
        assert_eq!(found(&answer).iter().collect::<Vec<_>>(), expected, "{filter}: {answer}");
    }
}

/// Only what the user may see is found: not what was said before they were let in, after they left, or without them.
/// spec: client-server-api/#security-considerations-14
/// covers: POST /_matrix/client/v3/search
#[tokio::test]
async fn only_visible_events_are_found() {
    let (alice, bob) = two().await;
    let room = alice.create_public_room().await;
    alice.set_state(&room, "m.room.history_visibility", "", json!({"history_visibility": "joined"})).await;
    let word = word("needle");
    alice.send_text(&room, &format!("{word} before")).await;
    assert!(found(&search(&bob, &word).await).is_empty());
    bob.join(&room).await;
    assert!(found(&search(&bob, &word).await).is_empty());
    let during = alice.send_text(&room, &format!("{word} during")).await;
    assert_eq!(found(&search(&bob, &word).await), [during.clone()]);
    bob.leave(&room).await;
    alice.send_text(&room, &format!("{word} after")).await;
    assert_eq!(found(&search(&bob, &word).await), [during]);
    bob.post(&path!("/v3/rooms/{}/forget", room), json!({})).await.expect_ok();
    assert!(found(&search(&bob, &word).await).is_empty());
    assert_eq!(found(&search(&alice, &word).await).len(), 3);
}

/// An invite alone shows nothing, whatever the history.
/// spec: client-server-api/#server-side-search
/// covers: POST /_matrix/client/v3/search
#[tokio::test]
async fn invites_show_nothing() {
    let (alice, bob) = two().await;
    let room = alice.create_room(json!({"preset": "private_chat"})).await;
    let word = word("needle");
    alice.send_text(&room, &word).await;
    alice.invite(&room, &bob).await;
    assert!(found(&search(&bob, &word).await).is_empty());
}

/// Redacted messages leave the index, and what ignored users wrote is not found.
/// spec: client-server-api/#server-side-search
/// covers: POST /_matrix/client/v3/search
#[tokio::test]
async fn redacted_and_ignored_messages_are_not_found() {
    let (alice, bob) = two().await;
    let room = alice.create_public_room().await;
    bob.join(&room).await;
    let word = word("needle");
    let event = alice.send_text(&room, &word).await;
    let noise = bob.send_text(&room, &word).await;
    assert_eq!(found(&search(&alice, &word).await).len(), 2);
    alice.put(&path!("/v3/rooms/{}/redact/{}/{}", room, event, "1"), json!({})).await.expect_ok();
    let answer = search(&alice, &word).await;
    assert_eq!(found(&answer), [noise], "{answer}");
    assert_eq!(count(&answer), 1, "{answer}");
    let list = json!({"ignored_users": {(bob.id.clone()): {}}});
    alice.put(&path!("/v3/user/{}/account_data/m.ignored_user_list", alice.id), list).await.expect_ok();
    assert!(found(&search(&alice, &word).await).is_empty());
}

/// Encrypted messages are not in the index, whatever else they say.
/// spec: client-server-api/#search-categories
/// covers: POST /_matrix/client/v3/search
#[tokio::test]
async fn encrypted_messages_are_not_found() {
    let (alice, _) = two().await;
    let room = alice.create_public_room().await;
    let word = word("needle");
    let content = json!({"algorithm": "m.megolm.v1.aes-sha2", "ciphertext": word, "body": word});
    alice.send(&room, "m.room.encrypted", content).await;
    let sent = alice.send_text(&room, &word).await;
    assert_eq!(found(&search(&alice, &word).await), [sent]);
}

/// Pages follow each other without gaps or repeats, in both orders, while new messages arrive.
/// spec: client-server-api/#pagination-2
/// covers: POST /_matrix/client/v3/search
#[tokio::test]
async fn pages_follow_each_other() {
    let (alice, _) = two().await;
    let room = alice.create_public_room().await;
    let word = word("needle");
    let mut sent = Vec::new();
    for number in 0..7 {
        sent.push(alice.send_text(&room, &format!("{word} {}", "filler ".repeat(number))).await);
    }
    for order in ["recent", "rank"] {
        let mut collected = Vec::new();
        let mut token: Option<String> = None;
        for turn in 0..4 {
            let criteria =
                json!({"search_term": word, "order_by": order, "filter": {"limit": 2, "rooms": [room]}});
            let mut request = ask(&alice, criteria);
            if let Some(token) = &token {
                request = request.query("next_batch", token);
            }
            let answer = request.await.expect_ok();
            collected.extend(found(&answer));
            token = answer
                .get("/search_categories/room_events/next_batch")
                .and_then(Value::as_str)
                .map(str::to_owned);
            assert_eq!(token.is_some(), turn < 3, "{order}: {answer}");
        }
        let mut expected: Vec<String> = sent.clone();
        if order == "recent" {
            expected.reverse();
        } else {
            collected.sort_unstable();
            expected.sort_unstable();
        }
        assert_eq!(collected, expected, "{order}");
    }
}

/// Results are grouped by room and sender, and each group can be followed on its own.
/// spec: client-server-api/#groups
/// covers: POST /_matrix/client/v3/search
#[tokio::test]
async fn results_are_grouped() {
    let (alice, bob) = two().await;
    let (one, other) = (alice.create_public_room().await, alice.create_public_room().await);
    bob.join(&one).await;
    let word = word("needle");
    let first = alice.send_text(&one, &word).await;
    let second = bob.send_text(&one, &word).await;
    let third = alice.send_text(&other, &word).await;
    let group_by = json!([{"key": "room_id"}, {"key": "sender"}]);
    let criteria = |limit: u64| {
        let groupings = json!({"group_by": group_by});
        let filter = json!({"limit": limit});
        json!({"search_term": word, "order_by": "recent", "groupings": groupings, "filter": filter})
    };
    let answer = ask(&alice, criteria(10)).await.expect_ok();
    let groups = answer.at("/search_categories/room_events/groups");
    assert_eq!(groups["room_id"][&other]["results"], json!([third]), "{answer}");
    assert_eq!(groups["room_id"][&one]["results"], json!([second, first]), "{answer}");
    assert!(
        groups["room_id"][&other]["order"].as_i64() < groups["room_id"][&one]["order"].as_i64(),
        "{answer}"
    );
    assert_eq!(groups["sender"][&bob.id]["results"], json!([second]), "{answer}");
    let answer = ask(&alice, criteria(2)).await.expect_ok();
    assert_eq!(found(&answer), [third, second]);
    let token = answer.at("/search_categories/room_events/groups/room_id")[&one]["next_batch"].clone();
    let token = token.as_str().expect("the group goes on");
    let rest = ask(&alice, criteria(2)).query("next_batch", token).await.expect_ok();
    assert_eq!(found(&rest), [first], "{rest}");
}

/// Results come with the events around them and how people were called then.
/// spec: client-server-api/#post_matrixclientv3search
/// covers: POST /_matrix/client/v3/search
#[tokio::test]
async fn results_have_context() {
    let (alice, _) = two().await;
    let room = alice.create_public_room().await;
    let word = word("needle");
    let profile = path!("/v3/profile/{}/displayname", alice.id);
    let mut sent = Vec::new();
    for text in ["one", "two", &word, "three", "four"] {
        sent.push(alice.send_text(&room, text).await);
    }
    alice.put(&profile, json!({"displayname": "Renamed"})).await.expect_ok();
    let context = json!({"before_limit": 1, "after_limit": 2, "include_profile": true});
    let answer = ask(&alice, json!({"search_term": word, "event_context": context})).await.expect_ok();
    let context = answer.at("/search_categories/room_events/results/0/context");
    let ids = |side: &str| {
        let events = context[side].as_array().expect("a list").iter();
        events.map(|event| event["event_id"].clone()).collect::<Vec<_>>()
    };
    assert_eq!(ids("events_before"), [json!(sent[1])], "{answer}");
    assert_eq!(ids("events_after"), [json!(sent[3]), json!(sent[4])], "{answer}");
    assert!(context["start"].is_string() && context["end"].is_string(), "{answer}");
    let shown = &context["profile_info"][&alice.id];
    assert!(shown.is_object() && shown["displayname"] != "Renamed", "{answer}");
    let page = alice.get(&path!("/v3/rooms/{}/messages", room)).query("dir", "b").query("limit", "1");
    let page = page.query("from", context["start"].as_str().expect("a token")).await.expect_ok();
    assert_eq!(page.column("chunk", "event_id"), [sent[0].clone()], "{page}");
}

/// The state of the rooms comes with the results when it is wanted.
/// spec: client-server-api/#post_matrixclientv3search
/// covers: POST /_matrix/client/v3/search
#[tokio::test]
async fn results_have_state() {
    let (alice, _) = two().await;
    let room = alice.create_public_room().await;
    let word = word("needle");
    alice.send_text(&room, &word).await;
    let answer = ask(&alice, json!({"search_term": word, "include_state": true})).await.expect_ok();
    let state = answer.at("/search_categories/room_events/state")[&room].as_array().expect("a list").clone();
    assert!(state.iter().any(|event| event["type"] == "m.room.create"), "{answer}");
    search(&alice, &word).await.expect_absent("/search_categories/room_events/state");
}

/// A search for nothing finds nothing; without a category there is no answer in it.
/// spec: client-server-api/#post_matrixclientv3search
/// covers: POST /_matrix/client/v3/search
/// not on synapse: it refuses some of these
#[tokio::test]
async fn nothing_is_found_for_nothing() {
    let (alice, _) = two().await;
    for nothing in ["", "   ", "!?'\\:*&|<->()", "-", "\""] {
        let answer = search(&alice, nothing).await;
        assert_eq!((found(&answer).len(), count(&answer)), (0, 0), "{nothing}: {answer}");
    }
    let answer = alice.post("/v3/search", json!({"search_categories": {}})).await.expect_ok();
    assert_eq!(answer["search_categories"], json!({}), "{answer}");
}

/// What is wrong in a search is refused, and what looks like SQL is only words.
/// spec: client-server-api/#post_matrixclientv3search
/// covers: POST /_matrix/client/v3/search
/// not on synapse: it lets some of these pass
#[tokio::test]
async fn nonsense_is_refused() {
    let (alice, _) = two().await;
    for criteria in [
        json!({"search_term": "x", "order_by": "size"}),
        json!({"search_term": "x", "keys": ["content.secret"]}),
        json!({"search_term": "x", "groupings": {"group_by": [{"key": "age"}]}}),
        json!({"search_term": "x", "filter": {"senders": "everybody"}}),
        json!({"search_term": "x".repeat(3_000)}),
        json!({}),
    ] {
        ask(&alice, criteria).await.expect_refused();
    }
    for token in ["", "nonsense", "a0.7fc00000.0.0", "a0.0.0"] {
        let request = ask(&alice, json!({"search_term": "x"})).query("next_batch", token);
        request.await.expect_err(400, "M_INVALID_PARAM");
    }
    alice.post("/v3/search", json!({})).await.expect_err(400, "M_BAD_JSON");
    alice.server.post("/v3/search", json!({})).await.expect_err(401, "M_MISSING_TOKEN");
    for term in ["'; DROP TABLE search_index; --", "a' | 'b", "((((", "\\", "a:* & !b", "\u{1F600}\u{202E}x"]
    {
        search(&alice, term).await;
    }
}

/// A message far larger than most is indexed, and one with nothing to index does no harm.
/// spec: client-server-api/#server-side-search
/// covers: POST /_matrix/client/v3/search
#[tokio::test]
async fn odd_messages_do_no_harm() {
    let (alice, _) = two().await;
    let room = alice.create_public_room().await;
    let word = word("needle");
    let long = (0..8_000).map(|number| format!("w{number}")).collect::<Vec<_>>().join(" ");
    let large = alice.send_text(&room, &format!("{word} {long}")).await;
    for body in [json!(5), json!({"a": 1}), json!(null), json!(""), json!("\u{0}nul\u{0}")] {
        alice.send(&room, "m.room.message", json!({"msgtype": "m.text", "body": body})).await;
    }
    let mixed = alice.send_text(&room, &format!("{word}\u{0}")).await;
    let answer = ask(&alice, json!({"search_term": word, "order_by": "recent"})).await.expect_ok();
    assert_eq!(found(&answer), [mixed, large]);
}

/// What is said on one replica is found on the other, and after either was killed.
/// spec: client-server-api/#server-side-search
/// covers: POST /_matrix/client/v3/search
/// not on synapse: it has no equal replicas
#[tokio::test]
async fn every_replica_finds() {
    let replicas = ServerOptions::default().start_replicas(2).await;
    let alice = replicas[0].register("alice").await;
    let elsewhere = replicas[1].as_seen_here(&alice);
    let room = alice.create_public_room().await;
    let one = alice.send_text(&room, "needle one").await;
    assert_eq!(found(&search(&elsewhere, "needle").await), [one.clone()]);
    let two = elsewhere.send_text(&room, "needle two").await;
    assert_eq!(found(&search(&alice, "two").await), [two]);
    replicas[0].kill9();
    replicas[0].start_again().await;
    assert_eq!(found(&search(&alice, "one").await), [one]);
    let three = alice.send_text(&room, "needle three").await;
    assert_eq!(found(&search(&elsewhere, "three").await), [three]);
}
