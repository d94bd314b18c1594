//! Files on their way to and from a server, without being held here: what is measured is the server, and a generator that
//! holds a gigabyte would disturb it.

use std::net::SocketAddr;

use anyhow::{Context as _, Result, ensure};
use memchr::memmem;
use tokio::{
    io::{AsyncReadExt as _, AsyncWriteExt as _},
    net::TcpStream,
};

use crate::client::string_field;

/// How much is read and written at once.
const PIECE_BYTES: usize = 256 * 1024;

/// What is uploaded: some bytes, and after them as many zeros as it takes.
#[derive(Debug, Clone, Copy)]
pub(crate) struct File<'a> {
    pub(crate) content_type: &'a str,
    pub(crate) start: &'a [u8],
    pub(crate) length: u64,
}

/// Uploads a file; returns what stands behind `mxc://`.
pub(crate) async fn upload(addr: SocketAddr, token: &str, file: File<'_>) -> Result<String> {
    let head = format!(
        "POST /_matrix/media/v3/upload HTTP/1.1\r\nHost: {addr}\r\nAuthorization: Bearer {token}\r\n\
         Content-Type: {}\r\nContent-Length: {}\r\nConnection: close\r\n\r\n",
        file.content_type, file.length
    );
    let mut stream = TcpStream::connect(addr).await?;
    stream.write_all(head.as_bytes()).await?;
    stream.write_all(file.start).await?;
    let zeros = vec![0; PIECE_BYTES];
    let mut left = file.length - file.start.len() as u64;
    while left > 0 {
        let piece = left.min(PIECE_BYTES as u64);
        stream.write_all(&zeros[..piece as usize]).await?;
        left -= piece;
    }
    let mut answer = Vec::new();
    stream.read_to_end(&mut answer).await?;
    let answer_text = String::from_utf8_lossy(&answer);
    ensure!(
        answer.starts_with(b"HTTP/1.1 200"),
        "upload: {}",
        answer_text.chars().take(400).collect::<String>()
    );
    let uri = string_field(&answer, "content_uri").context("no content_uri")?;
    Ok(uri.strip_prefix("mxc://").context("content_uri is no mxc URI")?.to_owned())
}

/// Downloads a file and throws it away; returns how long it was.
pub(crate) async fn download(addr: SocketAddr, token: &str, path: &str) -> Result<u64> {
    let head = format!(
        "GET {path} HTTP/1.1\r\nHost: {addr}\r\nAuthorization: Bearer {token}\r\nConnection: close\r\n\r\n"
    );
    let mut stream = TcpStream::connect(addr).await?;
    stream.write_all(head.as_bytes()).await?;
    let mut buffer = vec![0; PIECE_BYTES];
    let mut filled = 0;
    let body_start = loop {
        let read = stream.read(&mut buffer[filled..]).await?;
        ensure!(read > 0, "the answer ended in its head");
        filled += read;
        if let Some(end) = memmem::find(&buffer[..filled], b"\r\n\r\n") {
            break end + 4;
        }
    };
    let start = String::from_utf8_lossy(&buffer[..filled.min(400)]).into_owned();
    ensure!(buffer.starts_with(b"HTTP/1.1 200"), "download: {start}");
    let mut length = (filled - body_start) as u64;
    loop {
        match stream.read(&mut buffer).await? {
            0 => return Ok(length),
            read => length += read as u64,
        }
    }
}
