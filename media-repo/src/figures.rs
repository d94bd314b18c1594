//! What Prometheus is told.

use metrics::{counter, describe_counter, describe_gauge, gauge};

pub(crate) fn describe() {
    describe_counter!(
        "kith_media_uploads_total",
        "Files that users have tried to upload, by what came of it."
    );
    describe_counter!("kith_media_uploaded_bytes_total", "Bytes of the files that users have uploaded.");
    describe_counter!("kith_media_downloads_total", "Files handed out, by where they come from.");
    describe_counter!("kith_media_fetches_total", "Files fetched from other servers, by what came of it.");
    describe_counter!("kith_media_fetched_bytes_total", "Bytes of the files fetched from other servers.");
    describe_counter!("kith_media_deleted_total", "Media deleted, by why.");
    describe_counter!("kith_media_thumbnails_total", "Pictures made small, by what came of it.");
    describe_gauge!("kith_media_thumbnails_in_line", "Pictures that are made small, or wait for that.");
    describe_counter!("kith_media_previews_total", "Previews of links made, by what came of it.");
    describe_gauge!(
        "kith_media_files",
        "Media that are kept, by where they come from, as counted every hour."
    );
    describe_gauge!("kith_media_bytes", "Bytes of all contents that are kept, as counted every hour.");
}

pub(crate) fn upload(outcome: &'static str, bytes: u64) {
    counter!("kith_media_uploads_total", "outcome" => outcome).increment(1);
    counter!("kith_media_uploaded_bytes_total").increment(bytes);
}

pub(crate) fn download(is_local: bool) {
    let origin = if is_local { "local" } else { "remote" };
    counter!("kith_media_downloads_total", "origin" => origin).increment(1);
}

pub(crate) fn fetch(outcome: &'static str, bytes: u64) {
    counter!("kith_media_fetches_total", "outcome" => outcome).increment(1);
    counter!("kith_media_fetched_bytes_total").increment(bytes);
}

pub(crate) fn deleted(why: &'static str, count: u64) {
    counter!("kith_media_deleted_total", "why" => why).increment(count);
}

pub(crate) fn thumbnails(outcome: &'static str) {
    counter!("kith_media_thumbnails_total", "outcome" => outcome).increment(1);
}

/// One more waits for a thumbnail, or one less.
pub(crate) fn thumbnails_in_line(change: f64) {
    gauge!("kith_media_thumbnails_in_line").increment(change);
}

pub(crate) fn preview(outcome: &'static str) {
    counter!("kith_media_previews_total", "outcome" => outcome).increment(1);
}
