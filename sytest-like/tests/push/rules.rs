//! Push rules: reading and editing them.

use sytest_like::{Response, Server, ServerOptions, User, Value, json, path};

fn rule(kind: &str, id: &str) -> String {
    path!("/v3/pushrules/global/{}/{}", kind, id)
}

async fn ids(user: &User, kind: &str) -> Vec<String> {
    let rules = user.get("/v3/pushrules/").await.expect_ok().json;
    let rules = rules["global"][kind].as_array().cloned().unwrap_or_default();
    rules.iter().filter_map(|rule| rule["rule_id"].as_str().map(str::to_owned)).collect()
}

async fn put_word(user: &User, id: &str) {
    user.put(&rule("content", id), json!({"pattern": id, "actions": ["notify"]})).await.expect_ok();
}

fn heard_rules(answer: &Response) -> Option<Value> {
    let events = answer.json["account_data"]["events"].as_array()?;
    events
        .iter()
        .find(|event| event["type"] == "m.push_rules")
        .map(|event| event["content"]["global"].clone())
}

/// Everybody has the predefined rules.
/// spec: client-server-api/#predefined-rules
/// covers: GET /_matrix/client/v3/pushrules/
/// covers: GET /_matrix/client/v3/pushrules/global/
#[tokio::test]
async fn everybody_has_the_predefined_rules() {
    let server = Server::shared().await;
    let alice = server.register("alice").await;
    let overrides = ids(&alice, "override").await;
    assert_eq!(overrides.first().map(String::as_str), Some(".m.rule.master"));
    for id in [
        ".m.rule.suppress_notices",
        ".m.rule.invite_for_me",
        ".m.rule.member_event",
        ".m.rule.is_user_mention",
    ] {
        assert!(overrides.iter().any(|known| known == id), "{id} is missing in {overrides:?}");
    }
    let underrides = ids(&alice, "underride").await;
    for id in [".m.rule.call", ".m.rule.room_one_to_one", ".m.rule.message", ".m.rule.encrypted"] {
        assert!(underrides.iter().any(|known| known == id), "{id} is missing in {underrides:?}");
    }
    let all = alice.get("/v3/pushrules/").await.expect_ok().json;
    let global = alice.get("/v3/pushrules/global/").await.expect_ok().json;
    assert_eq!(all["global"], global);
}

/// The predefined rules name the user they are for.
/// spec: client-server-api/#predefined-rules
/// covers: GET /_matrix/client/v3/pushrules/global/{kind}/{ruleId}
#[tokio::test]
async fn mention_rule_names_its_user() {
    let server = Server::shared().await;
    let alice = server.register("alice").await;
    let mention = alice.get(&rule("override", ".m.rule.is_user_mention")).await.expect_ok();
    assert_eq!(mention.json["conditions"][0]["value"], alice.id);
    assert_eq!(mention.json["default"], true);
    assert_eq!(mention.json["enabled"], true);
}

/// A rule of each kind can be made, read and removed.
/// spec: client-server-api/#put_matrixclientv3pushrulesglobalkindruleid
/// covers: PUT /_matrix/client/v3/pushrules/global/{kind}/{ruleId}
/// covers: GET /_matrix/client/v3/pushrules/global/{kind}/{ruleId}
/// covers: DELETE /_matrix/client/v3/pushrules/global/{kind}/{ruleId}
#[tokio::test]
async fn rules_of_every_kind_come_and_go() {
    let server = Server::shared().await;
    let alice = server.register("alice").await;
    let actions = json!(["notify", {"set_tweak": "sound", "value": "ring"}]);
    let conditions = json!([{"kind": "event_match", "key": "content.body", "pattern": "cake*"}]);
    let rules = [
        ("override", "my.rule", json!({"actions": actions, "conditions": conditions})),
        ("underride", "my.rule", json!({"actions": actions, "conditions": conditions})),
        ("content", "my.rule", json!({"actions": actions, "pattern": "c?ke"})),
        ("room", "!some:example.org", json!({"actions": actions})),
        ("sender", "@bob:example.org", json!({"actions": actions})),
    ];
    for (kind, id, body) in rules {
        alice.put(&rule(kind, id), body.clone()).await.expect_ok();
        let found = alice.get(&rule(kind, id)).await.expect_ok().json;
        assert_eq!((&found["rule_id"], &found["actions"]), (&json!(id), &actions), "{kind}");
        assert_eq!((&found["default"], &found["enabled"]), (&json!(false), &json!(true)), "{kind}");
        for key in ["conditions", "pattern"] {
            assert_eq!(found.get(key).unwrap_or(&Value::Null), &body[key], "{kind}");
        }
        alice.delete(&rule(kind, id)).await.expect_ok();
        alice.get(&rule(kind, id)).await.expect_err(404, "M_NOT_FOUND");
        alice.delete(&rule(kind, id)).await.expect_err(404, "M_NOT_FOUND");
    }
}

/// A rule without conditions always applies, so it needs none.
/// spec: client-server-api/#put_matrixclientv3pushrulesglobalkindruleid
/// covers: PUT /_matrix/client/v3/pushrules/global/{kind}/{ruleId}
#[tokio::test]
async fn conditions_may_be_left_out() {
    let server = Server::shared().await;
    let alice = server.register("alice").await;
    alice.put(&rule("override", "everything"), json!({"actions": []})).await.expect_ok();
    alice.get(&rule("override", "everything")).await.expect_ok().has("/conditions", json!([]));
}

/// New rules come first of their kind, after the master rule; `before` and `after` place them.
/// spec: client-server-api/#put_matrixclientv3pushrulesglobalkindruleid
/// covers: PUT /_matrix/client/v3/pushrules/global/{kind}/{ruleId}
#[tokio::test]
async fn rules_are_ordered() {
    let server = Server::shared().await;
    let alice = server.register("alice").await;
    for id in ["c", "b", "a"] {
        put_word(&alice, id).await;
    }
    assert_eq!(ids(&alice, "content").await, ["a", "b", "c"]);
    let body = json!({"pattern": "x", "actions": ["notify"]});
    alice.put(&rule("content", "x"), body.clone()).query("after", "b").await.expect_ok();
    assert_eq!(ids(&alice, "content").await, ["a", "b", "x", "c"]);
    alice.put(&rule("content", "x"), body.clone()).query("before", "a").await.expect_ok();
    assert_eq!(ids(&alice, "content").await, ["x", "a", "b", "c"]);
    alice.put(&rule("content", "x"), body).query("after", "c").await.expect_ok();
    assert_eq!(ids(&alice, "content").await, ["a", "b", "c", "x"]);

    alice.put(&rule("override", "mine"), json!({"actions": [], "conditions": []})).await.expect_ok();
    assert_eq!(ids(&alice, "override").await[..2], [".m.rule.master".to_owned(), "mine".to_owned()]);
}

/// A rule cannot stand beside one that does not exist.
/// spec: client-server-api/#put_matrixclientv3pushrulesglobalkindruleid
/// covers: PUT /_matrix/client/v3/pushrules/global/{kind}/{ruleId}
#[tokio::test]
async fn unknown_neighbour_is_refused() {
    let server = Server::shared().await;
    let alice = server.register("alice").await;
    for place in ["before", "after"] {
        let body = json!({"pattern": "x", "actions": ["notify"]});
        let answer = alice.put(&rule("content", "x"), body).query(place, "nowhere").await;
        answer.expect_err(400, "M_UNKNOWN");
    }
    assert!(ids(&alice, "content").await.is_empty());
}

/// A replaced rule stays where it is, and stays disabled.
/// spec: client-server-api/#put_matrixclientv3pushrulesglobalkindruleid
/// covers: PUT /_matrix/client/v3/pushrules/global/{kind}/{ruleId}
/// covers: PUT /_matrix/client/v3/pushrules/global/{kind}/{ruleId}/enabled
#[tokio::test]
async fn replaced_rule_stays_where_it_is() {
    let server = Server::shared().await;
    let alice = server.register("alice").await;
    for id in ["b", "a"] {
        put_word(&alice, id).await;
    }
    alice.put(&(rule("content", "b") + "/enabled"), json!({"enabled": false})).await.expect_ok();
    alice.put(&rule("content", "b"), json!({"pattern": "bee", "actions": []})).await.expect_ok();
    assert_eq!(ids(&alice, "content").await, ["a", "b"]);
    alice.get(&rule("content", "b")).await.expect_ok().has("/pattern", "bee").has("/enabled", false);
}

/// Rules, the predefined ones too, are switched off and on.
/// spec: client-server-api/#put_matrixclientv3pushrulesglobalkindruleidenabled
/// covers: GET /_matrix/client/v3/pushrules/global/{kind}/{ruleId}/enabled
/// covers: PUT /_matrix/client/v3/pushrules/global/{kind}/{ruleId}/enabled
#[tokio::test]
async fn rules_are_switched_off_and_on() {
    let server = Server::shared().await;
    let alice = server.register("alice").await;
    put_word(&alice, "cake").await;
    for (kind, id) in [("content", "cake"), ("underride", ".m.rule.message")] {
        let enabled = rule(kind, id) + "/enabled";
        assert_eq!(alice.get(&enabled).await.expect_ok().json, json!({"enabled": true}));
        alice.put(&enabled, json!({"enabled": false})).await.expect_ok();
        assert_eq!(alice.get(&enabled).await.expect_ok().json, json!({"enabled": false}));
        alice.get(&rule(kind, id)).await.expect_ok().has("/enabled", false);
        alice.put(&enabled, json!({"enabled": true})).await.expect_ok();
        assert_eq!(alice.get(&enabled).await.expect_ok().json, json!({"enabled": true}));
    }
}

/// The actions of rules, the predefined ones too, are changed.
/// spec: client-server-api/#put_matrixclientv3pushrulesglobalkindruleidactions
/// covers: GET /_matrix/client/v3/pushrules/global/{kind}/{ruleId}/actions
/// covers: PUT /_matrix/client/v3/pushrules/global/{kind}/{ruleId}/actions
#[tokio::test]
async fn actions_are_changed() {
    let server = Server::shared().await;
    let alice = server.register("alice").await;
    put_word(&alice, "cake").await;
    for (kind, id) in [("content", "cake"), ("underride", ".m.rule.message")] {
        let actions = rule(kind, id) + "/actions";
        assert_eq!(alice.get(&actions).await.expect_ok().json, json!({"actions": ["notify"]}));
        let loud = json!({"actions": ["notify", {"set_tweak": "sound", "value": "default"}]});
        alice.put(&actions, loud.clone()).await.expect_ok();
        assert_eq!(alice.get(&actions).await.expect_ok().json, loud);
    }
}

/// What does not exist is not found.
/// spec: client-server-api/#push-rules-api
/// covers: GET /_matrix/client/v3/pushrules/global/{kind}/{ruleId}
/// covers: GET /_matrix/client/v3/pushrules/global/{kind}/{ruleId}/actions
/// covers: PUT /_matrix/client/v3/pushrules/global/{kind}/{ruleId}/actions
/// covers: GET /_matrix/client/v3/pushrules/global/{kind}/{ruleId}/enabled
/// covers: PUT /_matrix/client/v3/pushrules/global/{kind}/{ruleId}/enabled
/// covers: DELETE /_matrix/client/v3/pushrules/global/{kind}/{ruleId}
#[tokio::test]
async fn unknown_rules_are_not_found() {
    let server = Server::shared().await;
    let alice = server.register("alice").await;
    let unknown = rule("content", "unknown");
    alice.get(&unknown).await.expect_err(404, "M_NOT_FOUND");
    alice.delete(&unknown).await.expect_err(404, "M_NOT_FOUND");
    alice.get(&(unknown.clone() + "/actions")).await.expect_err(404, "M_NOT_FOUND");
    alice.get(&(unknown.clone() + "/enabled")).await.expect_err(404, "M_NOT_FOUND");
    alice.put(&(unknown.clone() + "/actions"), json!({"actions": []})).await.expect_err(404, "M_NOT_FOUND");
    alice.put(&(unknown + "/enabled"), json!({"enabled": true})).await.expect_err(404, "M_NOT_FOUND");
}

/// Predefined rules are not the user's to make or remove.
/// spec: client-server-api/#push-rules
/// covers: PUT /_matrix/client/v3/pushrules/global/{kind}/{ruleId}
/// covers: DELETE /_matrix/client/v3/pushrules/global/{kind}/{ruleId}
#[tokio::test]
async fn predefined_rules_are_not_the_users() {
    let server = Server::shared().await;
    let alice = server.register("alice").await;
    for id in [".m.rule.message", ".mine"] {
        alice.put(&rule("underride", id), json!({"actions": [], "conditions": []})).await.expect_refused();
    }
    alice.delete(&rule("underride", ".m.rule.message")).await.expect_refused();
    assert!(ids(&alice, "underride").await.contains(&".m.rule.message".to_owned()));
}

/// What is no rule is refused.
/// spec: client-server-api/#put_matrixclientv3pushrulesglobalkindruleid
/// covers: PUT /_matrix/client/v3/pushrules/global/{kind}/{ruleId}
/// covers: PUT /_matrix/client/v3/pushrules/global/{kind}/{ruleId}/actions
/// covers: PUT /_matrix/client/v3/pushrules/global/{kind}/{ruleId}/enabled
#[tokio::test]
async fn nonsense_is_refused() {
    let server = Server::shared().await;
    let alice = server.register("alice").await;
    let good = json!({"actions": ["notify"], "conditions": [], "pattern": "x"});
    for (kind, id) in [("nonsense", "x"), ("content", "a/b"), ("content", "a\\b")] {
        alice.put(&rule(kind, id), good.clone()).await.expect_refused();
    }
    let bad = [
        json!({"pattern": "x"}),
        json!({"actions": "notify", "pattern": "x"}),
        json!({"actions": [1], "pattern": "x"}),
        json!({"actions": ["notify"]}),
        json!({"actions": ["notify"], "pattern": 7}),
    ];
    for body in bad {
        alice.put(&rule("content", "x"), body).await.expect_refused();
    }
    let conditions = json!({"actions": ["notify"], "conditions": [{"no": "kind"}]});
    alice.put(&rule("override", "x"), conditions).await.expect_refused();
    put_word(&alice, "cake").await;
    alice.put(&(rule("content", "cake") + "/enabled"), json!({"enabled": "yes"})).await.expect_refused();
    alice.put(&(rule("content", "cake") + "/actions"), json!({})).await.expect_refused();
    assert_eq!(ids(&alice, "content").await, ["cake"]);
}

/// The initial sync has the rules, also of those who have changed nothing.
/// spec: client-server-api/#push-rules-events
/// covers: GET /_matrix/client/v3/sync
#[tokio::test]
async fn initial_sync_has_the_rules() {
    let server = Server::shared().await;
    let alice = server.register("alice").await;
    let heard = heard_rules(&alice.sync().await).expect("the rules are in the initial sync");
    assert_eq!(heard, alice.get("/v3/pushrules/global/").await.expect_ok().json);
    put_word(&alice, "cake").await;
    let heard = heard_rules(&alice.sync().await).expect("the rules are in the initial sync");
    assert_eq!(heard, alice.get("/v3/pushrules/global/").await.expect_ok().json);
}

/// Other devices hear of changed rules, and of the whole set of them.
/// spec: client-server-api/#push-rules-events
/// covers: PUT /_matrix/client/v3/pushrules/global/{kind}/{ruleId}
/// covers: DELETE /_matrix/client/v3/pushrules/global/{kind}/{ruleId}
/// covers: PUT /_matrix/client/v3/pushrules/global/{kind}/{ruleId}/enabled
/// covers: PUT /_matrix/client/v3/pushrules/global/{kind}/{ruleId}/actions
/// covers: GET /_matrix/client/v3/sync
#[tokio::test]
async fn changes_come_down_sync() {
    let server = Server::shared().await;
    let alice = server.register("alice").await;
    let mut other_device = alice.login().await.syncer().await;
    put_word(&alice, "cake").await;
    let heard = other_device.until_some("the new rule", heard_rules).await;
    assert_eq!(heard["content"][0]["rule_id"], "cake");
    assert!(heard["underride"].as_array().is_some_and(|rules| !rules.is_empty()), "{heard}");
    alice.put(&(rule("content", "cake") + "/enabled"), json!({"enabled": false})).await.expect_ok();
    let heard = other_device.until_some("the switched rule", heard_rules).await;
    assert_eq!(heard["content"][0]["enabled"], false);
    alice.put(&(rule("content", "cake") + "/actions"), json!({"actions": []})).await.expect_ok();
    let heard = other_device.until_some("the changed rule", heard_rules).await;
    assert_eq!(heard["content"][0]["actions"], json!([]));
    alice.delete(&rule("content", "cake")).await.expect_ok();
    let heard = other_device.until_some("the removed rule", heard_rules).await;
    assert_eq!(heard["content"], json!([]));
}

/// Rules are account data to read, not to write.
/// spec: client-server-api/#server-behaviour-4
/// covers: PUT /_matrix/client/v3/user/{userId}/account_data/{type}
/// covers: GET /_matrix/client/v3/user/{userId}/account_data/{type}
#[tokio::test]
async fn rules_cannot_be_set_as_account_data() {
    let server = Server::shared().await;
    let alice = server.register("alice").await;
    let path = path!("/v3/user/{}/account_data/m.push_rules", alice.id);
    alice.put(&path, json!({"global": {}})).await.expect_err(405, "M_BAD_JSON");
    let read = alice.get(&path).await.expect_ok().json;
    assert_eq!(read["global"], alice.get("/v3/pushrules/global/").await.expect_ok().json);
}

/// Rules belong to one user and need a token.
/// spec: client-server-api/#push-rules-api
/// covers: GET /_matrix/client/v3/pushrules/
/// covers: PUT /_matrix/client/v3/pushrules/global/{kind}/{ruleId}
#[tokio::test]
async fn rules_are_private() {
    let server = Server::shared().await;
    let (alice, bob) = (server.register("alice").await, server.register("bob").await);
    put_word(&alice, "cake").await;
    assert!(ids(&bob, "content").await.is_empty());
    server.get("/v3/pushrules/").await.expect_err(401, "M_MISSING_TOKEN");
    server
        .put(&rule("content", "x"), json!({"pattern": "x", "actions": []}))
        .await
        .expect_err(401, "M_MISSING_TOKEN");
}

/// Two devices that edit at the same time both get their way.
/// spec: client-server-api/#push-rules-api
/// covers: PUT /_matrix/client/v3/pushrules/global/{kind}/{ruleId}
#[tokio::test]
async fn concurrent_edits_are_all_kept() {
    let server = Server::shared().await;
    let alice = server.register("alice").await;
    let edits = (0..10).map(|i| {
        let alice = alice.clone();
        async move { put_word(&alice, &format!("word{i}")).await }
    });
    futures_util::future::join_all(edits).await;
    assert_eq!(ids(&alice, "content").await.len(), 10);
}

/// Rules survive a restart, and a crash.
/// spec: client-server-api/#push-rules-api
/// covers: PUT /_matrix/client/v3/pushrules/global/{kind}/{ruleId}
#[tokio::test]
async fn rules_survive_a_crash() {
    let server = Server::start().await;
    let alice = server.register("alice").await;
    put_word(&alice, "cake").await;
    server.kill9();
    server.start_again().await;
    assert_eq!(ids(&alice, "content").await, ["cake"]);
}

/// Rules changed at one replica hold at the others, and come down their syncs.
/// spec: client-server-api/#push-rules-api
/// covers: PUT /_matrix/client/v3/pushrules/global/{kind}/{ruleId}
/// covers: GET /_matrix/client/v3/sync
/// not on synapse: it has no equal replicas
#[tokio::test]
async fn replicas_agree_on_rules() {
    let replicas = ServerOptions::default().start_replicas(2).await;
    let alice = replicas[0].register("alice").await;
    let mut elsewhere = replicas[1].as_seen_here(&alice).syncer().await;
    put_word(&alice, "cake").await;
    assert_eq!(ids(&replicas[1].as_seen_here(&alice), "content").await, ["cake"]);
    let heard = elsewhere.until_some("the new rule", heard_rules).await;
    assert_eq!(heard["content"][0]["rule_id"], "cake");
}
