//! How media end: by age, by size, with the event that they belong to. And what is noted for that: when they are used, and
//! by which events.

use std::{
    future::{Future, ready},
    pin::Pin,
    sync::Arc,
    time::Duration,
};

use hs_model::{
    records::{EventRecord, Outcome},
    stream::Position,
};
use hs_storage::{
    StorageError,
    log::{LogEntry, LogKind},
    media_lifecycle::MediaUse,
    tail::LogApplier,
};
use metrics::gauge;
use rand::RngExt as _;
use tokio::sync::Notify;

use crate::{
    figures,
    ids::MediaUri,
    repository::{Failure, Repository},
};

/// How often what was used is written down.
const TOUCH_INTERVAL: Duration = Duration::from_mins(5);
/// How often old media are looked for.
const CLEANING_INTERVAL: Duration = Duration::from_hours(1);
/// How long a replica has for that before another thinks that it has died.
const LEASE: Duration = Duration::from_mins(30);
/// How many are deleted in one transaction.
const BATCH: i64 = 500;
/// How many entries of the log are read at once.
const LOG_BATCH: i64 = 1000;
/// How often the log is looked at when nothing was heard.
const POLL_INTERVAL: Duration = Duration::from_secs(30);
/// How long to wait for more after something has happened.
const GATHER: Duration = Duration::from_millis(200);
/// How long a file may be on its way in.
const INCOMING_LIFETIME_MS: i64 = 24 * 60 * 60 * 1000;
/// How many media of one event are noted.
const MAX_USES: usize = 50;

/// Why media have ended.
#[derive(Clone, Copy, Debug)]
enum Ended {
    /// Nothing was uploaded under the id in time.
    Expired,
    /// Copies that nobody has asked for since this time.
    UnusedSince(i64),
    /// Copies beyond so many bytes.
    Beyond(u64),
}

/// Hears of events. Registered with the log before it is followed.
#[derive(Debug, Default)]
pub struct MediaNews {
    wake: Notify,
}

impl LogApplier for MediaNews {
    fn apply<'a>(&'a self, entries: &'a [LogEntry]) -> Pin<Box<dyn Future<Output = ()> + Send + 'a>> {
        if entries.iter().any(|entry| entry.kind == LogKind::Event) {
            self.wake.notify_one();
        }
        Box::pin(ready(()))
    }
}

impl Repository {
    /// Notes which events name which media, and deletes those of redacted events, until the future is dropped.
    pub async fn follow(&self, news: Arc<MediaNews>) -> Result<(), Failure> {
        loop {
            if self.read_log().await? {
                continue;
            }
            // Running out of time is as good as being woken.
            let _ = tokio::time::timeout(POLL_INTERVAL, news.wake.notified()).await;
            tokio::time::sleep(GATHER).await;
        }
    }

    /// Reads the log up to where it is now.
    pub async fn catch_up(&self) -> Result<(), Failure> {
        while self.read_log().await? {}
        Ok(())
    }

    /// Deletes copies from other servers, and pictures of previews, that nobody has asked for since. Answers how many.
    pub async fn delete_copies(&self, unused_since: i64) -> Result<u64, Failure> {
        self.delete_all(Ended::UnusedSince(unused_since)).await
    }

    /// Reads a piece of the log; whether there is more.
    async fn read_log(&self) -> Result<bool, Failure> {
        let mut txn = self.inner.store.begin().await?;
        let position = txn.lock_media_position().await?;
        let entries = txn.list_log(position, LOG_BATCH).await?;
        let Some(last) = entries.last() else {
            txn.rollback().await?;
            return Ok(false);
        };
        let events = entries.iter().filter(|entry| entry.kind == LogKind::Event);
        let events: Vec<&Arc<EventRecord>> = events.filter_map(|entry| entry.event.as_ref()).collect();
        let uses: Vec<MediaUse> = events.iter().flat_map(|event| self.uses(event)).collect();
        // What is redacted by now may have used media until then, as the log has not been read since.
        let gone = events.iter().filter(|event| event.redacted_by.is_some()).map(|event| event.nid);
        let redacted: Vec<i64> =
            events.iter().filter_map(|event| event.redacts).chain(gone).map(|event| event.0).collect();
        txn.insert_media_uses(&uses).await?;
        let mut ended = Vec::new();
        if !redacted.is_empty() {
            if self.inner.options.deletes_redacted {
                let media = txn.list_media_of_redacted(&redacted).await?;
                figures::deleted("redacted", media.len() as u64);
                ended = txn.delete_media(&media).await?;
            }
            txn.delete_media_uses(&redacted).await?;
        }
        txn.set_media_position(Position(last.position.0)).await?;
        txn.commit().await?;
        if !ended.is_empty() {
            self.delete_unused_files(Some(ended)).await?;
        }
        Ok(entries.len() as i64 == LOG_BATCH)
    }

    /// The media that an event names, wherever in its content.
    fn uses(&self, event: &EventRecord) -> Vec<MediaUse> {
        if event.outcome != Outcome::Accepted {
            return Vec::new();
        }
        let mut uses: Vec<MediaUse> = Vec::new();
        for uri in mxc_uris(&event.json).take(MAX_USES) {
            let origin = self.key(&uri).origin.to_owned();
            uses.push(MediaUse {
                event: event.nid,
                room: event.room,
                sender: event.sender_nid,
                origin,
                media_id: uri.id.as_str().to_owned(),
            });
        }
        uses
    }

    /// Deletes what has been kept for long enough, again and again, until the future is dropped.
    pub async fn keep_clean(&self) -> Result<(), Failure> {
        let holder = format!("{:016x}", rand::rng().random::<u64>());
        let mut next_cleaning = tokio::time::Instant::now() + Duration::from_mins(1);
        loop {
            tokio::time::sleep(TOUCH_INTERVAL.min(next_cleaning - tokio::time::Instant::now())).await;
            self.note_uses().await?;
            if tokio::time::Instant::now() >= next_cleaning {
                // Replicas that start together do not all ask at the same moment.
                let spread = rand::rng().random_range(0.8..1.2);
                next_cleaning = tokio::time::Instant::now() + CLEANING_INTERVAL.mul_f64(spread);
                self.clean_once(&holder).await?;
            }
        }
    }

    /// Writes down what was asked for.
    pub async fn note_uses(&self) -> Result<(), Failure> {
        let touched: Vec<i64> = self.inner.touched.lock().drain().collect();
        if touched.is_empty() {
            return Ok(());
        }
        let mut txn = self.inner.store.begin().await?;
        txn.touch_media(&touched, self.now_ms()).await?;
        Ok(txn.commit().await?)
    }

    async fn clean_once(&self, holder: &str) -> Result<(), Failure> {
        const NAME: &str = "media-cleaning";
        let mut txn = self.inner.store.begin().await?;
        let is_ours = txn.acquire_lease(NAME, holder, LEASE).await?;
        txn.commit().await?;
        if is_ours {
            self.clean().await?;
            let mut txn = self.inner.store.begin().await?;
            txn.release_lease(NAME, holder).await?;
            txn.commit().await?;
        }
        self.report().await?;
        Ok(())
    }

    /// Deletes what has been kept for long enough, as configured.
    pub async fn clean(&self) -> Result<(), Failure> {
        let options = &self.inner.options;
        let now_ms = self.now_ms();
        self.inner.files.clear_incoming(now_ms - INCOMING_LIFETIME_MS).await?;
        self.delete_all(Ended::Expired).await?;
        if options.remote_keep_ms > 0 {
            self.delete_all(Ended::UnusedSince(now_ms - options.remote_keep_ms)).await?;
        }
        if options.remote_max_bytes > 0 {
            self.delete_all(Ended::Beyond(options.remote_max_bytes)).await?;
        }
        if options.local_keep_ms > 0 {
            let before = now_ms - options.local_keep_ms;
            let old = self.inner.store.reader().await?.list_old_local_media((before, -1), true).await?;
            self.delete(&old, "old").await?;
        }
        self.delete_unused_files(None).await
    }

    async fn delete_all(&self, ended: Ended) -> Result<u64, Failure> {
        let mut deleted = 0;
        loop {
            let mut reader = self.inner.store.reader().await?;
            let (nids, why) = match ended {
                Ended::Expired => (reader.list_expired_media(self.now_ms(), BATCH).await?, "expired"),
                Ended::UnusedSince(since) => (reader.list_unused_copies(since, BATCH).await?, "unused"),
                Ended::Beyond(max_bytes) => (reader.list_excess_copies(max_bytes, BATCH).await?, "excess"),
            };
            drop(reader);
            self.delete(&nids, why).await?;
            deleted += nids.len() as u64;
            if (nids.len() as i64) < BATCH {
                return Ok(deleted);
            }
        }
    }

    /// Deletes media, and the files that nothing else refers to.
    pub async fn delete(&self, nids: &[i64], why: &'static str) -> Result<(), Failure> {
        if nids.is_empty() {
            return Ok(());
        }
        let mut txn = self.inner.store.begin().await?;
        let ended = txn.delete_media(nids).await?;
        txn.commit().await?;
        figures::deleted(why, nids.len() as u64);
        self.delete_unused_files(Some(ended)).await
    }

    /// Deletes files that nothing refers to, as far as the database knows them.
    pub async fn delete_unused_files(&self, hashes: Option<Vec<Vec<u8>>>) -> Result<(), Failure> {
        loop {
            let mut txn = self.inner.store.begin().await?;
            let unused = txn.delete_unused_blobs(hashes.as_deref(), BATCH).await?;
            txn.commit().await?;
            for blob in &unused {
                self.delete_file(blob).await;
            }
            if (unused.len() as i64) < BATCH {
                return Ok(());
            }
        }
    }

    async fn report(&self) -> Result<(), StorageError> {
        let totals = self.inner.store.reader().await?.sum_media().await?;
        gauge!("kith_media_files", "origin" => "local").set(totals.local_files as f64);
        gauge!("kith_media_files", "origin" => "remote").set(totals.remote_files as f64);
        gauge!("kith_media_bytes").set(totals.bytes as f64);
        Ok(())
    }
}

/// The URIs in a text, each once.
fn mxc_uris(json: &str) -> impl Iterator<Item = MediaUri> {
    let mut found: Vec<MediaUri> = Vec::new();
    let mut rest = json;
    while let Some(at) = rest.find("mxc:") {
        rest = &rest[at..];
        // JSON may escape the slashes.
        let end = rest.find('"').unwrap_or(rest.len());
        let uri = rest[..end].replace("\\/", "/");
        rest = &rest[end.max(4)..];
        if let Some(uri) = MediaUri::parse(&uri)
            && !found.contains(&uri)
        {
            found.push(uri);
        }
    }
    found.into_iter()
}

#[cfg(test)]
mod tests;
