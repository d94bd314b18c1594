//! A keep-alive HTTP/1.1 client that does as little as it can.
//!
//! The load generator shares the machine with what it measures, so each request is one buffer written, one head
//! scanned and no allocation in the steady state. It understands what a Matrix homeserver answers: a length or
//! chunks, nothing more.

use std::{fmt, io, io::Write as _, net::SocketAddr, ops::Range};

use memchr::memmem;
use tokio::{
    io::{AsyncReadExt as _, AsyncWriteExt as _},
    net::TcpStream,
};

/// Room for a usual answer without a second allocation; an idle long poll holds only this.
const READ_BUFFER_BYTES: usize = 2 * 1024;
/// An initial sync may grow the buffer a lot; afterwards it goes back to this.
const KEPT_BUFFER_BYTES: usize = 256 * 1024;

/// An answer, borrowed from the connection's buffer.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Reply<'a> {
    pub(crate) status: u16,
    pub(crate) body: &'a [u8],
}

impl Reply<'_> {
    /// The answer itself when it is a 200, an error with the start of the body otherwise.
    pub(crate) fn ok(self) -> anyhow::Result<Self> {
        if self.status == 200 {
            return Ok(self);
        }
        let start = &self.body[..self.body.len().min(300)];
        anyhow::bail!("status {}: {}", self.status, String::from_utf8_lossy(start))
    }
}

/// One connection to the server, opened at the first request and again when the server has closed it.
#[derive(Debug)]
pub(crate) struct Conn {
    addr: SocketAddr,
    stream: Option<TcpStream>,
    request: Vec<u8>,
    received: Vec<u8>,
}

impl Conn {
    /// A connection that is not opened yet.
    pub(crate) fn new(addr: SocketAddr) -> Self {
        Self { addr, stream: None, request: Vec::new(), received: Vec::new() }
    }

    /// Sends one request and reads its answer. An empty token sends no `Authorization`; `GET` sends no body.
    pub(crate) async fn call(
        &mut self,
        method: &str,
        path: fmt::Arguments<'_>,
        token: &str,
        body: &[u8],
    ) -> io::Result<Reply<'_>> {
        self.request.clear();
        write!(self.request, "{method} {path} HTTP/1.1\r\nHost: {}\r\n", self.addr)?;
        if !token.is_empty() {
            write!(self.request, "Authorization: Bearer {token}\r\n")?;
        }
        if method == "GET" {
            self.request.extend_from_slice(b"\r\n");
        } else {
            write!(self.request, "Content-Type: application/json\r\nContent-Length: {}\r\n\r\n", body.len())?;
            self.request.extend_from_slice(body);
        }
        let head = self.exchange().await?;
        Ok(Reply { status: head.status, body: &self.received[head.body] })
    }

    /// A server may close an idle connection at any moment, so a failure before the first byte is tried once more.
    async fn exchange(&mut self) -> io::Result<Head> {
        let was_open = self.stream.is_some();
        match self.attempt().await {
            Err(_) if was_open && self.received.is_empty() => {
                self.stream = None;
                self.attempt().await
            }
            outcome => outcome,
        }
    }

    async fn attempt(&mut self) -> io::Result<Head> {
        self.received.clear();
        if self.received.capacity() > KEPT_BUFFER_BYTES {
            self.received.shrink_to(KEPT_BUFFER_BYTES);
        }
        // Taken out while in use: a request that is dropped half way must not leave its answer to the next one.
        let mut stream = if let Some(stream) = self.stream.take() {
            stream
        } else {
            let stream = TcpStream::connect(self.addr).await?;
            stream.set_nodelay(true)?;
            stream
        };
        stream.write_all(&self.request).await?;
        let mut head = None;
        loop {
            if self.received.capacity() - self.received.len() < READ_BUFFER_BYTES {
                self.received.reserve(READ_BUFFER_BYTES.max(self.received.len()));
            }
            if stream.read_buf(&mut self.received).await? == 0 {
                return Err(io::ErrorKind::UnexpectedEof.into());
            }
            if head.is_none() {
                head = parse_head(&self.received)?;
            }
            let Some((status, framing)) = &head else { continue };
            let body = match framing.body {
                Body::Length(length) => {
                    let end = framing.body_start + length;
                    (self.received.len() >= end).then_some(framing.body_start..end)
                }
                Body::Chunked => join_chunks(&mut self.received, framing.body_start)?,
            };
            let Some(body) = body else { continue };
            if !framing.closes {
                self.stream = Some(stream);
            }
            return Ok(Head { status: *status, body });
        }
    }
}

#[derive(Debug)]
struct Head {
    status: u16,
    body: Range<usize>,
}

#[derive(Debug, PartialEq, Eq)]
struct Framing {
    body_start: usize,
    body: Body,
    closes: bool,
}

#[derive(Debug, PartialEq, Eq)]
enum Body {
    Length(usize),
    Chunked,
}

/// Reads the status and how the body is framed, or nothing while the head is incomplete.
fn parse_head(received: &[u8]) -> io::Result<Option<(u16, Framing)>> {
    let Some(head_end) = memmem::find(received, b"\r\n\r\n") else { return Ok(None) };
    let head = std::str::from_utf8(&received[..head_end]).map_err(invalid)?;
    let status = head
        .get(9..12)
        .filter(|_| head.starts_with("HTTP/1."))
        .ok_or_else(|| invalid("no status line"))?
        .parse()
        .map_err(invalid)?;
    let mut framing = Framing { body_start: head_end + 4, body: Body::Length(0), closes: false };
    for line in head.lines().skip(1) {
        let Some((name, value)) = line.split_once(':') else { continue };
        let value = value.trim();
        if name.eq_ignore_ascii_case("content-length") {
            framing.body = Body::Length(value.parse().map_err(invalid)?);
        } else if name.eq_ignore_ascii_case("transfer-encoding") {
            framing.body = Body::Chunked;
        } else if name.eq_ignore_ascii_case("connection") {
            framing.closes = value.eq_ignore_ascii_case("close");
        }
    }
    Ok(Some((status, framing)))
}

/// Moves the chunks together once all have arrived, and tells where the joined body lies.
fn join_chunks(received: &mut [u8], start: usize) -> io::Result<Option<Range<usize>>> {
    let mut chunks = Vec::new();
    let mut at = start;
    loop {
        let Some(line) = memmem::find(&received[at..], b"\r\n") else { return Ok(None) };
        let size = std::str::from_utf8(&received[at..at + line]).map_err(invalid)?;
        let size = size.split(';').next().unwrap_or_default().trim();
        let size = usize::from_str_radix(size, 16).map_err(invalid)?;
        let data = at + line + 2;
        if received.len() < data + size + 2 {
            return Ok(None);
        }
        if size == 0 {
            break;
        }
        chunks.push(data..data + size);
        at = data + size + 2;
    }
    let mut end = start;
    for chunk in chunks {
        let length = chunk.len();
        received.copy_within(chunk, end);
        end += length;
    }
    Ok(Some(start..end))
}

fn invalid(error: impl Into<Box<dyn std::error::Error + Send + Sync>>) -> io::Error {
    io::Error::new(io::ErrorKind::InvalidData, error)
}

/// The string value of the first `"name":"value"` in a JSON text, without parsing the rest.
///
/// Good for ids and tokens, which contain no escapes.
pub(crate) fn string_field<'a>(json: &'a [u8], name: &str) -> Option<&'a str> {
    let mut from = 0;
    while let Some(found) = memmem::find(&json[from..], name.as_bytes()) {
        let start = from + found;
        let end = start + name.len();
        from = end;
        if start == 0 || json[start - 1] != b'"' || json.get(end) != Some(&b'"') {
            continue;
        }
        let rest = json[end + 1..].trim_ascii_start();
        let Some(rest) = rest.strip_prefix(b":") else { continue };
        let Some(rest) = rest.trim_ascii_start().strip_prefix(b"\"") else { continue };
        let length = memchr::memchr(b'"', rest)?;
        return std::str::from_utf8(&rest[..length]).ok();
    }
    None
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn head_with_length_is_read() {
        let head = b"HTTP/1.1 404 Not Found\r\ncontent-LENGTH: 12\r\nConnection: close\r\n\r\n{}";
        let (status, framing) = parse_head(head).unwrap().unwrap();
        assert_eq!(status, 404);
        assert_eq!(framing, Framing { body_start: head.len() - 2, body: Body::Length(12), closes: true });
    }

    #[test]
    fn incomplete_head_waits() {
        assert!(parse_head(b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n").unwrap().is_none());
    }

    #[test]
    fn chunks_are_joined_once_complete() {
        let mut received = b"head3\r\n{\"a\r\n4;x=y\r\n\":1}\r\n0\r\n\r\n".to_vec();
        let complete = received.len();
        for length in 4..complete {
            assert_eq!(join_chunks(&mut received.clone()[..length], 4).unwrap(), None);
        }
        let body = join_chunks(&mut received, 4).unwrap().unwrap();
        assert_eq!(&received[body], b"{\"a\":1}");
    }

    #[test]
    fn string_field_skips_other_uses_of_the_name() {
        let json = br#"{"body":"end","the_end":"x","end" : "t47-1"}"#;
        assert_eq!(string_field(json, "end"), Some("t47-1"));
        assert_eq!(string_field(json, "start"), None);
    }

    #[tokio::test(flavor = "current_thread")]
    async fn closed_idle_connection_is_opened_again() {
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
        let addr = listener.local_addr().unwrap();
        let serve = async {
            for _ in 0..2 {
                let (mut stream, _) = listener.accept().await.unwrap();
                let mut request = [0; 1024];
                assert!(stream.read(&mut request).await.unwrap() > 0);
                stream.write_all(b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\n{}").await.unwrap();
            }
        };
        let ask = async {
            let mut conn = Conn::new(addr);
            for _ in 0..2 {
                let reply = conn.call("GET", format_args!("/"), "", b"").await.unwrap();
                assert_eq!((reply.status, reply.body), (200, &b"{}"[..]));
            }
        };
        tokio::join!(serve, ask);
    }
}
