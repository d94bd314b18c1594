//! Messages to devices: room keys for everybody in a room, and their delivery.

use std::fmt::Write as _;

use anyhow::{Result, ensure};
use memchr::memmem;

use crate::{
    load::{closed_loop, each_once},
    session::Session,
    world::World,
};

const SENDERS: usize = 8;
/// About as long as an encrypted room key.
const CONTENT_BYTES: usize = 900;
/// How many messages one sync tells of at most, in all servers that we know.
const BATCH: usize = 100;

pub(super) async fn run(world: &mut World) -> Result<()> {
    let receivers = world.sizes.to_device_receivers;
    let mut members = world.new_sessions(receivers).await?;
    for session in &mut members {
        session.sync("timeout=0").await?;
    }
    let body = body(&members);
    let users: Vec<_> = members.iter().take(SENDERS).map(|session| session.user.clone()).collect();
    let mut senders: Vec<Session> = users.iter().map(|user| world.session(user)).collect();
    let limit = world.limit(world.sizes.to_device_sends);
    let mut sent = 0;
    let row = world
        .measure("to-device", format!("sent to {receivers} devices"), async {
            let load = closed_loop(&mut senders, limit, async |session, _| {
                let path = format_args!("/sendToDevice/m.room.encrypted/k{}", world.unique());
                session.call("PUT", path, body.as_bytes()).await?;
                Ok(())
            })
            .await;
            sent = load.done();
            Ok(load)
        })
        .await?;
    world.push(row);
    let limit = world.limit(receivers);
    let mut row = world
        .measure("to-device", format!("read by {receivers} devices"), async {
            Ok(each_once(&mut members, SENDERS, limit, async |session| read(session, sent).await).await)
        })
        .await?;
    row.add_note(&format!("{sent} messages each, {} syncs and one that confirms", sent.div_ceil(BATCH)));
    world.push(row);
    Ok(())
}

/// Syncs until all messages are there, and once more, so that the server may forget them.
async fn read(session: &mut Session, sent: usize) -> Result<()> {
    let mut read = 0;
    loop {
        let reply = session.sync("timeout=0").await?;
        let found = memmem::find_iter(reply.body, b"\"ciphertext\"").count();
        read += found;
        if found == 0 {
            break;
        }
    }
    ensure!(read == sent, "{read} messages of {sent}");
    Ok(())
}

fn body(members: &[Session]) -> String {
    let ciphertext = "c".repeat(CONTENT_BYTES);
    let mut body = String::from(r#"{"messages":{"#);
    for (at, member) in members.iter().enumerate() {
        let comma = if at == 0 { "" } else { "," };
        let _ = write!(body, r#"{comma}"{}":{{"*":{{"ciphertext":"{ciphertext}"}}}}"#, member.user.id);
    }
    body.push_str("}}");
    body
}
