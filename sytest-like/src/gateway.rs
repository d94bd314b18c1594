//! A push gateway: an HTTP server that takes what a server pushes, and answers what a case wants it to answer.

use std::collections::VecDeque;
use std::net::SocketAddr;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use serde_json::{Value, json};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::mpsc;

/// How long a case waits for a notification.
const HEARD_WITHIN: Duration = Duration::from_secs(40);

type Answers = Arc<Mutex<VecDeque<(u16, Value)>>>;

/// A push gateway, while this value lives.
#[derive(Debug)]
pub struct Gateway {
    address: SocketAddr,
    answers: Answers,
    taken: mpsc::UnboundedReceiver<Value>,
    server: tokio::task::JoinHandle<()>,
}

impl Drop for Gateway {
    fn drop(&mut self) {
        self.server.abort();
    }
}

impl Gateway {
    /// Starts on a free port of the loopback network.
    pub async fn start() -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port is free");
        let address = listener.local_addr().expect("a listener has an address");
        let answers = Answers::default();
        let (sender, taken) = mpsc::unbounded_channel();
        let shared = answers.clone();
        let server = tokio::spawn(async move {
            while let Ok((stream, _)) = listener.accept().await {
                let (answers, sender) = (shared.clone(), sender.clone());
                tokio::spawn(async move { serve(stream, &answers, &sender).await });
            }
        });
        Self { address, answers, taken, server }
    }

    /// Where pushers send to.
    pub fn url(&self) -> String {
        format!("http://{}/_matrix/push/v1/notify", self.address)
    }

    /// Answers one request like this; what comes after those that are prepared is taken.
    pub fn answer_next(&self, status: u16, body: Value) {
        self.answers.lock().expect("nobody panics with the lock").push_back((status, body));
    }

    /// The next notification, taken or not.
    pub async fn next(&mut self) -> Value {
        let next = tokio::time::timeout(HEARD_WITHIN, self.taken.recv()).await;
        let body = next.expect("the gateway hears of something").expect("the gateway runs");
        body["notification"].clone()
    }

    /// The next notification about this event.
    pub async fn next_about(&mut self, event_id: &str) -> Value {
        loop {
            let notification = self.next().await;
            if notification["event_id"] == event_id {
                return notification;
            }
        }
    }
}

/// Takes requests of one connection until it is closed.
async fn serve(mut stream: TcpStream, answers: &Answers, sender: &mpsc::UnboundedSender<Value>) {
    let mut buffer = Vec::new();
    loop {
        let Some(body) = read_request(&mut stream, &mut buffer).await else { return };
        let next = answers.lock().expect("nobody panics with the lock").pop_front();
        let (status, answer) = next.unwrap_or_else(|| (200, json!({"rejected": []})));
        let _ = sender.send(body);
        let answer = answer.to_string();
        let head = format!(
            "HTTP/1.1 {status} Answer\r\ncontent-type: application/json\r\ncontent-length: {}\r\n\r\n",
            answer.len()
        );
        if stream.write_all((head + &answer).as_bytes()).await.is_err() {
            return;
        }
    }
}

/// The JSON body of the next request.
async fn read_request(stream: &mut TcpStream, buffer: &mut Vec<u8>) -> Option<Value> {
    loop {
        if let Some(end) = buffer.windows(4).position(|window| window == b"\r\n\r\n") {
            let head = String::from_utf8_lossy(&buffer[..end]).to_ascii_lowercase();
            let length = head
                .lines()
                .find_map(|line| line.strip_prefix("content-length:")?.trim().parse::<usize>().ok());
            let total = end + 4 + length.unwrap_or(0);
            if buffer.len() >= total {
                let body = serde_json::from_slice(&buffer[end + 4..total]).unwrap_or_default();
                buffer.drain(..total);
                return Some(body);
            }
        }
        if stream.read_buf(buffer).await.ok()? == 0 {
            return None;
        }
    }
}
