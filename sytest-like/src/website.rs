//! A website: an HTTP server whose pages a case writes, and that remembers who asked for what.

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::net::SocketAddr;
use std::sync::{Arc, Mutex};

use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::{TcpListener, TcpStream};

/// What the site answers under one path.
#[derive(Clone, Debug)]
pub struct Page {
    status: u16,
    headers: Vec<(String, String)>,
    body: Vec<u8>,
    ending: Ending,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Ending {
    /// The body has its length, and ends there.
    Proper,
    /// The body says it goes on, and nothing comes.
    Never,
    /// The body is said over and over again, until the other side has enough.
    Endless,
}

impl Page {
    /// A page of this type.
    pub fn new(content_type: &str, body: impl Into<Vec<u8>>) -> Self {
        let page = Self { status: 200, headers: Vec::new(), body: body.into(), ending: Ending::Proper };
        page.header("content-type", content_type)
    }

    /// A page in UTF-8.
    pub fn html(body: &str) -> Self {
        Self::new("text/html; charset=utf-8", body)
    }

    /// Leads to another address.
    pub fn redirect(status: u16, to: &str) -> Self {
        Self::new("text/plain", "over there").status(status).header("location", to)
    }

    /// Answers with this status.
    #[must_use]
    pub fn status(mut self, status: u16) -> Self {
        self.status = status;
        self
    }

    /// One more header.
    #[must_use]
    pub fn header(mut self, name: &str, value: &str) -> Self {
        self.headers.push((name.to_owned(), value.to_owned()));
        self
    }

    /// The body is followed by silence.
    #[must_use]
    pub fn never_ending(mut self) -> Self {
        self.ending = Ending::Never;
        self
    }

    /// The body is repeated for ever.
    #[must_use]
    pub fn endless(mut self) -> Self {
        self.ending = Ending::Endless;
        self
    }

    fn head(&self) -> String {
        let mut head = format!("HTTP/1.1 {} Answer\r\nconnection: close\r\n", self.status);
        for (name, value) in &self.headers {
            write!(head, "{name}: {value}\r\n").expect("a string takes everything");
        }
        if self.ending == Ending::Proper {
            write!(head, "content-length: {}\r\n", self.body.len()).expect("a string takes everything");
        }
        head + "\r\n"
    }
}

/// A request that the site has heard.
#[derive(Clone, Debug)]
pub struct Heard {
    /// The path with the query.
    pub path: String,
    /// The headers, names in small letters.
    pub headers: BTreeMap<String, String>,
}

#[derive(Debug, Default)]
struct State {
    pages: BTreeMap<String, Page>,
    heard: Vec<Heard>,
}

/// A website on the loopback network, while this value lives.
#[derive(Debug)]
pub struct Website {
    address: SocketAddr,
    state: Arc<Mutex<State>>,
    server: tokio::task::JoinHandle<()>,
}

impl Drop for Website {
    fn drop(&mut self) {
        self.server.abort();
    }
}

impl Website {
    /// A site without pages.
    pub async fn start() -> Self {
        Self::start_at("127.0.0.1").await
    }

    /// A site at one of the many addresses of the loopback network.
    pub async fn start_at(address: &str) -> Self {
        let listener = TcpListener::bind((address, 0)).await.expect("a port is free");
        let address = listener.local_addr().expect("a listener has an address");
        let state = Arc::new(Mutex::new(State::default()));
        let shared = state.clone();
        let server = tokio::spawn(async move {
            while let Ok((stream, _)) = listener.accept().await {
                let state = shared.clone();
                tokio::spawn(async move { serve(stream, &state).await });
            }
        });
        Self { address, state, server }
    }

    /// The address of a path.
    pub fn url(&self, path: &str) -> String {
        format!("http://{}{path}", self.address)
    }

    /// The port, for addresses that are written in another way.
    pub fn port(&self) -> u16 {
        self.address.port()
    }

    /// Writes a page, or writes it anew.
    pub fn put(&self, path: &str, page: Page) {
        self.lock().pages.insert(path.to_owned(), page);
    }

    /// What was asked for so far.
    pub fn heard(&self) -> Vec<Heard> {
        self.lock().heard.clone()
    }

    /// How often a path was asked for.
    pub fn count(&self, path: &str) -> usize {
        self.lock().heard.iter().filter(|heard| heard.path == path).count()
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, State> {
        self.state.lock().expect("nobody panics with the lock")
    }
}

/// Answers the one request of a connection.
async fn serve(mut stream: TcpStream, state: &Mutex<State>) {
    let Some(heard) = read_request(&mut stream).await else { return };
    let page = {
        let mut state = state.lock().expect("nobody panics with the lock");
        let page = state.pages.get(&heard.path).cloned();
        state.heard.push(heard);
        page.unwrap_or_else(|| Page::new("text/plain", "nothing here").status(404))
    };
    let mut is_open = stream.write_all(page.head().as_bytes()).await.is_ok();
    is_open = is_open && stream.write_all(&page.body).await.is_ok();
    match page.ending {
        Ending::Proper => {}
        Ending::Endless => while stream.write_all(&page.body).await.is_ok() {},
        // Until the other side hangs up.
        Ending::Never => {
            let mut rest = [0; 64];
            while is_open && matches!(stream.read(&mut rest).await, Ok(1..)) {}
        }
    }
}

async fn read_request(stream: &mut TcpStream) -> Option<Heard> {
    let mut buffer = Vec::new();
    while !buffer.windows(4).any(|window| window == b"\r\n\r\n") {
        if stream.read_buf(&mut buffer).await.ok()? == 0 {
            return None;
        }
    }
    let head = String::from_utf8_lossy(&buffer).into_owned();
    let mut lines = head.lines();
    let path = lines.next()?.split(' ').nth(1)?.to_owned();
    let headers = lines
        .map_while(|line| line.split_once(':'))
        .map(|(name, value)| (name.to_ascii_lowercase(), value.trim().to_owned()))
        .collect();
    Some(Heard { path, headers })
}
