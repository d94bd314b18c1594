//! A bot from a registry, matrix-commander, run as its manual says.

use std::process::{Output, Stdio};

use sytest_like::{Server, ServerOptions, User, Value, json, path, unique};

use crate::{Faults, Libraries, end_of_log};

/// Ids with a port in them are none to the bot.
const SERVER_NAME: &str = "bots.test";

pub(super) async fn run(libraries: &Libraries) -> Result<Faults, String> {
    let server = ServerOptions::default()
        .kith("server.name", &format!("{SERVER_NAME:?}"))
        .synapse("server_name", json!(SERVER_NAME))
        .start()
        .await;
    let (human, account) = (server.register("human").await, server.register("bot").await);
    let name = unique("meeting");
    let room = human
        .create_room(json!({"preset": "private_chat", "room_alias_name": name, "invite": [account.id]}))
        .await;
    let bot = Bot { libraries, directory: tempfile() };
    let alias = format!("#{name}:{SERVER_NAME}");
    let faults = converse(&bot, &server, (&human, &account), (&room, &alias)).await;
    let _ = std::fs::remove_dir_all(&bot.directory);
    faults.map(|faults| Faults { what: "what a bot does".to_owned(), faults })
}

async fn converse(
    bot: &Bot<'_>,
    server: &Server,
    (human, account): (&User, &User),
    (room, alias): (&str, &str),
) -> Result<Vec<String>, String> {
    let run = |arguments: &[&str]| bot.run(arguments).ok_or_else(|| end_of_log(server));
    run(&[
        "--login",
        "password",
        "--homeserver",
        server.base_url(),
        "--user-login",
        &account.id,
        "--password",
        &account.password,
        "--device",
        "bot",
        "--room-default",
        alias,
    ])?;
    run(&["--room-join", alias])?;
    run(&["--room", alias, "--message", "hello from the bot"])?;
    human.send_text(room, "hello bot").await;
    let heard = run(&["--listen", "once", "--output", "json"])?;
    let own_room = unique("made-by-bot");
    run(&["--room-create", &own_room, "--name", "Made by a bot", "--plain"])?;
    run(&["--room-invite", &own_room, "--user", &human.id])?;
    let rooms = run(&["--joined-rooms"])?;
    run(&["--logout", "me"])?;

    let mut faults = Vec::new();
    let heard: Vec<Value> = heard.lines().filter_map(|line| serde_json::from_str(line).ok()).collect();
    if !heard.iter().any(|event| event["source"]["content"]["body"] == "hello bot") {
        faults.push(format!("the bot heard {heard:?}"));
    }
    if !rooms.contains(room) || rooms.lines().filter(|line| line.starts_with('!')).count() != 2 {
        faults.push(format!("the bot is in the rooms {rooms}"));
    }
    let page = human.get(&path!("/v3/rooms/{}/messages", room)).query("dir", "b").await.expect_ok();
    if !page.array("chunk").iter().any(|event| event["content"]["body"] == "hello from the bot") {
        faults.push(format!("the human saw {page}"));
    }
    let alias = format!("#{own_room}:{SERVER_NAME}");
    let made = human.post(&path!("/v3/join/{}", alias), json!({})).await;
    if made.status != 200 {
        faults.push(format!("the human could not follow the bot: {made}"));
    }
    Ok(faults)
}

/// The program, and where it keeps what it remembers.
struct Bot<'a> {
    libraries: &'a Libraries,
    directory: std::path::PathBuf,
}

impl Bot<'_> {
    /// Runs the bot once, and gives what it says; `None` when it fails.
    fn run(&self, arguments: &[&str]) -> Option<String> {
        let mut command = self.libraries.program("matrix-commander");
        command.current_dir(&self.directory).args(["--credentials", "credentials.json", "--store", "store"]);
        let output = command.args(arguments).stdin(Stdio::null()).output();
        let Output { status, stdout, stderr } = output.unwrap_or_else(|error| panic!("{command:?}: {error}"));
        let said = String::from_utf8_lossy(&stdout).into_owned();
        if !status.success() {
            println!("{command:?} ended with {status}\n{said}{}", String::from_utf8_lossy(&stderr));
        }
        Some(said).filter(|_| status.success())
    }
}

fn tempfile() -> std::path::PathBuf {
    let directory = std::env::temp_dir().join(unique("kith-bot"));
    std::fs::create_dir_all(&directory).expect("a directory for the bot can be made");
    directory
}
