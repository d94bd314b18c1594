//! Where files are kept, and what makes pictures of films.

use futures_util::StreamExt as _;
use hs_storage::media::BlobStore;
use media_repo::store::{Files, StoreError};

use super::Finding;
use crate::config::Config;

const SUBJECT: &str = "media";

pub(super) async fn check_media(config: &Config) -> Vec<Finding> {
    let options = config.media.options(config.server.name.clone(), &config.server.data_dir);
    let place = options.directory.display().to_string();
    let mut findings = Vec::new();
    match Files::open(&options) {
        Ok(files) => {
            findings.push(match write(&files).await {
                Ok(()) => Finding::ok(SUBJECT, format!("files come in through {place}")),
                Err(error) => not_writable(&place, &error),
            });
            if let Some(objects) = &options.objects {
                findings.push(check_bucket(&files, &objects.bucket).await);
            }
        }
        Err(error @ StoreError::Objects(_)) => {
            findings
                .push(Finding::bad(SUBJECT, format!("the S3 store cannot be used: {error}; see media.s3_*")));
        }
        Err(error) => findings.push(not_writable(&place, &error)),
    }
    findings.push(match config.media.ffmpeg() {
        Some(program) => Finding::ok("films", format!("pictures are taken by {}", program.display())),
        None => Finding::note("films", "have no pictures without ffmpeg; install it, or set media.ffmpeg"),
    });
    findings
}

async fn write(files: &Files) -> Result<(), StoreError> {
    let mut probe = files.receive();
    probe.write(b"check".as_slice().into()).await?;
    // Dropping it deletes it.
    probe.finish().await?;
    Ok(())
}

fn not_writable(place: &str, error: &StoreError) -> Finding {
    Finding::bad(
        SUBJECT,
        format!(
            "cannot write to {place}: {error}; give it to the user that Kith runs as, or set media.directory"
        ),
    )
}

/// Whether the bucket can be read; it is not written to.
async fn check_bucket(files: &Files, bucket: &str) -> Finding {
    let listed = match files.list(BlobStore::Objects, i64::MIN) {
        Ok(mut listed) => listed.next().await.transpose(),
        Err(error) => Err(error),
    };
    match listed {
        Ok(_) => Finding::ok(SUBJECT, format!("the bucket {bucket} can be read")),
        Err(error) => {
            let cause = std::error::Error::source(&error).map(ToString::to_string).unwrap_or_default();
            Finding::bad(
                SUBJECT,
                format!("the bucket {bucket} cannot be read: {error}: {cause}; see media.s3_*"),
            )
        }
    }
}
