//! A user on a connection, and the requests the scenarios are made of.

use std::{fmt::Write as _, rc::Rc};

use anyhow::{Context as _, Result};
use serde_json::Value;

use crate::client::{Conn, Reply, string_field};

/// A filter that keeps long polls small and lets a burst arrive without a gap.
pub(crate) const WATCH_FILTER: &str = "%7B%22presence%22:%7B%22types%22:%5B%5D%7D,%22room%22:%7B%22timeline%22:%7B%22limit%22:100%7D,\
     %22state%22:%7B%22lazy_load_members%22:true%7D%7D%7D";

/// An account.
#[derive(Debug)]
pub(crate) struct User {
    pub(crate) id: String,
    pub(crate) token: String,
}

/// An account with a connection of its own.
#[derive(Debug)]
pub(crate) struct Session {
    pub(crate) conn: Conn,
    pub(crate) user: Rc<User>,
    /// The last `next_batch`, empty before the first sync.
    pub(crate) since: String,
}

/// Registers an account by the dummy stage, in one request where the server allows it.
pub(crate) async fn register(conn: &mut Conn, name: &str) -> Result<User> {
    let path = format_args!("/_matrix/client/v3/register");
    let body =
        |auth: &str| format!(r#"{{"username":"{name}","password":"bench {name} 8r#q","auth":{auth}}}"#);
    let mut reply = conn.call("POST", path, "", body(r#"{"type":"m.login.dummy"}"#).as_bytes()).await?;
    if reply.status == 401 {
        let session = string_field(reply.body, "session").context("no UIA session")?;
        let auth = format!(r#"{{"type":"m.login.dummy","session":"{session}"}}"#);
        reply = conn.call("POST", path, "", body(&auth).as_bytes()).await?;
    }
    let reply: Value = serde_json::from_slice(reply.ok()?.body)?;
    let field = |name: &str| reply[name].as_str().map(str::to_owned).with_context(|| format!("no {name}"));
    Ok(User { id: field("user_id")?, token: field("access_token")? })
}

impl Session {
    /// Sends any client-server request; the path starts after `/_matrix/client/v3`.
    pub(crate) async fn call(
        &mut self,
        method: &str,
        path: std::fmt::Arguments<'_>,
        body: &[u8],
    ) -> Result<Reply<'_>> {
        let path = format_args!("/_matrix/client/v3{path}");
        let reply = self.conn.call(method, path, &self.user.token, body).await?;
        reply.ok()
    }

    /// The id of the device that the session is of.
    pub(crate) async fn device_id(&mut self) -> Result<String> {
        let reply = self.call("GET", format_args!("/account/whoami"), b"").await?;
        Ok(string_field(reply.body, "device_id").context("no device_id")?.to_owned())
    }

    /// Makes a room that anyone may join.
    pub(crate) async fn create_public_room(&mut self, name: &str) -> Result<String> {
        let body = format!(r#"{{"preset":"public_chat","name":"{name}"}}"#);
        let reply = self.call("POST", format_args!("/createRoom"), body.as_bytes()).await?;
        Ok(string_field(reply.body, "room_id").context("no room_id")?.to_owned())
    }

    pub(crate) async fn join(&mut self, room: &str) -> Result<()> {
        self.call("POST", format_args!("/rooms/{room}/join"), b"{}").await?;
        Ok(())
    }

    /// Joins a room through another server.
    pub(crate) async fn join_via(&mut self, room: &str, server: &str) -> Result<()> {
        let (room, server) = (percent_encode(room), percent_encode(server));
        self.call("POST", format_args!("/join/{room}?via={server}"), b"{}").await?;
        Ok(())
    }

    /// Sends a text message; the transaction id must be new for this user.
    pub(crate) async fn send(&mut self, room: &str, txn: &str, text: &str) -> Result<()> {
        let body = format!(r#"{{"msgtype":"m.text","body":"{text}"}}"#);
        let path = format_args!("/rooms/{room}/send/m.room.message/{txn}");
        let reply = self.call("PUT", path, body.as_bytes()).await?;
        string_field(reply.body, "event_id").context("no event_id")?;
        Ok(())
    }

    /// Syncs from the beginning. A first sync never waits, so that its timeout can be any number; a new one each
    /// time keeps a server that remembers answers to equal requests from giving an old one.
    pub(crate) async fn first_sync(&mut self, unique: usize) -> Result<()> {
        self.since.clear();
        self.sync(&format!("timeout={unique}")).await?;
        Ok(())
    }

    /// Syncs on from the last position with the given rest of the query, and remembers the new position.
    pub(crate) async fn sync(&mut self, query: &str) -> Result<Reply<'_>> {
        let since = if self.since.is_empty() {
            String::new()
        } else {
            format!("&since={}", percent_encode(&self.since))
        };
        let path = format_args!("/_matrix/client/v3/sync?{query}{since}");
        let reply = self.conn.call("GET", path, &self.user.token, b"").await?.ok()?;
        let next = string_field(reply.body, "next_batch").context("no next_batch")?;
        next.clone_into(&mut self.since);
        Ok(reply)
    }

    /// The same by sliding sync, without waiting.
    pub(crate) async fn sliding(&mut self, body: &str) -> Result<Reply<'_>> {
        const PATH: &str = "/_matrix/client/unstable/org.matrix.simplified_msc3575/sync";
        let pos = if self.since.is_empty() {
            String::new()
        } else {
            format!("?pos={}", percent_encode(&self.since))
        };
        let path = format_args!("{PATH}{pos}");
        let reply = self.conn.call("POST", path, &self.user.token, body.as_bytes()).await?.ok()?;
        let next = string_field(reply.body, "pos").context("no pos")?;
        next.clone_into(&mut self.since);
        Ok(reply)
    }
}

/// Encodes what a query's value must not hold as it is.
pub(crate) fn percent_encode(value: &str) -> String {
    let mut encoded = String::with_capacity(value.len());
    for byte in value.bytes() {
        if byte.is_ascii_alphanumeric() || b"-_.~:!$@".contains(&byte) {
            encoded.push(char::from(byte));
        } else {
            let _ = write!(encoded, "%{byte:02X}");
        }
    }
    encoded
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn query_values_are_encoded() {
        assert_eq!(percent_encode("s1_2~a"), "s1_2~a");
        assert_eq!(percent_encode("a+b/c&d"), "a%2Bb%2Fc%26d");
    }
}
