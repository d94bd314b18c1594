//! Reading an answer of several parts as it comes.
//!
//! <https://www.rfc-editor.org/rfc/rfc2046#section-5.1>

use bytes::{Bytes, BytesMut};
use futures_util::{
    StreamExt as _,
    stream::{self, BoxStream},
};
use http::{HeaderMap, HeaderName, HeaderValue};
use media_repo::ports::FetchError;

/// How much may stand before a part, and how long its headers may be.
const MAX_HEAD_BYTES: usize = 64 * 1024;
/// The longest boundary, as the standard says.
const MAX_BOUNDARY: usize = 70;

/// The boundary that a content type names, if it is one of several parts.
pub(super) fn boundary(content_type: &str) -> Option<String> {
    let (essence, parameters) = content_type.split_once(';')?;
    if !essence.trim().to_ascii_lowercase().starts_with("multipart/") {
        return None;
    }
    let value = parameters.split(';').find_map(|parameter| {
        let (name, value) = parameter.split_once('=')?;
        name.trim().eq_ignore_ascii_case("boundary").then(|| value.trim().trim_matches('"'))
    })?;
    (1..=MAX_BOUNDARY).contains(&value.len()).then(|| value.to_owned())
}

/// An answer of several parts.
pub(super) struct Multipart {
    source: BoxStream<'static, Result<Bytes, FetchError>>,
    buffer: BytesMut,
    delimiter: Vec<u8>,
}

impl Multipart {
    pub(super) fn new(source: BoxStream<'static, Result<Bytes, FetchError>>, boundary: &str) -> Self {
        // The first boundary has no line before it; with this one it looks like all others.
        Self {
            source,
            buffer: BytesMut::from(&b"\r\n"[..]),
            delimiter: format!("\r\n--{boundary}").into_bytes(),
        }
    }

    /// Goes to the next part; its headers.
    pub(super) async fn next_part(&mut self) -> Result<HeaderMap, FetchError> {
        let delimiter = self.delimiter.clone();
        self.read_past(&delimiter).await?;
        // What stands behind the boundary in its line; `--` says that there are no more parts.
        let rest = self.read_past(b"\r\n").await?;
        if rest.starts_with(b"--") {
            return Err(malformed("a part is missing"));
        }
        let mut headers = HeaderMap::new();
        loop {
            let line = self.read_past(b"\r\n").await?;
            if line.is_empty() {
                return Ok(headers);
            }
            let Some(colon) = line.iter().position(|byte| *byte == b':') else { continue };
            let value = line[colon + 1..].trim_ascii();
            if let (Ok(name), Ok(value)) =
                (HeaderName::from_bytes(line[..colon].trim_ascii()), HeaderValue::from_bytes(value))
            {
                headers.insert(name, value);
            }
        }
    }

    /// The content of the part whose headers have been read, up to the next boundary.
    pub(super) fn into_body(self) -> BoxStream<'static, Result<Bytes, FetchError>> {
        stream::try_unfold(Some(self), |reader| async move {
            let Some(mut reader) = reader else { return Ok(None) };
            loop {
                if let Some(at) = find(&reader.buffer, &reader.delimiter) {
                    return Ok(Some((reader.buffer.split_to(at).freeze(), None)));
                }
                // The end of what is there may be the beginning of a boundary.
                let sure = (reader.buffer.len() + 1).saturating_sub(reader.delimiter.len());
                if sure > 0 {
                    let piece = reader.buffer.split_to(sure).freeze();
                    return Ok(Some((piece, Some(reader))));
                }
                reader.more().await?;
            }
        })
        .boxed()
    }

    /// Takes everything up to a mark, and the mark.
    async fn read_past(&mut self, mark: &[u8]) -> Result<BytesMut, FetchError> {
        loop {
            if let Some(at) = find(&self.buffer, mark) {
                let before = self.buffer.split_to(at);
                let _ = self.buffer.split_to(mark.len());
                return Ok(before);
            }
            if self.buffer.len() > MAX_HEAD_BYTES {
                return Err(malformed("the head of a part is too long"));
            }
            self.more().await?;
        }
    }

    async fn more(&mut self) -> Result<(), FetchError> {
        let chunk = self.source.next().await.ok_or_else(|| malformed("it ends before its last part"))??;
        self.buffer.extend_from_slice(&chunk);
        Ok(())
    }
}

fn malformed(why: &str) -> FetchError {
    FetchError::Failed(format!("the answer is malformed: {why}"))
}

fn find(haystack: &[u8], needle: &[u8]) -> Option<usize> {
    let first = *needle.first()?;
    let mut from = 0;
    while let Some(at) = haystack[from..].iter().position(|byte| *byte == first) {
        if haystack[from + at..].starts_with(needle) {
            return Some(from + at);
        }
        from += at + 1;
    }
    None
}

#[cfg(test)]
mod tests {
    use futures_util::TryStreamExt as _;

    use super::*;

    fn parts(text: &[u8], chunk: usize) -> Multipart {
        let chunks: Vec<_> = text.chunks(chunk).map(|chunk| Ok(Bytes::copy_from_slice(chunk))).collect();
        Multipart::new(stream::iter(chunks).boxed(), "b")
    }

    const ANSWER: &[u8] =
        b"--b\r\nContent-Type: application/json\r\n\r\n{}\r\n--b \r\ncontent-type: text/plain\r\n\
        Content-Disposition: inline\r\n\r\nline\r\n--a\r\n-b\r\n--b--\r\n";

    #[tokio::test]
    async fn parts_are_read_however_they_are_cut() {
        for chunk in 1..ANSWER.len() {
            let mut multipart = parts(ANSWER, chunk);

            let first = multipart.next_part().await.unwrap();
            let second = multipart.next_part().await.unwrap();
            let body: Vec<Bytes> = multipart.into_body().try_collect().await.unwrap();

            assert_eq!(first["content-type"], "application/json");
            assert_eq!((second["content-type"].to_str().unwrap(), second.len()), ("text/plain", 2));
            assert_eq!(body.concat(), b"line\r\n--a\r\n-b");
        }
    }

    #[tokio::test]
    async fn answer_that_breaks_off_is_an_error() {
        for length in 0..ANSWER.len() - 7 {
            let mut multipart = parts(&ANSWER[..length], 16);
            let read = async {
                multipart.next_part().await?;
                multipart.next_part().await?;
                multipart.into_body().try_collect::<Vec<Bytes>>().await
            };

            assert!(read.await.is_err(), "{length}");
        }
    }

    #[tokio::test]
    async fn endless_head_is_not_kept() {
        let endless = stream::repeat_with(|| Ok(Bytes::from_static(&[b'x'; 1024]))).boxed();

        assert!(Multipart::new(endless, "b").next_part().await.is_err());
    }

    #[test]
    fn boundary_is_found_in_the_type() {
        assert_eq!(boundary("multipart/mixed; boundary=abc").as_deref(), Some("abc"));
        assert_eq!(boundary("Multipart/Mixed; a=b; Boundary=\"a b\"").as_deref(), Some("a b"));
        for other in ["multipart/mixed", "text/plain; boundary=a", "multipart/mixed; boundary="] {
            assert_eq!(boundary(other), None, "{other}");
        }
        assert_eq!(boundary(&format!("multipart/mixed; boundary={}", "x".repeat(71))), None);
    }
}
