//! Senders and watchers that go on through crashes, as well-behaved clients do.

use std::collections::{BTreeMap, HashMap, HashSet};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::time::Duration;

use futures_util::future::join_all;
use sytest_like::{Request, Response, Server, User, Value, json, path, unique};
use tokio::sync::Notify;
use tokio::task::JoinHandle;

const ROOMS: usize = 3;
const SENDERS: usize = 6;
const WATCHERS: usize = 3;
/// A client does not hammer a server that is gone.
const BACKOFF: Duration = Duration::from_millis(20);
/// A crashed server or database is back within this.
const BACK_WITHIN: Duration = Duration::from_mins(2);

/// What the clients share with the case.
#[derive(Default)]
struct Progress {
    acknowledged: AtomicUsize,
    news: Notify,
    finish: AtomicBool,
    /// How many messages there are in all, known once the senders have finished.
    expected: AtomicUsize,
}

/// An acknowledged message: who sent it as which number, and the id it got.
struct Sent {
    room: usize,
    body: String,
    event_id: String,
}

/// What a watcher heard in each room, in its order: event id and body.
type Heard = HashMap<String, Vec<(String, String)>>;

/// The running load.
pub(crate) struct Load {
    rooms: Vec<String>,
    observer: User,
    progress: Arc<Progress>,
    senders: Vec<JoinHandle<Vec<Sent>>>,
    topics: JoinHandle<String>,
    watchers: Vec<JoinHandle<Heard>>,
}

/// One user, and the replicas it can turn to.
#[derive(Clone)]
struct Client {
    replicas: Vec<User>,
    current: usize,
}

impl Client {
    fn new(user: &User, replicas: &[Server], first: usize) -> Self {
        let replicas: Vec<_> = replicas.iter().map(|server| server.as_seen_here(user)).collect();
        Self { current: first % replicas.len(), replicas }
    }

    /// Asks until some replica answers; a lost answer or a 5xx is asked again, elsewhere if there is an elsewhere.
    async fn ask(&mut self, request: impl Fn(&User) -> Request) -> Response {
        let attempts = async {
            loop {
                match request(&self.replicas[self.current]).try_send().await {
                    Ok(answer) if answer.status < 500 => return answer,
                    _ => self.current = (self.current + 1) % self.replicas.len(),
                }
                tokio::time::sleep(BACKOFF).await;
            }
        };
        tokio::time::timeout(BACK_WITHIN, attempts).await.expect("the server comes back")
    }
}

impl Load {
    /// Makes users and rooms and sets the clients off.
    pub(crate) async fn start(replicas: &[Server]) -> Self {
        let progress = Arc::new(Progress::default());
        let owner = replicas[0].register("owner").await;
        let rooms = join_all((0..ROOMS).map(|_| owner.create_public_room())).await;
        let mut load = Self {
            rooms: rooms.clone(),
            observer: owner.clone(),
            progress: progress.clone(),
            senders: Vec::new(),
            topics: tokio::spawn(change_topic(
                Client::new(&owner, replicas, 0),
                rooms[0].clone(),
                progress.clone(),
            )),
            watchers: Vec::new(),
        };
        for number in 0..WATCHERS {
            let user = replicas[0].register("watcher").await;
            for room in &rooms {
                user.join(room).await;
            }
            let since = user.sync().await.str("next_batch").to_owned();
            let client = Client::new(&user, replicas, number);
            load.watchers.push(tokio::spawn(watch(client, since, progress.clone())));
        }
        for number in 0..SENDERS {
            let user = replicas[0].register("sender").await;
            let room = number % ROOMS;
            user.join(&rooms[room]).await;
            let client = Client::new(&user, replicas, number);
            load.senders.push(tokio::spawn(send(client, rooms.clone(), room, number, progress.clone())));
        }
        load
    }

    /// Waits until the server has acknowledged this many more messages.
    pub(crate) async fn acknowledges(&self, more: usize) {
        let target = self.progress.acknowledged.load(Ordering::SeqCst) + more;
        let reached = async {
            loop {
                let news = self.progress.news.notified();
                if self.progress.acknowledged.load(Ordering::SeqCst) >= target {
                    return;
                }
                news.await;
            }
        };
        tokio::time::timeout(BACK_WITHIN, reached).await.expect("the server goes on acknowledging messages");
    }

    /// Ends the load and checks what everybody knows.
    pub(crate) async fn finish(self) {
        self.progress.finish.store(true, Ordering::SeqCst);
        let sent: Vec<Sent> = join_all(self.senders)
            .await
            .into_iter()
            .flat_map(|sender| sender.expect("a sender goes on"))
            .collect();
        let topic = self.topics.await.expect("the topics go on");
        self.progress.expected.store(sent.len(), Ordering::SeqCst);
        let heard: Vec<Heard> = join_all(self.watchers)
            .await
            .into_iter()
            .map(|heard| heard.expect("a watcher goes on"))
            .collect();

        for (number, room) in self.rooms.iter().enumerate() {
            let in_room: Vec<&Sent> = sent.iter().filter(|message| message.room == number).collect();
            let first = &heard[0][room];
            check_heard(&in_room, first);
            for other in &heard[1..] {
                assert_eq!(&other[room], first, "two watchers heard {room} differently");
            }
            let mut stored: Vec<String> =
                history(&self.observer, room).await.into_iter().map(|(event_id, _)| event_id).collect();
            let mut expected: Vec<String> = in_room.iter().map(|message| message.event_id.clone()).collect();
            stored.sort();
            expected.sort();
            assert_eq!(stored, expected, "the history of {room} is not what was acknowledged");
        }
        self.observer.get_state(&self.rooms[0], "m.room.topic", "").await.expect_ok().has("topic", topic);
    }
}

/// Each acknowledged message once, each sender's in the order it sent them.
fn check_heard(sent: &[&Sent], heard: &[(String, String)]) {
    let ids: HashSet<&String> = heard.iter().map(|(event_id, _)| event_id).collect();
    assert_eq!(ids.len(), heard.len(), "an event was heard twice");
    let bodies: HashMap<&String, &String> = heard.iter().map(|(event_id, body)| (body, event_id)).collect();
    assert_eq!(bodies.len(), heard.len(), "a message was stored twice under two ids");
    for message in sent {
        assert_eq!(bodies.get(&message.body), Some(&&message.event_id), "{}", message.body);
    }
    assert_eq!(heard.len(), sent.len(), "something was heard that nobody was told of");
    let mut last: BTreeMap<&str, usize> = BTreeMap::new();
    for (_, body) in heard {
        let (sender, number) = body.split_once(' ').expect("a body is `sender number`");
        let number: usize = number.parse().expect("a body is `sender number`");
        let before = last.insert(sender, number);
        assert!(before.is_none_or(|before| before + 1 == number), "{body} came after {before:?}");
    }
}

async fn send(
    mut client: Client,
    rooms: Vec<String>,
    room: usize,
    sender: usize,
    progress: Arc<Progress>,
) -> Vec<Sent> {
    let mut sent = Vec::new();
    while !progress.finish.load(Ordering::SeqCst) {
        let body = format!("{sender} {}", sent.len());
        let path = path!("/v3/rooms/{}/send/m.room.message/{}", rooms[room], unique("txn"));
        let content = json!({"msgtype": "m.text", "body": body});
        let answer = client.ask(|user| user.put(&path, content.clone())).await.expect_ok();
        sent.push(Sent { room, body, event_id: answer.str("event_id").to_owned() });
        progress.acknowledged.fetch_add(1, Ordering::SeqCst);
        progress.news.notify_waiters();
    }
    sent
}

/// State changes beside the messages; returns the last topic that was acknowledged.
async fn change_topic(mut client: Client, room: String, progress: Arc<Progress>) -> String {
    let mut topic = String::new();
    let mut number = 0;
    while number == 0 || !progress.finish.load(Ordering::SeqCst) {
        number += 1;
        topic = format!("topic {number}");
        let path = path!("/v3/rooms/{}/state/m.room.topic", room);
        let content = json!({"topic": topic});
        client.ask(|user| user.put(&path, content.clone())).await.expect_ok();
    }
    topic
}

async fn watch(mut client: Client, mut since: String, progress: Arc<Progress>) -> Heard {
    let mut heard = Heard::new();
    let mut is_last = false;
    loop {
        let answer = client.ask(|user| user.sync().since(&since).timeout(1_000).request()).await.expect_ok();
        let rooms = answer.json["rooms"]["join"].as_object().cloned().unwrap_or_default();
        for (room, entry) in rooms {
            let timeline = &entry["timeline"];
            let mut news = messages_in(&timeline["events"]);
            let known = heard.entry(room.clone()).or_default();
            if timeline["limited"] == true {
                let from = timeline["prev_batch"].as_str().expect("a limited timeline has a prev_batch");
                let gap = fill_gap(&mut client, &room, from, &since, known).await;
                news.splice(0..0, gap);
            }
            known.extend(news);
        }
        answer.str("next_batch").clone_into(&mut since);
        if is_last {
            return heard;
        }
        // One more round after the last message, to hear what should not be there.
        let count: usize = heard.values().map(Vec::len).sum();
        let expected = progress.expected.load(Ordering::SeqCst);
        is_last = expected > 0 && count >= expected;
    }
}

/// The messages between what was heard before and a limited timeline, oldest first.
async fn fill_gap(
    client: &mut Client,
    room: &str,
    from: &str,
    to: &str,
    known: &[(String, String)],
) -> Vec<(String, String)> {
    let known: HashSet<&String> = known.iter().map(|(event_id, _)| event_id).collect();
    let mut from = from.to_owned();
    let mut gap = Vec::new();
    loop {
        let path = path!("/v3/rooms/{}/messages", room);
        let answer = client
            .ask(|user| {
                user.get(&path).query("dir", "b").query("limit", "100").query("from", &from).query("to", to)
            })
            .await
            .expect_ok();
        let events = messages_in(answer.at("chunk"));
        let has_known = events.iter().any(|(event_id, _)| known.contains(event_id));
        gap.extend(events.into_iter().filter(|(event_id, _)| !known.contains(event_id)));
        match answer.get("end").and_then(Value::as_str) {
            Some(end) if !has_known => end.clone_into(&mut from),
            _ => break,
        }
    }
    gap.reverse();
    gap
}

/// All messages of a room, newest first.
async fn history(user: &User, room: &str) -> Vec<(String, String)> {
    let mut all = Vec::new();
    let mut from: Option<String> = None;
    loop {
        let mut request =
            user.get(&path!("/v3/rooms/{}/messages", room)).query("dir", "b").query("limit", "100");
        if let Some(from) = &from {
            request = request.query("from", from);
        }
        let answer = request.await.expect_ok();
        all.extend(messages_in(answer.at("chunk")));
        match answer.get("end").and_then(Value::as_str) {
            Some(end) if !answer.array("chunk").is_empty() => from = Some(end.to_owned()),
            _ => return all,
        }
    }
}

fn messages_in(events: &Value) -> Vec<(String, String)> {
    let text = |value: &Value| value.as_str().unwrap_or_default().to_owned();
    events
        .as_array()
        .into_iter()
        .flatten()
        .filter(|event| event["type"] == "m.room.message")
        .map(|event| (text(&event["event_id"]), text(&event["content"]["body"])))
        .collect()
}
