//! Users who were invited by an address, once they have proved that it is theirs.

use super::ground::{hears, with_fake};
use sytest_like::fake::Key;
use sytest_like::{FakeServer, Response, Server, User, Value, json, path};

const TOKEN: &str = "a-token";
const IDENTITY_SERVER: &str = "identity.example.org";

fn identity_key() -> Key {
    Key::from_seed("ed25519:0", "an identity server")
}

/// What an identity server signs: that a user has the address which was invited.
fn signed(user_id: &str, token: &str) -> Value {
    let mut signed = json!({"mxid": user_id, "token": token});
    identity_key().add_signature(&mut signed, IDENTITY_SERVER);
    signed
}

fn asked_for() -> Value {
    let key = identity_key().public();
    json!({"display_name": "b...@e...", "key_validity_url": "https://identity.example.org/valid",
        "public_key": key, "public_keys": [{"public_key": key}]})
}

/// A private room of Alice, into which somebody was invited by an address.
struct Invited {
    server: Server,
    fake: FakeServer,
    alice: User,
    room_id: String,
}

impl Invited {
    async fn start() -> Self {
        let (server, fake) = with_fake().await;
        let alice = server.register("alice").await;
        let room_id = alice.create_room(json!({"preset": "private_chat"})).await;
        alice.set_state(&room_id, "m.room.third_party_invite", TOKEN, asked_for()).await;
        Self { server, fake, alice, room_id }
    }

    /// The scripted server asks for the invite of one of its users.
    async fn exchange(&self, sender: &str, invited: &str, signed: Value) -> Response {
        let path = path!("/_matrix/federation/v1/exchange_third_party_invite/{}", self.room_id);
        let body = json!({"type": "m.room.member", "room_id": self.room_id, "sender": sender, "state_key": invited,
            "content": {"membership": "invite", "third_party_invite": {"display_name": "?", "signed": signed}}});
        self.fake.put(self.server.name(), &path, body).await
    }

    async fn membership(&self, user_id: &str) -> Response {
        self.alice.get_state(&self.room_id, "m.room.member", user_id).await
    }
}

/// An identity server tells a server that one of its users has an address.
async fn bind(server: &Server, user_id: &str, invites: Value) -> Response {
    let body = json!({"medium": "email", "address": "bob@example.org", "mxid": user_id, "invites": invites});
    server.put("/_matrix/federation/v1/3pid/onbind", body).await
}

fn pending(room_id: &str, sender: &str, user_id: &str, signed: Value) -> Value {
    json!({"medium": "email", "address": "bob@example.org", "mxid": user_id, "room_id": room_id, "sender": sender,
        "signed": signed})
}

/// The server of a user who has proved that an invited address is theirs has the inviter's server invite them.
/// spec: server-server-api/#put_matrixfederationv1exchange_third_party_inviteroomid
/// covers: PUT /_matrix/federation/v1/exchange_third_party_invite/{roomId}
/// covers: PUT /_matrix/federation/v2/invite/{roomId}/{eventId}
#[tokio::test]
async fn proof_is_exchanged_for_an_invite() {
    let invited = Invited::start().await;
    let bob = invited.fake.user("bob");

    invited.exchange(&invited.alice.id, &bob, signed(&bob, TOKEN)).await.expect_ok();

    let member = invited.membership(&bob).await.expect_ok();
    assert_eq!(member["membership"], "invite");
    assert_eq!(member["third_party_invite"]["display_name"], "b...@e...");
    assert_eq!(invited.fake.received("invite").len(), 1);
    let room = invited.fake.join(invited.server.name(), &invited.room_id, &bob).await;
    let said = room.say(&bob, "it is my address").await;
    hears(&invited.alice, &invited.room_id, &said.id).await;
}

/// Whoever has no proof, or somebody else's, is not invited.
/// spec: server-server-api/#verifying-the-invite
/// covers: PUT /_matrix/federation/v1/exchange_third_party_invite/{roomId}
#[tokio::test]
async fn nobody_is_invited_without_proof() {
    let invited = Invited::start().await;
    let (bob, alice) = (invited.fake.user("bob"), invited.alice.id.clone());
    let mut forged = json!({"mxid": bob, "token": TOKEN});
    Key::from_seed("ed25519:0", "somebody else").add_signature(&mut forged, IDENTITY_SERVER);
    let mallory = invited.server.register("mallory").await;

    invited.exchange(&alice, &bob, forged).await.expect_err(403, "M_FORBIDDEN");
    invited.exchange(&alice, &bob, signed(&bob, "another-token")).await.expect_err(403, "M_FORBIDDEN");
    invited.exchange(&alice, &bob, signed("@eve:example.org", TOKEN)).await.expect_err(403, "M_FORBIDDEN");
    invited.exchange(&mallory.id, &bob, signed(&bob, TOKEN)).await.expect_err(403, "M_FORBIDDEN");
    invited
        .exchange(&alice, "@eve:example.org", signed("@eve:example.org", TOKEN))
        .await
        .expect_err(403, "M_FORBIDDEN");
    invited.exchange(&alice, &bob, json!({"mxid": bob})).await.expect_err(403, "M_FORBIDDEN");

    invited.membership(&bob).await.expect_err(404, "M_NOT_FOUND");
    let path = "/_matrix/federation/v1/exchange_third_party_invite/!nowhere:example.org";
    let body = json!({"type": "m.room.member", "room_id": "!nowhere:example.org", "sender": alice, "state_key": bob,
        "content": {"membership": "invite", "third_party_invite": {"display_name": "?", "signed": signed(&bob, TOKEN)}}});
    invited.fake.put(invited.server.name(), path, body).await.expect_err(404, "M_NOT_FOUND");
}

/// A user here who proves that the address is theirs is invited here, where the server is in the room.
/// spec: server-server-api/#put_matrixfederationv13pidonbind
/// covers: PUT /_matrix/federation/v1/3pid/onbind
#[tokio::test]
async fn users_here_are_invited_when_they_bind_the_address() {
    let invited = Invited::start().await;
    let bob = invited.server.register("bob").await;
    let proof = signed(&bob.id, TOKEN);
    let invites = json!([
        pending("!nowhere:example.org", &invited.alice.id, &bob.id, proof.clone()),
        pending(&invited.room_id, &invited.alice.id, &bob.id, proof),
    ]);

    bind(&invited.server, &bob.id, invites).await.expect_ok();

    invited.membership(&bob.id).await.expect_ok().has("membership", "invite");
    bob.join(&invited.room_id).await;
    bind(&invited.server, "@nobody:example.org", json!([])).await.expect_err(404, "M_NOT_FOUND");
    bind(&invited.server, &bob.id, json!({})).await.expect_err(400, "M_BAD_JSON");
}

/// Where this server is not in the room, the inviter's server is asked for the invite.
/// spec: server-server-api/#put_matrixfederationv13pidonbind
/// covers: PUT /_matrix/federation/v1/3pid/onbind
#[tokio::test]
async fn the_inviters_server_is_asked_for_the_invite() {
    let (server, fake) = with_fake().await;
    let carol = server.register("carol").await;
    let bob = fake.user("bob");
    let room = fake.create_room("12", &bob);
    let proof = signed(&carol.id, TOKEN);
    fake.always("exchange_third_party_invite", sytest_like::fake::Reply::json(json!({})));

    let invites = json!([pending(room.id(), &bob, &carol.id, proof.clone())]);
    bind(&server, &carol.id, invites).await.expect_ok();

    let asked = fake.wait_for_request("exchange_third_party_invite", |_| true).await;
    assert_eq!(asked.segment(1), room.id());
    assert_eq!(asked.body["type"], "m.room.member");
    assert_eq!(asked.body["room_id"], room.id());
    assert_eq!(asked.body["sender"], bob);
    assert_eq!(asked.body["state_key"], carol.id);
    assert_eq!(asked.body["content"]["membership"], "invite");
    assert_eq!(asked.body["content"]["third_party_invite"]["signed"], proof);
}
