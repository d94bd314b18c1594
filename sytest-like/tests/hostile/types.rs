//! Fields of the wrong type that a server must not read as something else.

use http::Method;
use sytest_like::{Server, json};

use super::ground::{Ground, refuses, send_all};

/// Fields that decide what happens are refused when they have the wrong type, each by a 4xx with a code.
/// spec: client-server-api/#standard-error-response
/// covers: POST /_matrix/client/v3/createRoom
/// covers: POST /_matrix/client/v3/rooms/{roomId}/invite
/// covers: POST /_matrix/client/v3/rooms/{roomId}/ban
/// covers: POST /_matrix/client/v3/rooms/{roomId}/kick
/// covers: POST /_matrix/client/v3/rooms/{roomId}/unban
/// covers: PUT /_matrix/client/v3/rooms/{roomId}/typing/{userId}
/// covers: PUT /_matrix/client/v3/directory/room/{roomAlias}
/// covers: PUT /_matrix/client/v3/directory/list/room/{roomId}
/// covers: POST /_matrix/client/v3/rooms/{roomId}/upgrade
/// covers: PUT /_matrix/client/v3/presence/{userId}/status
/// not on synapse: it takes or trips over some of these
#[tokio::test]
async fn deciding_fields_of_the_wrong_type_are_refused() {
    let server = Server::shared().await;
    let ground = Ground::new(&server).await;
    let room = sytest_like::encode(&ground.room);
    let user = sytest_like::encode(&ground.user.id);
    let alias = sytest_like::encode(&format!("#{}:{}", sytest_like::unique("a"), server.name()));
    let mut wrong = Vec::new();
    for body in [
        json!({"name": 1}),
        json!({"topic": ["x"]}),
        json!({"invite": "@a:b"}),
        json!({"invite": [1]}),
        json!({"invite": ["not a user id"]}),
        json!({"preset": "no_such_preset"}),
        json!({"preset": 1}),
        json!({"visibility": "sideways"}),
        json!({"visibility": true}),
        json!({"initial_state": {"type": "m.room.name"}}),
        json!({"initial_state": [1]}),
        json!({"initial_state": [{"content": {}}]}),
        json!({"initial_state": [{"type": "m.room.name", "content": "x"}]}),
        json!({"initial_state": [{"type": 7, "content": {}}]}),
        json!({"initial_state": [{"type": "org.example.x", "state_key": 7, "content": {}}]}),
        json!({"creation_content": "x"}),
        json!({"creation_content": []}),
        json!({"power_level_content_override": 1}),
        json!({"power_level_content_override": {"users": 1}}),
        json!({"power_level_content_override": {"users": {"not a user id": 1}}}),
        json!({"power_level_content_override": {"users_default": "high"}}),
        json!({"power_level_content_override": {"events": ["x"]}}),
        json!({"room_version": 10}),
        json!({"room_version": "no-such-version"}),
        json!({"room_alias_name": 7}),
        json!({"room_alias_name": "white space:colon"}),
        json!({"is_direct": "yes"}),
        json!({"invite_3pid": "x"}),
    ] {
        wrong.push((Method::POST, "/v3/createRoom".to_owned(), body));
    }
    for action in ["invite", "ban", "kick", "unban"] {
        for body in [
            json!({}),
            json!({"user_id": 7}),
            json!({"user_id": null}),
            json!({"user_id": ["@a:b"]}),
            json!({"user_id": "nobody"}),
        ] {
            wrong.push((Method::POST, format!("/v3/rooms/{room}/{action}"), body));
        }
    }
    for body in [
        json!({}),
        json!({"typing": "yes"}),
        json!({"typing": 1}),
        json!({"typing": true, "timeout": "long"}),
    ] {
        wrong.push((Method::PUT, format!("/v3/rooms/{room}/typing/{user}"), body));
    }
    for body in [json!({}), json!({"room_id": 7}), json!({"room_id": "nowhere"})] {
        wrong.push((Method::PUT, format!("/v3/directory/room/{alias}"), body));
    }
    for body in [json!({"visibility": "sideways"}), json!({"visibility": 1})] {
        wrong.push((Method::PUT, format!("/v3/directory/list/room/{room}"), body));
    }
    for body in [json!({}), json!({"new_version": 9}), json!({"new_version": "no-such-version"})] {
        wrong.push((Method::POST, format!("/v3/rooms/{room}/upgrade"), body));
    }
    for body in [
        json!({}),
        json!({"presence": "asleep"}),
        json!({"presence": 1}),
        json!({"presence": "online", "status_msg": 1}),
    ] {
        wrong.push((Method::PUT, format!("/v3/presence/{user}/status"), body));
    }
    let requests = wrong.into_iter().map(|(method, path, body)| {
        (format!("{method} {path} {body}"), ground.user.request(method, &path).json(&body))
    });
    send_all(requests, refuses).await;
}
