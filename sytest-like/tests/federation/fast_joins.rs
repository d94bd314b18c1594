//! Joins through servers that leave out most of the members: the room is used at once, and the rest comes later.

use std::sync::atomic::{AtomicUsize, Ordering};

use super::ground::{hears, read_back, versions, with_fake};
use sytest_like::fake::{FakeRoom, Reply};
use sytest_like::{FakeServer, Pair, Response, Server, User, Value, json, path, timeline_ids};
use tokio::sync::watch;

/// How many members a room has beside its creator.
const MEMBERS: usize = 25;
/// So many that a Kith leaves them out too.
const CROWD: usize = 105;

/// A room of the scripted server with many members, which are left out of its answers to joins.
struct Crowd {
    server: Server,
    fake: FakeServer,
    alice: User,
    bob: String,
    room: FakeRoom,
    /// Whether members are told.
    told: watch::Sender<bool>,
}

fn member(fake: &FakeServer, number: usize) -> String {
    fake.user(&format!("member{number}"))
}

impl Crowd {
    async fn start() -> Self {
        let (server, fake) = with_fake().await;
        let alice = server.register("alice").await;
        Self::over(server, fake, alice, "12")
    }

    fn over(server: Server, fake: FakeServer, alice: User, version: &str) -> Self {
        let bob = fake.user("bob");
        let room = fake.create_room(version, &bob);
        room.add_state("m.room.name", "", &bob, json!({"name": "Crowded"}));
        for number in 0..MEMBERS {
            let user = member(&fake, number);
            room.add_state("m.room.member", &user, &user, json!({"membership": "join"}));
        }
        fake.leave_out_members();
        Self { server, fake, alice, bob, room, told: watch::Sender::new(true) }
    }

    fn id(&self) -> &str {
        self.room.id()
    }

    /// From here on whoever asks for the members is kept waiting.
    fn keep_members_secret(&self) {
        self.told.send_replace(false);
        let (told, room_id) = (self.told.subscribe(), self.id().to_owned());
        self.fake.answer_async("state_ids", move |received| {
            let (mut told, is_ours) = (told.clone(), received.segment(1) == room_id);
            async move {
                if is_ours {
                    // An error means that the case is over.
                    let _ = told.wait_for(|told| *told).await;
                }
                None
            }
        });
    }

    fn tell_members(&self) {
        self.told.send_replace(true);
    }

    async fn joins(&self, user: &User) {
        let path = path!("/v3/join/{}?via={}", self.id(), self.fake.name());
        user.post(&path, json!({})).await.expect_ok();
    }

    /// Alice's join as the scripted server has it.
    fn join_of(&self, user: &User) -> String {
        self.room.state_event("m.room.member", &user.id).expect("the user has joined").id
    }

    /// Everybody who must be in the room in the end.
    fn everybody(&self, here: &[&User]) -> Vec<String> {
        let mut all: Vec<String> = (0..MEMBERS).map(|number| member(&self.fake, number)).collect();
        all.push(self.bob.clone());
        all.extend(here.iter().map(|user| user.id.clone()));
        all.sort();
        all
    }
}

fn lazily() -> Value {
    json!({"room": {"state": {"lazy_load_members": true}, "timeline": {"limit": 50}}})
}

/// Who is in a room, once that is known.
async fn joined(user: &User, room_id: &str) -> Vec<String> {
    let answer = user.get(&path!("/v3/rooms/{}/joined_members", room_id)).await.expect_ok();
    let mut members: Vec<String> =
        answer.json["joined"].as_object().expect("members").keys().cloned().collect();
    members.sort();
    members
}

fn room_of(answer: &Response, room_id: &str) -> Option<Value> {
    answer.json["rooms"]["join"].get(room_id).cloned()
}

/// The users whose member events are in a part of `/sync`.
fn members_in(room: &Value) -> Vec<String> {
    let of = |section: &str| room[section]["events"].as_array().cloned().unwrap_or_default();
    let mut events = of("state");
    events.extend(of("timeline"));
    let members = events.iter().filter(|event| event["type"] == "m.room.member");
    let mut users: Vec<String> =
        members.filter_map(|event| Some(event["state_key"].as_str()?.to_owned())).collect();
    users.sort();
    users.dedup();
    users
}

/// Before the members are known a user reads and writes in the room, and hears what is said there; in every room version.
/// Later everybody is known.
/// spec: server-server-api/#put_matrixfederationv2send_joinroomideventid
/// covers: POST /_matrix/client/v3/join/{roomIdOrAlias}
#[tokio::test]
async fn rooms_are_used_before_their_members_are_known() {
    let (server, fake) = with_fake().await;
    let alice = server.register("alice").await;
    for version in versions() {
        let crowd = Crowd::over(server.clone(), fake.clone(), alice.clone(), version);
        crowd.keep_members_secret();

        crowd.joins(&alice).await;

        let said = alice.send_text(crowd.id(), "hello everybody").await;
        fake.wait_for_event(crowd.id(), &said).await;
        alice.get_state(crowd.id(), "m.room.name", "").await.expect_ok().has("name", "Crowded");
        let mut syncer = alice.syncer_with_filter(lazily()).await;
        assert!(timeline_ids(&syncer.initial, crowd.id()).contains(&said), "version {version}");
        let heard = crowd.room.say(&member(&fake, 3), "welcome").await;
        let room = syncer
            .until_some("an answer", |answer| {
                timeline_ids(answer, crowd.id()).contains(&heard.id).then(|| room_of(answer, crowd.id()))
            })
            .await
            .expect("the room");
        assert_eq!(members_in(&room), [member(&fake, 3)], "version {version}: {room}");

        crowd.tell_members();
        assert_eq!(joined(&alice, crowd.id()).await, crowd.everybody(&[&alice]), "version {version}");
        let later = crowd.room.say(&member(&fake, 4), "you know us now").await;
        hears(&alice, crowd.id(), &later.id).await;
    }
    assert_eq!(fake.faults(), Vec::<String>::new());
}

/// A client that wants all members at once gets the room when they are known; one that asks for them when it needs them gets
/// the true numbers and the device lists then.
/// spec: client-server-api/#lazy-loading-room-members
/// covers: GET /_matrix/client/v3/sync
#[tokio::test]
async fn clients_learn_of_members_once_they_are_known() {
    let crowd = Crowd::start().await;
    let alice = &crowd.alice;
    crowd.keep_members_secret();
    let mut eager = alice.syncer().await;
    let mut lazy = alice.syncer_with_filter(lazily()).await;
    crowd.joins(alice).await;
    lazy.until_room("join", crowd.id()).await;
    assert!(room_of(&eager.next(0).await, crowd.id()).is_none(), "the room is not whole");

    crowd.tell_members();

    let room = eager.until_room("join", crowd.id()).await;
    assert_eq!(members_in(&room), crowd.everybody(&[alice]));
    let changed = lazy
        .until_some("the number of members", |answer| {
            let room = room_of(answer, crowd.id())?;
            (room["summary"]["m.joined_member_count"] == json!(MEMBERS + 2))
                .then(|| answer.json["device_lists"]["changed"].clone())
        })
        .await;
    let changed: Vec<&str> = changed.as_array().into_iter().flatten().filter_map(Value::as_str).collect();
    for user in crowd.everybody(&[]) {
        assert!(changed.contains(&user.as_str()), "{user} is missing in {changed:?}");
    }
}

/// A restart in between loses nothing.
/// spec: server-server-api/#put_matrixfederationv2send_joinroomideventid
/// covers: POST /_matrix/client/v3/join/{roomIdOrAlias}
#[tokio::test]
async fn members_are_fetched_after_a_restart() {
    let crowd = Crowd::start().await;
    crowd.keep_members_secret();
    crowd.joins(&crowd.alice).await;
    let before = crowd.alice.send_text(crowd.id(), "before").await;

    crowd.server.restart().await;
    let after = crowd.alice.send_text(crowd.id(), "after").await;
    crowd.fake.wait_for_event(crowd.id(), &after).await;
    crowd.tell_members();
    // The server that stopped held the work for a while.
    let mut syncer = crowd.alice.syncer().await;
    if room_of(&syncer.initial, crowd.id()).is_none() {
        syncer.until_room("join", crowd.id()).await;
    }

    assert_eq!(joined(&crowd.alice, crowd.id()).await, crowd.everybody(&[&crowd.alice]));
    hears(&crowd.alice, crowd.id(), &after).await;
    crowd.alice.get_event(crowd.id(), &before).await.expect_ok();
}

/// What somebody says who was banned is heard while that is not known, and gone when it is.
/// spec: server-server-api/#checks-performed-on-receipt-of-a-pdu
/// covers: PUT /_matrix/federation/v1/send/{txnId}
#[tokio::test]
async fn events_are_judged_anew() {
    let crowd = Crowd::start().await;
    let mallory = member(&crowd.fake, 7);
    let old_join = crowd.room.state_event("m.room.member", &mallory).expect("mallory is there");
    let levels = crowd.room.state_event("m.room.power_levels", "").expect("there are power levels");
    crowd.room.add_state("m.room.member", &mallory, &crowd.bob, json!({"membership": "ban"}));
    crowd.keep_members_secret();
    crowd.joins(&crowd.alice).await;

    let join = crowd.join_of(&crowd.alice);
    let draft = crowd.room.message(&mallory, "I am not banned");
    let lie = draft.prev(&[&join]).auth(&[&levels.id, &old_join.id]).build();
    crowd.room.send_to(crowd.server.name(), &lie).await;
    let truth = crowd.room.message(&crowd.bob, "he is").prev(&[&join]).build();
    crowd.room.send(&truth).await;
    let mut syncer = crowd.alice.syncer_with_filter(lazily()).await;
    if !timeline_ids(&syncer.initial, crowd.id()).contains(&truth.id) {
        syncer.until_event(crowd.id(), &truth.id).await;
    }
    crowd.tell_members();

    let here: Vec<String> =
        crowd.everybody(&[&crowd.alice]).into_iter().filter(|user| *user != mallory).collect();
    assert_eq!(joined(&crowd.alice, crowd.id()).await, here);
    let read = read_back(&crowd.alice, crowd.id()).await;
    assert!(read.contains(&"he is".to_owned()), "{read:?}");
    assert!(!read.contains(&"I am not banned".to_owned()), "{read:?}");
    crowd.alice.get_event(crowd.id(), &lie.id).await.expect_err(404, "M_NOT_FOUND");
    let answered = crowd.alice.send_text(crowd.id(), "good").await;
    let answer = crowd.fake.wait_for_event(crowd.id(), &answered).await;
    assert!(!answer.prev_ids().contains(&lie.id), "{:?}", answer.prev_ids());
}

/// An event from beside the join, with the same events before it, is heard at once.
/// spec: server-server-api/#checks-performed-on-receipt-of-a-pdu
/// covers: PUT /_matrix/federation/v1/send/{txnId}
#[tokio::test]
async fn what_is_said_while_somebody_joins_is_heard() {
    let crowd = Crowd::start().await;
    crowd.keep_members_secret();
    let before = crowd.room.extremities();
    let before: Vec<&str> = before.iter().map(String::as_str).collect();
    crowd.joins(&crowd.alice).await;

    let beside = crowd.room.message(&crowd.bob, "somebody joins").prev(&before).build();
    crowd.room.send(&beside).await;

    let mut syncer = crowd.alice.syncer_with_filter(lazily()).await;
    if !timeline_ids(&syncer.initial, crowd.id()).contains(&beside.id) {
        syncer.until_event(crowd.id(), &beside.id).await;
    }
    crowd.tell_members();
    assert_eq!(joined(&crowd.alice, crowd.id()).await, crowd.everybody(&[&crowd.alice]));
    assert!(read_back(&crowd.alice, crowd.id()).await.contains(&"somebody joins".to_owned()));
}

/// What somebody changes about others waits until it is known what they are; so does a second user who joins.
/// spec: client-server-api/#room-membership
/// covers: POST /_matrix/client/v3/rooms/{roomId}/invite
/// covers: POST /_matrix/client/v3/join/{roomIdOrAlias}
#[tokio::test]
async fn changes_of_members_wait() {
    let crowd = Crowd::start().await;
    let carol = crowd.server.register("carol").await;
    crowd.room.add_state("m.room.member", &carol.id, &crowd.bob, json!({"membership": "ban"}));
    crowd.keep_members_secret();
    crowd.joins(&crowd.alice).await;
    let tell = async {
        crowd.fake.wait_for_request("state_ids", |_| true).await;
        crowd.tell_members();
    };
    let path = path!("/v3/join/{}", crowd.id());
    let dave = crowd.server.register("dave").await;

    let (refused, let_in, ()) = tokio::join!(carol.post(&path, json!({})), dave.post(&path, json!({})), tell);

    refused.expect_err(403, "M_FORBIDDEN");
    let_in.expect_ok();
    assert_eq!(joined(&dave, crowd.id()).await, crowd.everybody(&[&crowd.alice, &dave]));
}

/// Other servers are told no state that is not whole, and asked to turn to somebody else who want in; events they get.
/// spec: server-server-api/#retrieving-events
/// covers: GET /_matrix/federation/v1/state_ids/{roomId}
/// covers: GET /_matrix/federation/v1/make_join/{roomId}/{userId}
/// covers: GET /_matrix/federation/v1/event/{eventId}
#[tokio::test]
async fn others_are_told_nothing_incomplete() {
    let crowd = Crowd::start().await;
    crowd.keep_members_secret();
    crowd.joins(&crowd.alice).await;
    let said = crowd.alice.send_text(crowd.id(), "hello").await;
    let state = path!("/_matrix/federation/v1/state_ids/{}?event_id={}", crowd.id(), said);
    let event = path!("/_matrix/federation/v1/event/{}", said);

    crowd.fake.get(crowd.server.name(), &state).await.expect_err(404, "M_NOT_FOUND");
    let made = crowd.fake.try_make(crowd.server.name(), "join", crowd.id(), &crowd.fake.user("new")).await;
    made.expect_err(404, "M_NOT_FOUND");
    crowd.fake.get(crowd.server.name(), &event).await.expect_ok();

    crowd.tell_members();
    joined(&crowd.alice, crowd.id()).await;
    let answer = crowd.fake.get(crowd.server.name(), &state).await.expect_ok();
    assert!(answer.array("pdu_ids").len() > MEMBERS, "{answer}");
}

/// A server that leaves out members without saying which servers are there, or that leaves out more, is not believed. One that
/// tells another state later is asked again until it tells one that allows the join.
/// spec: server-server-api/#put_matrixfederationv2send_joinroomideventid
/// covers: POST /_matrix/client/v3/join/{roomIdOrAlias}
#[tokio::test]
async fn lies_about_members_are_not_believed() {
    let crowd = Crowd::start().await;
    let path = path!("/v3/join/{}?via={}", crowd.id(), crowd.fake.name());
    crowd.fake.answer("send_join", |received| {
        Some(Reply::json(
            json!({"state": [], "auth_chain": [], "members_omitted": true, "event": received.body}),
        ))
    });
    crowd.alice.post(&path, json!({})).await.expect_err(502, "M_UNKNOWN");
    crowd.fake.be_honest("send_join");
    let topic = crowd.room.state_event("m.room.name", "").expect("a name");
    crowd.fake.answer("state_ids", move |_| {
        Some(Reply::json(json!({"pdu_ids": [topic.id], "auth_chain_ids": []})))
    });
    crowd.joins(&crowd.alice).await;
    crowd.fake.wait_for_request("state_ids", |_| true).await;
    let said = crowd.alice.send_text(crowd.id(), "still here").await;
    crowd.fake.wait_for_event(crowd.id(), &said).await;

    crowd.fake.be_honest("state_ids");

    assert_eq!(joined(&crowd.alice, crowd.id()).await, crowd.everybody(&[&crowd.alice]));
}

/// A member whose server's keys cannot be had at first is not lost: the members are fetched once more.
/// spec: server-server-api/#put_matrixfederationv2send_joinroomideventid
/// covers: POST /_matrix/client/v3/join/{roomIdOrAlias}
/// not on synapse: it goes without such members
#[tokio::test]
async fn members_without_keys_are_waited_for() {
    let crowd = Crowd::start().await;
    let other = FakeServer::start().await;
    let carol = other.user("carol");
    other.join(crowd.fake.name(), crowd.id(), &carol).await;
    let asked = AtomicUsize::new(0);
    other.answer("key/v2/server", move |_| {
        (asked.fetch_add(1, Ordering::SeqCst) == 0).then(|| Reply::error(500, "M_UNKNOWN"))
    });

    crowd.joins(&crowd.alice).await;

    let mut all = crowd.everybody(&[&crowd.alice]);
    all.push(carol);
    all.sort();
    assert_eq!(joined(&crowd.alice, crowd.id()).await, all);
    assert!(other.received("key/v2/server").len() > 1, "the keys were asked for again");
}

/// Who left before the members were known comes back into a whole room.
/// spec: server-server-api/#joining-rooms
/// covers: POST /_matrix/client/v3/rooms/{roomId}/leave
/// covers: POST /_matrix/client/v3/join/{roomIdOrAlias}
#[tokio::test]
async fn leaving_early_does_no_harm() {
    let crowd = Crowd::start().await;
    crowd.keep_members_secret();
    crowd.joins(&crowd.alice).await;
    let join = crowd.join_of(&crowd.alice);
    crowd.alice.leave(crowd.id()).await;
    crowd
        .fake
        .wait_for_pdu("the leave", |pdu| {
            pdu["content"]["membership"] == "leave" && pdu["sender"] == crowd.alice.id
        })
        .await;

    crowd.tell_members();
    crowd.joins(&crowd.alice).await;

    assert_eq!(joined(&crowd.alice, crowd.id()).await, crowd.everybody(&[&crowd.alice]));
    assert_ne!(crowd.join_of(&crowd.alice), join);
}

/// A server that takes nothing, with a member in a crowd that Alice joins. What she says there is not in memory any more.
async fn said_to_nobody(crowd: &Crowd) -> FakeServer {
    let other = FakeServer::start().await;
    let dave = other.user("dave");
    let join = crowd.room.member(&dave, &dave, "join").signed_by(other.name(), &other.key()).build();
    crowd.room.add(&join);
    crowd.keep_members_secret();
    other.always("send", Reply::error(503, "M_UNKNOWN"));
    crowd.joins(&crowd.alice).await;
    let said = crowd.alice.send_text(crowd.id(), "is anybody there?").await;
    crowd.fake.wait_for_event(crowd.id(), &said).await;
    // Who hears for the first time from a server asks it for its keys, which one that is gone does not tell.
    other.wait_for_pdu("the attempt", |pdu| pdu["content"]["body"] == "is anybody there?").await;
    crowd.server.restart().await;
    other
}

/// Waits until a server that takes what it is sent from now on has been told something.
async fn told_at_last(crowd: &Crowd, other: &FakeServer, body: &str) {
    other.forget();
    other.be_honest("send");
    other.send_edu(crowd.server.name(), "org.example.hello", json!({})).await;
    other.wait_for_pdu(body, |pdu| pdu["content"]["body"] == body).await;
}

/// A server that was away is told what it missed of a room whose members are not known, if it is said to be in it.
/// spec: server-server-api/#transactions
/// covers: PUT /_matrix/federation/v1/send/{txnId}
#[tokio::test]
async fn servers_catch_up_before_members_are_known() {
    let crowd = Crowd::start().await;
    let other = said_to_nobody(&crowd).await;

    told_at_last(&crowd, &other, "is anybody there?").await;
    crowd.tell_members();
}

/// And so it is when the members have become known in its absence.
/// spec: server-server-api/#transactions
/// covers: PUT /_matrix/federation/v1/send/{txnId}
#[tokio::test]
async fn servers_catch_up_once_members_are_known() {
    let crowd = Crowd::start().await;
    let other = said_to_nobody(&crowd).await;
    crowd.tell_members();
    let mut everybody = crowd.everybody(&[&crowd.alice]);
    everybody.push(other.user("dave"));
    everybody.sort();
    // The server that stopped held the work for a while.
    let mut syncer = crowd.alice.syncer().await;
    if room_of(&syncer.initial, crowd.id()).is_none() {
        syncer.until_room("join", crowd.id()).await;
    }
    assert_eq!(joined(&crowd.alice, crowd.id()).await, everybody);

    told_at_last(&crowd, &other, "is anybody there?").await;
}

/// Two replicas: one fetches the members, and both know them.
/// spec: server-server-api/#put_matrixfederationv2send_joinroomideventid
/// covers: POST /_matrix/client/v3/join/{roomIdOrAlias}
/// not on synapse: it has no equal replicas
#[tokio::test]
async fn replicas_learn_of_members_together() {
    let (mut replicas, fake) = tokio::join!(Server::federated().start_replicas(2), FakeServer::start());
    let (second, first) = (replicas.remove(1), replicas.remove(0));
    let alice = first.register("alice").await;
    let there = second.as_seen_here(&alice);
    let crowd = Crowd::over(first, fake, alice, "12");
    crowd.keep_members_secret();
    crowd.joins(&crowd.alice).await;
    let said = there.send_text(crowd.id(), "from over there").await;
    crowd.fake.wait_for_event(crowd.id(), &said).await;

    crowd.tell_members();

    let all = crowd.everybody(&[&crowd.alice]);
    assert_eq!(joined(&there, crowd.id()).await, all);
    assert_eq!(joined(&crowd.alice, crowd.id()).await, all);
    assert_eq!(crowd.fake.received("state_ids").len(), 1, "the state is fetched once");
}

/// Between two servers of one kind: a room with many members is joined, and both sides come to see the same.
/// spec: server-server-api/#put_matrixfederationv2send_joinroomideventid
/// covers: PUT /_matrix/federation/v2/send_join/{roomId}/{eventId}
#[tokio::test]
async fn a_neighbour_joins_a_crowded_room() {
    let pair = Pair::shared().await;
    let (alice, bob) = (pair.near.register("alice").await, pair.far.register("bob").await);
    let fake = FakeServer::start().await;
    let room_id = alice.create_public_room().await;
    for number in 0..CROWD {
        fake.join(pair.near.name(), &room_id, &member(&fake, number)).await;
    }

    let path = path!("/v3/join/{}?via={}", room_id, pair.near.name());
    bob.post(&path, json!({})).await.expect_ok();

    let said = bob.send_text(&room_id, "hello everybody").await;
    hears(&alice, &room_id, &said).await;
    fake.wait_for_event(&room_id, &said).await;
    let answered = alice.send_text(&room_id, "hello bob").await;
    assert_eq!(joined(&bob, &room_id).await, joined(&alice, &room_id).await);
    hears(&bob, &room_id, &answered).await;
}

/// Before the members of a room are known, nobody is refused elsewhere for not being among them: it cannot be told.
/// spec: server-server-api/#restricted-rooms
/// covers: GET /_matrix/federation/v1/make_join/{roomId}/{userId}
#[tokio::test]
async fn restricted_joins_are_not_judged_by_a_part_of_the_members() {
    let crowd = Crowd::start().await;
    crowd.keep_members_secret();
    crowd.joins(&crowd.alice).await;
    let rules =
        json!({"join_rule": "restricted", "allow": [{"type": "m.room_membership", "room_id": crowd.id()}]});
    let state = json!([{"type": "m.room.join_rules", "content": rules}]);
    let body = json!({"preset": "private_chat", "initial_state": state});
    let room_id = crowd.alice.create_room(body).await;
    let member = member(&crowd.fake, 3);

    let answer = crowd.fake.try_make(crowd.server.name(), "join", &room_id, &member).await;

    answer.expect_err(400, "M_UNABLE_TO_AUTHORISE_JOIN");
    crowd.tell_members();
    joined(&crowd.alice, crowd.id()).await;
    crowd.fake.try_make(crowd.server.name(), "join", &room_id, &member).await.expect_ok();
}
