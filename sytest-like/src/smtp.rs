//! A mail server that takes every mail, and answers what a case wants it to answer.

use std::collections::VecDeque;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use tokio::io::{AsyncBufReadExt as _, AsyncWriteExt as _, BufReader};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::mpsc;

/// How long a case waits for a mail.
const HEARD_WITHIN: Duration = Duration::from_secs(40);

/// A mail as it came.
#[derive(Clone, Debug, Default)]
pub struct Mail {
    /// The sender's address, as the envelope says.
    pub from: String,
    /// The addresses it is for, as the envelope says.
    pub recipients: Vec<String>,
    /// What the client said to prove who it is, as it came.
    pub credentials: Option<String>,
    /// Headers and body, as they came.
    pub raw: String,
}

impl Mail {
    /// The value of a header, with folded lines joined.
    pub fn header(&self, name: &str) -> Option<String> {
        let head = self.raw.split("\r\n\r\n").next()?.replace("\r\n ", " ").replace("\r\n\t", " ");
        head.split("\r\n").find_map(|line| {
            let (key, value) = line.split_once(':')?;
            key.eq_ignore_ascii_case(name).then(|| value.trim().to_owned())
        })
    }

    /// The body, all parts of it, out of the quoted-printable encoding.
    pub fn body(&self) -> String {
        let body = self.raw.split_once("\r\n\r\n").map_or("", |(_, body)| body).replace("=\r\n", "");
        let mut bytes = Vec::with_capacity(body.len());
        let mut rest = body.as_bytes();
        while let Some((&first, after)) = rest.split_first() {
            let code = after.get(..2).and_then(|code| std::str::from_utf8(code).ok());
            match code.and_then(|code| u8::from_str_radix(code, 16).ok()) {
                Some(byte) if first == b'=' => {
                    bytes.push(byte);
                    rest = &after[2..];
                }
                _ => {
                    bytes.push(first);
                    rest = after;
                }
            }
        }
        String::from_utf8_lossy(&bytes).into_owned()
    }
}

type Refusals = Arc<Mutex<VecDeque<String>>>;

/// A mail server, while this value lives.
#[derive(Debug)]
pub struct MailServer {
    /// Its port on 127.0.0.1.
    pub port: u16,
    refusals: Refusals,
    mails: mpsc::UnboundedReceiver<Mail>,
    server: tokio::task::JoinHandle<()>,
}

impl Drop for MailServer {
    fn drop(&mut self) {
        self.server.abort();
    }
}

impl MailServer {
    /// Starts on a free port of the loopback network.
    pub async fn start() -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port is free");
        let port = listener.local_addr().expect("a listener has an address").port();
        let (sender, mails) = mpsc::unbounded_channel();
        let refusals = Refusals::default();
        let shared = refusals.clone();
        let server = tokio::spawn(async move {
            while let Ok((stream, _)) = listener.accept().await {
                let (sender, refusals) = (sender.clone(), shared.clone());
                tokio::spawn(async move { serve(stream, &refusals, &sender).await });
            }
        });
        Self { port, refusals, mails, server }
    }

    /// Answers one mail like this, such as `451 not now`, after having been given it; what comes after those that are
    /// prepared is taken.
    pub fn refuse_next(&self, answer: &str) {
        self.refusals.lock().expect("nobody panics with the lock").push_back(answer.to_owned());
    }

    /// The next mail, taken or not.
    pub async fn next(&mut self) -> Mail {
        let next = tokio::time::timeout(HEARD_WITHIN, self.mails.recv()).await;
        next.expect("a mail comes").expect("the mail server runs")
    }

    /// A mail that came already.
    pub fn try_next(&mut self) -> Option<Mail> {
        self.mails.try_recv().ok()
    }
}

/// The address in `MAIL FROM:<a@b>` or `RCPT TO:<a@b>`.
fn address(line: &str) -> String {
    let inner = line.split_once('<').and_then(|(_, rest)| rest.split_once('>'));
    inner.map_or_else(String::new, |(address, _)| address.to_owned())
}

/// One conversation; ends when the other side hangs up.
async fn serve(stream: TcpStream, refusals: &Refusals, sender: &mpsc::UnboundedSender<Mail>) -> Option<()> {
    let mut stream = BufReader::new(stream);
    let mut mail = Mail::default();
    stream.write_all(b"220 mail.test ESMTP\r\n").await.ok()?;
    loop {
        let mut line = String::new();
        if stream.read_line(&mut line).await.ok()? == 0 {
            return None;
        }
        let line = line.trim_end();
        let answer = match line.get(..4).unwrap_or(line).to_ascii_uppercase().as_str() {
            "EHLO" => "250-mail.test\r\n250-8BITMIME\r\n250 AUTH PLAIN".to_owned(),
            "AUTH" => {
                mail.credentials = line.rsplit(' ').next().map(str::to_owned);
                "235 welcome".to_owned()
            }
            "MAIL" => {
                mail.from = address(line);
                "250 ok".to_owned()
            }
            "RCPT" => {
                mail.recipients.push(address(line));
                "250 ok".to_owned()
            }
            "DATA" => {
                stream.write_all(b"354 go on\r\n").await.ok()?;
                mail.raw = read_data(&mut stream).await?;
                let given = Mail { credentials: mail.credentials.clone(), ..Mail::default() };
                let _ = sender.send(std::mem::replace(&mut mail, given));
                let refusal = refusals.lock().expect("nobody panics with the lock").pop_front();
                refusal.unwrap_or_else(|| "250 ok".to_owned())
            }
            "QUIT" => "221 bye".to_owned(),
            _ => "250 ok".to_owned(),
        };
        stream.write_all(format!("{answer}\r\n").as_bytes()).await.ok()?;
    }
}

/// A mail up to the line with nothing but a dot.
async fn read_data(stream: &mut BufReader<TcpStream>) -> Option<String> {
    let mut text = String::new();
    loop {
        let mut line = String::new();
        if stream.read_line(&mut line).await.ok()? == 0 {
            return None;
        }
        if line == ".\r\n" {
            return Some(text);
        }
        text.push_str(line.strip_prefix('.').unwrap_or(&line));
    }
}
