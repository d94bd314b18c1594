//! How a mail about unread messages reads.

use std::fmt::Write as _;

use serde_json::Value;

use crate::html::escape;

/// The most characters of a message that a mail quotes.
const MAX_QUOTE_CHARS: usize = 300;
/// The most characters of a name in a subject.
const MAX_SUBJECT_NAME_CHARS: usize = 60;

/// Everything that one mail tells.
#[derive(Debug)]
pub(super) struct Digest {
    /// This server.
    pub(super) server_name: String,
    /// What is unread in which room.
    pub(super) rooms: Vec<DigestRoom>,
}

/// What is unread in a room.
#[derive(Debug)]
pub(super) struct DigestRoom {
    /// Its name for people.
    pub(super) name: String,
    /// Where it can be read.
    pub(super) url: String,
    /// How many messages.
    pub(super) count: u64,
    /// The newest of them, oldest first; none if the mail quotes nothing.
    pub(super) lines: Vec<Line>,
}

/// A message.
#[derive(Debug)]
pub(super) struct Line {
    /// The sender's name for people.
    pub(super) sender: String,
    /// What they said.
    pub(super) said: String,
}

impl Line {
    /// What a message says, in one line.
    pub(super) fn said(event_type: &str, content: &Value) -> String {
        let body = content.get("body").and_then(Value::as_str);
        let file = match content.get("msgtype").and_then(Value::as_str) {
            Some("m.image") => Some("a picture"),
            Some("m.video") => Some("a video"),
            Some("m.audio") => Some("a recording"),
            Some("m.file") => Some("a file"),
            Some("m.location") => Some("a place"),
            _ => None,
        };
        match (event_type, file, body) {
            ("m.room.encrypted", ..) => "(an encrypted message)".to_owned(),
            ("m.room.member", ..) => "(an invitation)".to_owned(),
            ("m.sticker", ..) => "(a sticker)".to_owned(),
            (_, Some(file), _) => format!("({file})"),
            (_, None, Some(body)) => shorten(body, MAX_QUOTE_CHARS),
            (_, None, None) => format!("({})", shorten(event_type, MAX_QUOTE_CHARS)),
        }
    }
}

impl Digest {
    pub(super) fn subject(&self) -> String {
        let count: u64 = self.rooms.iter().map(|room| room.count).sum();
        let messages = messages(count);
        match self.rooms.as_slice() {
            [room] => {
                format!(
                    "[{}] {messages} in {}",
                    self.server_name,
                    shorten(&room.name, MAX_SUBJECT_NAME_CHARS)
                )
            }
            rooms => format!("[{}] {messages} in {} rooms", self.server_name, rooms.len()),
        }
    }

    pub(super) fn text(&self, unsubscribe_url: &str) -> String {
        let mut text = String::from("You have not read:\n");
        for room in &self.rooms {
            put(&mut text, format_args!("\n{}: {}\n", one_line(&room.name), messages(room.count)));
            for line in &room.lines {
                put(&mut text, format_args!("  {}: {}\n", one_line(&line.sender), line.said));
            }
            put(&mut text, format_args!("  {}\n", room.url));
        }
        put(&mut text, format_args!("\n-- \n{WHY}\nTo end them: {unsubscribe_url}\n"));
        text
    }

    pub(super) fn html(&self, unsubscribe_url: &str) -> String {
        let mut html = String::from(
            "<!DOCTYPE html>\n<html lang=\"en\"><head><meta charset=\"utf-8\"></head>\n\
             <body style=\"font-family: sans-serif; max-width: 40em\">\n<p>You have not read:</p>\n",
        );
        for room in &self.rooms {
            put(
                &mut html,
                format_args!(
                    "<h3 style=\"margin-bottom: 0.3em\"><a href=\"{}\">{}</a>: {}</h3>\n",
                    escape(&room.url),
                    escape(&one_line(&room.name)),
                    messages(room.count)
                ),
            );
            for line in &room.lines {
                put(
                    &mut html,
                    format_args!(
                        "<p style=\"margin: 0.3em 0 0.3em 1em\"><b>{}</b>: {}</p>\n",
                        escape(&one_line(&line.sender)),
                        escape(&line.said)
                    ),
                );
            }
        }
        put(
            &mut html,
            format_args!(
                "<hr>\n<p style=\"color: #666; font-size: small\">{} <a href=\"{}\">End them</a></p>\n</body></html>\n",
                escape(WHY),
                escape(unsubscribe_url)
            ),
        );
        html
    }
}

const WHY: &str = "You get these mails because a client of yours asked for them; its settings say how.";

/// Adds to a text.
fn put(text: &mut String, what: std::fmt::Arguments<'_>) {
    text.write_fmt(what).expect("a string takes everything");
}

fn messages(count: u64) -> String {
    format!("{count} unread message{}", if count == 1 { "" } else { "s" })
}

/// Leaves out what would begin another line, or is not to be seen.
fn one_line(text: &str) -> String {
    text.split(char::is_whitespace)
        .filter(|word| !word.is_empty())
        .collect::<Vec<_>>()
        .join(" ")
        .replace(char::is_control, "")
}

/// The beginning of a text, in one line.
fn shorten(text: &str, max_chars: usize) -> String {
    let line = one_line(text);
    match line.char_indices().nth(max_chars) {
        Some((end, _)) => format!("{}…", &line[..end]),
        None => line,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn digest(rooms: Vec<DigestRoom>) -> Digest {
        Digest { server_name: "example.org".to_owned(), rooms }
    }

    fn room(name: &str, count: u64) -> DigestRoom {
        let lines = vec![Line { sender: "<b>Eve</b>".to_owned(), said: "1 < 2".to_owned() }];
        DigestRoom { name: name.to_owned(), url: "https://matrix.to/#/!r".to_owned(), count, lines }
    }

    #[test]
    fn quotes_are_one_short_line() {
        assert_eq!(shorten("two\r\nlines\u{0}", 100), "two lines");
        assert_eq!(shorten(&"ä".repeat(400), 3), "äää…");
    }

    #[test]
    fn subject_counts_and_cannot_be_broken_out_of() {
        assert_eq!(
            digest(vec![room("A\r\nBcc: x@y.z", 1)]).subject(),
            "[example.org] 1 unread message in A Bcc: x@y.z"
        );
        assert_eq!(
            digest(vec![room("a", 1), room("b", 2)]).subject(),
            "[example.org] 3 unread messages in 2 rooms"
        );
    }

    #[test]
    fn names_are_no_markup() {
        let html = digest(vec![room("<script>", 1)]).html("https://example.org/?token=x");
        assert!(
            html.contains("&lt;script&gt;") && html.contains("&lt;b&gt;Eve") && html.contains("1 &lt; 2")
        );
        assert!(!html.contains("<script>"));
    }

    #[test]
    fn what_cannot_be_quoted_is_named() {
        assert_eq!(Line::said("m.room.encrypted", &json!({})), "(an encrypted message)");
        assert_eq!(
            Line::said("m.room.message", &json!({"msgtype": "m.image", "body": "x.png"})),
            "(a picture)"
        );
        assert_eq!(Line::said("m.room.message", &json!({"msgtype": "m.text", "body": "hi"})), "hi");
        assert_eq!(Line::said("org.example", &json!({})), "(org.example)");
    }
}
