//! Notifications by mail.

use super::scene::Scene;
use sytest_like::{Mail, MailServer, Server, ServerOptions, User, Value, json, path};

/// A server that sends mail, and soon.
fn options(mails: &MailServer) -> ServerOptions {
    ServerOptions::default()
        .kith("email.smtp_host", "\"127.0.0.1\"")
        .kith("email.smtp_port", &mails.port.to_string())
        .kith("email.encryption", "\"none\"")
        .kith("email.from", "\"Kith <kith@example.org>\"")
        .kith("email.notification_addresses", "[\"{localpart}@example.org\"]")
        .kith("email.notification_delay_seconds", "1")
}

fn address(user: &User) -> String {
    format!("{}@example.org", user.localpart())
}

/// A page for people.
async fn text(server: &Server, path: &str) -> String {
    let answer = server.get(path).await.expect_status(200);
    String::from_utf8(answer.body.to_vec()).expect("a page is text")
}

fn pusher(address: &str) -> Value {
    json!({
        "pushkey": address,
        "kind": "email",
        "app_id": "m.email",
        "app_display_name": "Email",
        "device_display_name": address,
        "lang": "en",
        "data": {"brand": "Client"},
    })
}

async fn set(user: &User) {
    user.post("/v3/pushers/set", pusher(&address(user))).await.expect_ok();
}

async fn listed(user: &User) -> Vec<Value> {
    user.get("/v3/pushers").await.expect_ok().array("pushers").clone()
}

/// The path, with its token, of the link that ends such mails.
fn unsubscribe_path(mail: &Mail) -> String {
    let header = mail.header("List-Unsubscribe").expect("mails say how to end them");
    let url = header.trim_matches(['<', '>']);
    assert!(mail.body().contains(url), "the link stands in the text too: {}", mail.body());
    url[url.find("/_kith/").expect("the link leads to the server")..].to_owned()
}

/// What stays unread is mailed, as text and as HTML; what was read meanwhile is not.
/// spec: client-server-api/#post_matrixclientv3pushersset
/// covers: POST /_matrix/client/v3/pushers/set
/// not on synapse: it mails to verified addresses only
#[tokio::test]
async fn unread_messages_are_mailed() {
    let mut mails = MailServer::start().await;
    let server = options(&mails).start().await;
    let scene = Scene::new(&server).await;
    let Scene { alice, bob, carol, room } = &scene;
    set(bob).await;
    set(carol).await;
    let name = json!({"name": "The <Garden>"});
    alice.put(&path!("/v3/rooms/{}/state/m.room.name", room), name).await.expect_ok();
    let event = alice.send_text(room, "have you seen this & that").await;
    scene.read(carol, "m.read", &event, json!({})).await;
    let mail = mails.next().await;
    assert_eq!((mail.from.as_str(), &mail.recipients), ("kith@example.org", &vec![address(bob)]));
    let subject = mail.header("Subject").expect("mails have a subject");
    assert!(subject.ends_with("1 unread message in The <Garden>"), "{subject}");
    let body = mail.body();
    assert!(body.contains("have you seen this & that"), "{body}");
    assert!(body.contains("The &lt;Garden&gt;") && body.contains("have you seen this &amp; that"), "{body}");
    assert!(body.contains(&format!("https://matrix.to/#/{room}")), "{body}");
    assert!(mails.try_next().is_none());
}

/// One mail tells of all that is unread, and only says how much it is when quoting is switched off.
/// spec: client-server-api/#post_matrixclientv3pushersset
/// covers: POST /_matrix/client/v3/pushers/set
/// not on synapse: it mails to verified addresses only
#[tokio::test]
async fn one_mail_tells_of_several_rooms() {
    let mut mails = MailServer::start().await;
    let server = options(&mails).kith("email.include_content", "false").start().await;
    let Scene { alice, bob, room, .. } = Scene::new(&server).await;
    let other = alice.create_public_room().await;
    bob.join(&other).await;
    set(&bob).await;
    let gone = alice.send_text(&room, "regretted words").await;
    alice.put(&path!("/v3/rooms/{}/redact/{}/{}", room, gone, "t"), json!({})).await.expect_ok();
    alice.send_text(&room, "secret words").await;
    alice.send_text(&other, "more secret words").await;
    alice.send_text(&other, "even more secret words").await;
    let mail = mails.next().await;
    let subject = mail.header("Subject").expect("mails have a subject");
    assert!(subject.ends_with("3 unread messages in 2 rooms"), "{subject}");
    let body = mail.body();
    assert!(!body.contains("words"), "{body}");
    assert!(body.contains(&room) && body.contains(&other), "{body}");
}

/// A room that was mailed about is quiet for a while, until the user has read what was in the mail.
/// spec: client-server-api/#post_matrixclientv3pushersset
/// covers: POST /_matrix/client/v3/pushers/set
/// not on synapse: it mails to verified addresses only
#[tokio::test]
async fn mailed_room_is_quiet_until_it_is_read() {
    let mut mails = MailServer::start().await;
    let server = options(&mails).kith("email.notification_delay_seconds", "2").start().await;
    let scene = Scene::new(&server).await;
    let Scene { alice, bob, carol, room } = &scene;
    set(bob).await;
    set(carol).await;
    let first = alice.send_text(room, "number one").await;
    let mut told = [mails.next().await, mails.next().await].map(|mail| mail.recipients[0].clone());
    told.sort();
    assert_eq!(told, [address(bob), address(carol)]);
    scene.read(carol, "m.read", &first, json!({})).await;
    alice.send_text(room, "number two").await;
    // Bob, who has read nothing, waits longer than Carol.
    let mail = mails.next().await;
    assert_eq!(mail.recipients, [address(carol)]);
    let mail = mails.next().await;
    assert_eq!(mail.recipients, [address(bob)]);
    assert!(mail.body().contains("number two") && !mail.body().contains("number one"), "{}", mail.body());
}

/// Mail waits in the database: neither a mail server that is down nor a crash loses any.
/// spec: client-server-api/#post_matrixclientv3pushersset
/// covers: POST /_matrix/client/v3/pushers/set
/// not on synapse: it mails to verified addresses only
#[tokio::test]
async fn mail_survives_refusals_and_a_crash() {
    let mut mails = MailServer::start().await;
    let server =
        options(&mails).kith("email.username", "\"kith\"").kith("email.password", "\"pw\"").start().await;
    let Scene { alice, bob, room, .. } = Scene::new(&server).await;
    set(&bob).await;
    mails.refuse_next("451 not now");
    alice.send_text(&room, "before the crash").await;
    let refused = mails.next().await;
    assert!(refused.body().contains("before the crash"));
    // "\0kith\0pw" in base64.
    assert_eq!(refused.credentials.as_deref(), Some("AGtpdGgAcHc="));
    server.kill9();
    server.start_again().await;
    let mail = mails.next().await;
    assert!(mail.body().contains("before the crash"), "{}", mail.body());
    assert_eq!(unsubscribe_path(&mail), unsubscribe_path(&refused));
}

/// Mail goes to addresses of the user only, and only when there is a mail server.
/// spec: client-server-api/#post_matrixclientv3pushersset
/// covers: POST /_matrix/client/v3/pushers/set
/// not on synapse: it mails to verified addresses only
#[tokio::test]
async fn strangers_get_no_mail() {
    let mails = MailServer::start().await;
    let server = options(&mails).start().await;
    let alice = server.register("alice").await;
    let own = address(&alice);
    let twice = format!("{own}, victim@elsewhere.example");
    let line = format!("{own}\r\nRCPT TO:<victim@elsewhere.example>");
    for foreign in ["bob@example.org", "victim@elsewhere.example", "example.org", "", &twice, &line] {
        alice.post("/v3/pushers/set", pusher(foreign)).await.expect_refused();
    }
    alice.post("/v3/pushers/set", pusher("bob@example.org")).await.expect_err(400, "M_THREEPID_NOT_FOUND");
    let mut other_app = pusher(&own);
    other_app["app_id"] = json!("org.example.app");
    alice.post("/v3/pushers/set", other_app).await.expect_err(400, "M_INVALID_PARAM");
    assert!(listed(&alice).await.is_empty());
    set(&alice).await;
    assert_eq!(listed(&alice).await, [pusher(&own)]);
    let without = Server::shared().await.register("alice").await;
    without.post("/v3/pushers/set", pusher(&address(&without))).await.expect_err(400, "M_INVALID_PARAM");
}

/// The link in a mail shows a page; its button ends the mails, and so does the one click of mail programs.
/// spec: client-server-api/#post_matrixclientv3pushersset
/// covers: POST /_matrix/client/v3/pushers/set
/// not on synapse: it mails to verified addresses only
#[tokio::test]
async fn link_in_the_mail_ends_mails() {
    let mut mails = MailServer::start().await;
    let server = options(&mails).start().await;
    let Scene { alice, bob, room, .. } = Scene::new(&server).await;
    set(&bob).await;
    alice.send_text(&room, "hello").await;
    let mail = mails.next().await;
    assert_eq!(mail.header("List-Unsubscribe-Post").as_deref(), Some("List-Unsubscribe=One-Click"));
    let link = unsubscribe_path(&mail);
    let page = text(&server, &link).await;
    assert!(page.contains("<form method=\"post\">"), "{page}");
    assert_eq!(listed(&bob).await.len(), 1, "looking at the page changes nothing");
    let wrong = link.replace("token=", "token=x");
    server.post(&wrong, json!({})).await.expect_status(200);
    assert_eq!(listed(&bob).await.len(), 1);
    server.post(&link, json!({})).await.expect_status(200);
    assert!(listed(&bob).await.is_empty());
    assert!(!text(&server, &link).await.contains("<form"));
}
