//! Unread counts in `/sync`.

use super::scene::{Scene, counts, now, thread_counts, thread_filter};
use sytest_like::{Server, ServerOptions, json, path};

/// A message counts for those it is sent to, and not for its sender.
/// spec: client-server-api/#receiving-notifications
/// covers: GET /_matrix/client/v3/sync
#[tokio::test]
async fn messages_count_for_others() {
    let Scene { alice, bob, room, .. } = Scene::new(&Server::shared().await).await;
    assert_eq!(now(&bob, &room).await, (0, 0));
    alice.send_text(&room, "one").await;
    alice.send_text(&room, "two").await;
    assert_eq!(now(&bob, &room).await, (2, 0));
    assert_eq!(now(&alice, &room).await, (0, 0));
}

/// The count comes with the event that changes it.
/// spec: client-server-api/#server-behaviour-11
/// covers: GET /_matrix/client/v3/sync
#[tokio::test]
async fn count_comes_with_the_event() {
    let Scene { alice, bob, room, .. } = Scene::new(&Server::shared().await).await;
    let mut syncer = bob.syncer().await;
    for expected in 1..=3 {
        let event = alice.send_text(&room, "hello").await;
        let answer = syncer
            .until("the message", |answer| sytest_like::timeline_ids(answer, &room).contains(&event))
            .await;
        assert_eq!(counts(&answer, &room), (expected, 0));
    }
}

/// A mention stands out, for the one who is mentioned.
/// spec: client-server-api/#mmentions-user-and-room-mentions
/// covers: GET /_matrix/client/v3/sync
#[tokio::test]
async fn mention_stands_out() {
    let Scene { alice, bob, carol, room } = Scene::new(&Server::shared().await).await;
    let mention = json!({"msgtype": "m.text", "body": "you!", "m.mentions": {"user_ids": [bob.id, bob.id, "@nobody:elsewhere.example"]}});
    alice.send(&room, "m.room.message", mention).await;
    assert_eq!(now(&bob, &room).await, (1, 1));
    assert_eq!(now(&carol, &room).await, (1, 0));
}

/// Mentioning the room stands out for everybody, if the sender may do that.
/// spec: client-server-api/#mmentions-user-and-room-mentions
/// covers: GET /_matrix/client/v3/sync
#[tokio::test]
async fn room_mention_needs_power() {
    let Scene { alice, bob, carol, room } = Scene::new(&Server::shared().await).await;
    let mention = json!({"msgtype": "m.text", "body": "all!", "m.mentions": {"room": true}});
    bob.send(&room, "m.room.message", mention.clone()).await;
    assert_eq!(now(&carol, &room).await, (1, 0));
    alice.send(&room, "m.room.message", mention).await;
    assert_eq!(now(&carol, &room).await, (2, 1));
}

/// Notices, edits, reactions and changes of state do not count; encrypted messages do.
/// spec: client-server-api/#predefined-rules
/// covers: GET /_matrix/client/v3/sync
#[tokio::test]
async fn what_the_predefined_rules_pass_over_does_not_count() {
    let Scene { alice, bob, room, .. } = Scene::new(&Server::shared().await).await;
    let event = alice.send_text(&room, "counts").await;
    alice.send(&room, "m.room.message", json!({"msgtype": "m.notice", "body": "beep"})).await;
    let edit = json!({"msgtype": "m.text", "body": "* edited", "m.new_content": {"msgtype": "m.text", "body": "edited"},
        "m.relates_to": {"rel_type": "m.replace", "event_id": event}});
    alice.send(&room, "m.room.message", edit).await;
    let reaction = json!({"m.relates_to": {"rel_type": "m.annotation", "event_id": event, "key": "x"}});
    alice.send(&room, "m.reaction", reaction).await;
    alice.set_state(&room, "m.room.topic", "", json!({"topic": "news"})).await;
    assert_eq!(now(&bob, &room).await, (1, 0));
    alice
        .send(&room, "m.room.encrypted", json!({"algorithm": "m.megolm.v1.aes-sha2", "ciphertext": "x"}))
        .await;
    assert_eq!(now(&bob, &room).await, (2, 0));
}

/// Receipts of both kinds clear what came before them, and wake other devices.
/// spec: client-server-api/#marking-notifications-as-read
/// covers: POST /_matrix/client/v3/rooms/{roomId}/receipt/{receiptType}/{eventId}
/// covers: GET /_matrix/client/v3/sync
#[tokio::test]
async fn receipts_clear() {
    let scene = Scene::new(&Server::shared().await).await;
    let Scene { alice, bob, room, .. } = &scene;
    let first = alice.send_text(room, "one").await;
    let second = alice.send_text(room, "two").await;
    alice.send_text(room, "three").await;
    let mut elsewhere = bob.login().await.syncer().await;
    assert_eq!(counts(&elsewhere.initial, room), (3, 0));
    scene.read(bob, "m.read", &first, json!({})).await;
    elsewhere.until("two left", |answer| counts(answer, room) == (2, 0)).await;
    scene.read(bob, "m.read.private", &second, json!({})).await;
    elsewhere.until("one left", |answer| counts(answer, room) == (1, 0)).await;
    // The one further ahead holds.
    scene.read(bob, "m.read", &first, json!({})).await;
    assert_eq!(now(bob, room).await, (1, 0));
}

/// Who sends a message has read what was said before.
/// spec: client-server-api/#marking-notifications-as-read
/// covers: PUT /_matrix/client/v3/rooms/{roomId}/send/{eventType}/{txnId}
/// covers: GET /_matrix/client/v3/sync
#[tokio::test]
async fn own_message_clears() {
    let Scene { alice, bob, room, .. } = Scene::new(&Server::shared().await).await;
    alice.send_text(&room, "hello").await;
    assert_eq!(now(&bob, &room).await, (1, 0));
    bob.send_text(&room, "hello yourself").await;
    assert_eq!(now(&bob, &room).await, (0, 0));
    assert_eq!(now(&alice, &room).await, (1, 0));
}

/// What was said before somebody came does not count, and a new name is no new beginning.
/// spec: client-server-api/#receiving-notifications
/// covers: GET /_matrix/client/v3/sync
#[tokio::test]
async fn counting_begins_with_the_join() {
    let server = Server::shared().await;
    let Scene { alice, room, .. } = Scene::new(&server).await;
    alice.send_text(&room, "before").await;
    let dave = server.register("dave").await;
    dave.join(&room).await;
    assert_eq!(now(&dave, &room).await, (0, 0));
    alice.send_text(&room, "after").await;
    dave.put(&path!("/v3/profile/{}/displayname", dave.id), json!({"displayname": "D"})).await.expect_ok();
    let named = || async { now(&dave, &room).await };
    assert_eq!(named().await, (1, 0));
}

/// A redacted message does not count any more.
/// spec: client-server-api/#receiving-notifications
/// covers: PUT /_matrix/client/v3/rooms/{roomId}/redact/{eventId}/{txnId}
/// covers: GET /_matrix/client/v3/sync
#[tokio::test]
async fn redacted_message_leaves() {
    let Scene { alice, bob, room, .. } = Scene::new(&Server::shared().await).await;
    let mention = json!({"msgtype": "m.text", "body": "you!", "m.mentions": {"user_ids": [bob.id]}});
    let gone = alice.send(&room, "m.room.message", mention).await;
    alice.send_text(&room, "stays").await;
    assert_eq!(now(&bob, &room).await, (2, 1));
    alice.put(&path!("/v3/rooms/{}/redact/{}/{}", room, gone, "t1"), json!({})).await.expect_ok();
    assert_eq!(now(&bob, &room).await, (1, 0));
}

/// Threads have counts of their own, for clients that want them, and receipts of their own.
/// spec: client-server-api/#threaded-read-receipts
/// covers: GET /_matrix/client/v3/sync
/// covers: POST /_matrix/client/v3/rooms/{roomId}/receipt/{receiptType}/{eventId}
#[tokio::test]
async fn threads_are_counted_apart() {
    let scene = Scene::new(&Server::shared().await).await;
    let Scene { alice, bob, room, .. } = &scene;
    let root = alice.send_text(room, "root").await;
    let inside = scene.send_in_thread(alice, &root, json!({})).await;
    scene.send_in_thread(alice, &root, json!({"m.mentions": {"user_ids": [bob.id]}})).await;
    let main = alice.send_text(room, "main").await;
    assert_eq!(now(bob, room).await, (4, 1));
    let apart = || async { bob.sync().filter(&thread_filter()).await };
    let answer = apart().await;
    assert_eq!((counts(&answer, room), thread_counts(&answer, room, &root)), ((2, 0), (2, 1)));

    scene.read(bob, "m.read", &main, json!({"thread_id": "main"})).await;
    let answer = apart().await;
    assert_eq!((counts(&answer, room), thread_counts(&answer, room, &root)), ((0, 0), (2, 1)));
    scene.read(bob, "m.read", &inside, json!({"thread_id": root})).await;
    let answer = apart().await;
    assert_eq!((counts(&answer, room), thread_counts(&answer, room, &root)), ((0, 0), (1, 1)));
    assert_eq!(now(bob, room).await, (1, 1));
}

/// An unthreaded receipt marks what came before it as read, in threads too.
/// spec: client-server-api/#threaded-read-receipts
/// covers: POST /_matrix/client/v3/rooms/{roomId}/receipt/{receiptType}/{eventId}
#[tokio::test]
async fn unthreaded_receipt_clears_threads() {
    let scene = Scene::new(&Server::shared().await).await;
    let Scene { alice, bob, room, .. } = &scene;
    let root = alice.send_text(room, "root").await;
    scene.send_in_thread(alice, &root, json!({})).await;
    let main = alice.send_text(room, "main").await;
    scene.send_in_thread(alice, &root, json!({})).await;
    scene.read(bob, "m.read", &main, json!({})).await;
    let answer = bob.sync().filter(&thread_filter()).await;
    assert_eq!((counts(&answer, room), thread_counts(&answer, room, &root)), ((0, 0), (1, 0)));
}

/// A message in a thread marks the thread as read, and not the rest of the room.
/// spec: client-server-api/#marking-notifications-as-read
/// covers: GET /_matrix/client/v3/sync
#[tokio::test]
async fn own_message_in_a_thread_clears_the_thread() {
    let scene = Scene::new(&Server::shared().await).await;
    let Scene { alice, bob, room, .. } = &scene;
    let root = alice.send_text(room, "root").await;
    scene.send_in_thread(alice, &root, json!({})).await;
    scene.send_in_thread(bob, &root, json!({})).await;
    let answer = bob.sync().filter(&thread_filter()).await;
    assert_eq!((counts(&answer, room), thread_counts(&answer, room, &root)), ((1, 0), (0, 0)));
}

/// A muted room does not count, except for mentions; unmuted, it does.
/// spec: client-server-api/#push-rules
/// covers: PUT /_matrix/client/v3/pushrules/global/{kind}/{ruleId}
/// covers: DELETE /_matrix/client/v3/pushrules/global/{kind}/{ruleId}
#[tokio::test]
async fn muted_room_counts_mentions_only() {
    let Scene { alice, bob, carol, room } = Scene::new(&Server::shared().await).await;
    let mute = path!("/v3/pushrules/global/room/{}", room);
    bob.put(&mute, json!({"actions": []})).await.expect_ok();
    alice.send_text(&room, "noise").await;
    assert_eq!(now(&bob, &room).await, (0, 0));
    let mention =
        json!({"msgtype": "m.text", "body": "you!", "m.mentions": {"user_ids": [bob.id, carol.id]}});
    alice.send(&room, "m.room.message", mention).await;
    assert_eq!(now(&bob, &room).await, (1, 1));
    assert_eq!(now(&carol, &room).await, (2, 1));
    bob.delete(&mute).await.expect_ok();
    alice.send_text(&room, "heard").await;
    assert!(now(&bob, &room).await.0 >= 2);
}

/// The master rule silences everything.
/// spec: client-server-api/#predefined-rules
/// covers: PUT /_matrix/client/v3/pushrules/global/{kind}/{ruleId}/enabled
#[tokio::test]
async fn master_rule_silences_everything() {
    let Scene { alice, bob, room, .. } = Scene::new(&Server::shared().await).await;
    let master = "/v3/pushrules/global/override/.m.rule.master/enabled";
    bob.put(master, json!({"enabled": true})).await.expect_ok();
    let mention = json!({"msgtype": "m.text", "body": "you!", "m.mentions": {"user_ids": [bob.id]}});
    alice.send(&room, "m.room.message", mention).await;
    assert_eq!(now(&bob, &room).await, (0, 0));
}

/// Words of one's own stand out; so do senders; and rules without notify take messages out.
/// spec: client-server-api/#push-rules
/// covers: PUT /_matrix/client/v3/pushrules/global/{kind}/{ruleId}
#[tokio::test]
async fn own_rules_decide() {
    let Scene { alice, bob, carol, room } = Scene::new(&Server::shared().await).await;
    let loud = json!(["notify", {"set_tweak": "highlight"}]);
    let word = json!({"pattern": "c?ke", "actions": loud});
    bob.put("/v3/pushrules/global/content/cake", word).await.expect_ok();
    bob.put(&path!("/v3/pushrules/global/sender/{}", carol.id), json!({"actions": []})).await.expect_ok();
    alice.send_text(&room, "there is CAKE, really").await;
    alice.send_text(&room, "pancakes are no cupcakes").await;
    carol.send_text(&room, "not heard").await;
    assert_eq!(now(&bob, &room).await, (2, 1));
    let quiet = json!({"actions": [], "conditions": [{"kind": "event_match", "key": "content.msgtype", "pattern": "m.emote"}]});
    bob.put("/v3/pushrules/global/override/emotes", quiet).await.expect_ok();
    alice.send(&room, "m.room.message", json!({"msgtype": "m.emote", "body": "waves"})).await;
    assert_eq!(now(&bob, &room).await, (2, 1));
}

/// Rules that look for the display name, the number of members or a property find them.
/// spec: client-server-api/#conditions-1
/// covers: PUT /_matrix/client/v3/pushrules/global/{kind}/{ruleId}
#[tokio::test]
async fn conditions_are_checked() {
    let Scene { alice, bob, room, .. } = Scene::new(&Server::shared().await).await;
    bob.put(&path!("/v3/profile/{}/displayname", bob.id), json!({"displayname": "Bobby B"}))
        .await
        .expect_ok();
    let loud = json!(["notify", {"set_tweak": "highlight"}]);
    let rules = [
        ("name", json!([{"kind": "contains_display_name"}])),
        ("few", json!([{"kind": "room_member_count", "is": "<3"}])),
        (
            "three",
            json!([{"kind": "room_member_count", "is": "==3"}, {"kind": "event_match", "key": "content.body", "pattern": "three"}]),
        ),
        ("flag", json!([{"kind": "event_property_is", "key": "content.flag", "value": true}])),
        ("list", json!([{"kind": "event_property_contains", "key": "content.list", "value": 7}])),
        (
            "level",
            json!([{"kind": "sender_notification_permission", "key": "room"}, {"kind": "event_match", "key": "content.body", "pattern": "@room"}]),
        ),
        ("unknown", json!([{"kind": "org.example.unknown"}])),
    ];
    for (id, conditions) in rules {
        let rule = json!({"actions": loud, "conditions": conditions});
        bob.put(&path!("/v3/pushrules/global/override/{}", id), rule).await.expect_ok();
    }
    let mut highlights = 0;
    let cases = [
        (json!({"body": "nothing"}), false),
        (json!({"body": "hey bobby b, listen"}), true),
        (json!({"body": "the three of us"}), true),
        (json!({"body": "x", "flag": true}), true),
        (json!({"body": "x", "flag": "true"}), false),
        (json!({"body": "x", "list": [1, 7]}), true),
        (json!({"body": "@room listen"}), true),
    ];
    for (number, (mut content, stands_out)) in cases.into_iter().enumerate() {
        content["msgtype"] = json!("m.text");
        alice.send(&room, "m.room.message", content.clone()).await;
        highlights += i64::from(stands_out);
        assert_eq!(now(&bob, &room).await, (number as i64 + 1, highlights), "{content}");
    }
}

/// Sliding sync, as clients speak it today, tells the counts too.
/// spec: client-server-api/#receiving-notifications
/// covers: PUT /_matrix/client/v3/rooms/{roomId}/send/{eventType}/{txnId}
/// not on synapse: it must be told to offer sliding sync
#[tokio::test]
async fn sliding_sync_tells_the_counts() {
    let Scene { alice, bob, room, .. } = Scene::new(&Server::shared().await).await;
    alice.send_text(&room, "one").await;
    let mention = json!({"msgtype": "m.text", "body": "you!", "m.mentions": {"user_ids": [bob.id]}});
    alice.send(&room, "m.room.message", mention).await;
    let list = json!({"lists": {"all": {"ranges": [[0, 10]], "timeline_limit": 1, "required_state": []}}});
    let answer = bob.post("/unstable/org.matrix.simplified_msc3575/sync", list).await.expect_ok();
    let entry = &answer.json["rooms"][&room];
    assert_eq!((&entry["notification_count"], &entry["highlight_count"]), (&json!(2), &json!(1)), "{entry}");
}

/// What ignored users say does not count.
/// spec: client-server-api/#ignoring-users
/// covers: PUT /_matrix/client/v3/user/{userId}/account_data/{type}
/// covers: GET /_matrix/client/v3/notifications
#[tokio::test]
async fn ignored_users_do_not_count() {
    let Scene { alice, bob, carol, room } = Scene::new(&Server::shared().await).await;
    let list = path!("/v3/user/{}/account_data/m.ignored_user_list", bob.id);
    bob.put(&list, json!({"ignored_users": {&carol.id: {}, "nonsense": 1}})).await.expect_ok();
    carol.send_text(&room, "not heard").await;
    alice.send_text(&room, "heard").await;
    assert_eq!(now(&bob, &room).await, (1, 0));
    assert_eq!(bob.get("/v3/notifications").await.expect_ok().array("notifications").len(), 1);
    bob.put(&list, json!({"ignored_users": {}})).await.expect_ok();
    assert_eq!(now(&bob, &room).await, (2, 0));
}

/// Counts survive a restart, and a crash.
/// spec: client-server-api/#receiving-notifications
/// covers: GET /_matrix/client/v3/sync
#[tokio::test]
async fn counts_survive_a_crash() {
    let server = Server::start().await;
    let scene = Scene::new(&server).await;
    let Scene { alice, bob, room, .. } = &scene;
    let root = alice.send_text(room, "root").await;
    scene.read(bob, "m.read", &root, json!({})).await;
    scene.send_in_thread(alice, &root, json!({"m.mentions": {"user_ids": [bob.id]}})).await;
    alice.send_text(room, "main").await;
    server.kill9();
    server.start_again().await;
    let answer = bob.sync().filter(&thread_filter()).await;
    assert_eq!((counts(&answer, room), thread_counts(&answer, room, &root)), ((1, 0), (1, 1)));
}

/// Two replicas count the same, whoever wrote what.
/// spec: client-server-api/#receiving-notifications
/// covers: GET /_matrix/client/v3/sync
/// not on synapse: it has no equal replicas
#[tokio::test]
async fn replicas_count_the_same() {
    let replicas = ServerOptions::default().start_replicas(2).await;
    let scene = Scene::new(&replicas[0]).await;
    let Scene { alice, bob, room, .. } = &scene;
    let there = replicas[1].as_seen_here(bob);
    let alice_there = replicas[1].as_seen_here(alice);
    assert_eq!((now(bob, room).await, now(&there, room).await), ((0, 0), (0, 0)));
    let mention = json!({"msgtype": "m.text", "body": "you!", "m.mentions": {"user_ids": [bob.id]}});
    let first = alice.send(room, "m.room.message", mention.clone()).await;
    let second = alice_there.send(room, "m.room.message", mention).await;
    alice_there.send_text(room, "three").await;
    assert_eq!((now(bob, room).await, now(&there, room).await), ((3, 2), (3, 2)));
    scene.read(&there, "m.read", &first, json!({})).await;
    assert_eq!((now(bob, room).await, now(&there, room).await), ((2, 1), (2, 1)));
    alice.put(&path!("/v3/rooms/{}/redact/{}/{}", room, second, "t1"), json!({})).await.expect_ok();
    assert_eq!((now(bob, room).await, now(&there, room).await), ((1, 0), (1, 0)));
    // Rules changed here hold for what is sent there.
    bob.put(&path!("/v3/pushrules/global/room/{}", room), json!({"actions": []})).await.expect_ok();
    alice_there.send_text(room, "noise").await;
    assert_eq!((now(bob, room).await, now(&there, room).await), ((0, 0), (0, 0)));
}

/// Mentions that are none do no harm.
/// spec: client-server-api/#mmentions-user-and-room-mentions
/// covers: PUT /_matrix/client/v3/rooms/{roomId}/send/{eventType}/{txnId}
#[tokio::test]
async fn malformed_mentions_do_no_harm() {
    let Scene { alice, bob, room, .. } = Scene::new(&Server::shared().await).await;
    let many: Vec<_> = (0..1500).map(|i| format!("@u{i}:x.example")).collect();
    let odd = [
        json!(7),
        json!([]),
        json!({"user_ids": "x"}),
        json!({"user_ids": [1, null, "x", {}]}),
        json!({"room": "yes"}),
        json!({"user_ids": many}),
    ];
    let mut sent = 0;
    for mentions in odd {
        let content = json!({"msgtype": "m.text", "body": "x", "m.mentions": mentions});
        let answer = alice
            .put(&path!("/v3/rooms/{}/send/m.room.message/{}", room, format!("odd{sent}")), content)
            .await;
        if answer.status == 200 {
            sent += 1;
        } else {
            answer.expect_refused();
        }
    }
    assert_eq!(now(&bob, &room).await, (sent, 0));
}

/// An account in many rooms gets all its counts in its first sync.
/// spec: client-server-api/#receiving-notifications
/// covers: GET /_matrix/client/v3/sync
#[tokio::test]
async fn first_sync_counts_in_many_rooms() {
    let server = Server::start().await;
    let (alice, bob) = (server.register("alice").await, server.register("bob").await);
    let mut rooms = Vec::new();
    for unread in 0..20 {
        let room = alice.create_public_room().await;
        bob.join(&room).await;
        for _ in 0..unread % 4 {
            alice.send_text(&room, "hello").await;
        }
        rooms.push((room, unread % 4));
    }
    // Nothing is in memory.
    server.restart().await;
    let answer = bob.sync().await;
    for (room, unread) in rooms {
        assert_eq!(counts(&answer, &room), (unread, 0));
    }
}
