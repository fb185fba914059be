//! A file that is too large for one request.
//!
//! What a killed node left of an earlier attempt is aborted before a new one begins, and a failed
//! or dropped attempt aborts itself, so that nobody pays for halves.

use std::sync::Arc;

use base64::Engine;
use base64::prelude::BASE64_STANDARD;
use futures_util::stream::{self, StreamExt, TryStreamExt};
use md5::{Digest, Md5};
use rusty_s3::Credentials;
use rusty_s3::actions::CompleteMultipartUpload;

use super::answer;
use super::client::{Client, Header, Payload, hex, unquoted};
use super::error::Error;
use super::source::{Md5Sum, Range, Source};
use super::{Stored, verify};

/// Most parts of a file. S3 takes 10,000; Scaleway, which is ours too, takes 1,000.
const PARTS_MAX: u64 = 1_000;

/// Smallest part but the last, in bytes: S3's own limit.
pub(super) const PART_BYTES_MIN: u64 = 5 << 20;

/// Largest part, in bytes: S3's own limit.
pub(super) const PART_BYTES_MAX: u64 = 5 << 30;

/// Pushes a file in parts.
pub(super) async fn push(
    client: &Arc<Client>,
    credentials: &Arc<Credentials>,
    key: &str,
    source: &Source,
    part_bytes: u64,
    headers: &[Header],
) -> Result<Stored, Error> {
    sweep(client, credentials, key).await;
    let action = client.bucket.create_multipart_upload(Some(&**credentials), key);
    let what = "begin the upload";
    let answer = client.send(what, action, headers, Payload::Nothing).await?;
    let id = answer::text(&answer.text, "UploadId").ok_or(Error::Unreadable { what })?;
    let mut upload = Upload {
        client: client.clone(),
        credentials: credentials.clone(),
        key: key.into(),
        id,
        is_open: true,
    };
    match upload.fill(source, part_bytes).await {
        Ok(stored) => {
            upload.is_open = false;
            Ok(stored)
        }
        Err(error) => {
            upload.is_open = false;
            if let Err(error) = client.abort(credentials, key, &upload.id).await {
                tracing::debug!(key, %error, "an upload could not be aborted; the next one will");
            }
            Err(error)
        }
    }
}

/// Aborts what earlier attempts left. Without the right to list, they stay until a lifecycle rule
/// of the bucket removes them.
pub(super) async fn sweep(client: &Client, credentials: &Credentials, key: &str) {
    let ids = match client.uploads(credentials, key).await {
        Ok(ids) => ids,
        Err(error) => {
            tracing::debug!(key, %error, "unfinished uploads could not be listed");
            return;
        }
    };
    for id in ids {
        match client.abort(credentials, key, &id).await {
            Ok(()) => tracing::info!(key, "an unfinished upload of an earlier attempt is gone"),
            Err(error) => tracing::debug!(key, %error, "an unfinished upload stays"),
        }
    }
}

/// An upload under way. Dropped while open, it aborts itself if it can.
struct Upload {
    client: Arc<Client>,
    credentials: Arc<Credentials>,
    key: String,
    id: String,
    is_open: bool,
}

struct Part {
    number: u16,
    etag: String,
    md5: Md5Sum,
    is_proven: bool,
}

impl Upload {
    async fn fill(&self, source: &Source, part_bytes: u64) -> Result<Stored, Error> {
        let parallel = self.client.limits.parts_parallel_max.max(1);
        let mut parts: Vec<Part> = stream::iter(plan(source.bytes(), part_bytes))
            .map(|(number, range)| self.send_part(source, number, range))
            .buffer_unordered(parallel)
            .try_collect()
            .await?;
        parts.sort_by_key(|part| part.number);
        self.complete(&parts, source.bytes()).await
    }

    async fn send_part(&self, source: &Source, number: u16, range: Range) -> Result<Part, Error> {
        let what = "upload a part";
        let md5 = source.md5(range).await?;
        let headers = [("content-md5", BASE64_STANDARD.encode(md5))];
        let action =
            self.client.bucket.upload_part(Some(&self.credentials), &self.key, number, &self.id);
        let answer = self.client.send(what, action, &headers, Payload::File(source, range)).await?;
        let is_proven = answer.check_md5(what, &hex(&md5))?;
        let etag = answer.etag.ok_or(Error::Unreadable { what })?;
        Ok(Part { number, etag, md5, is_proven })
    }

    async fn complete(&self, parts: &[Part], bytes: u64) -> Result<Stored, Error> {
        let what = "put the parts together";
        let quoted: Vec<String> = parts.iter().map(|part| format!("\"{}\"", part.etag)).collect();
        let action = || {
            let etags = quoted.iter().map(String::as_str);
            let (bucket, credentials) = (&self.client.bucket, Some(&*self.credentials));
            CompleteMultipartUpload::new(bucket, credentials, &self.key, &self.id, etags)
        };
        let body = Payload::Text(action().body());
        let expected = composite(parts);
        let limit = self.client.limits.complete_ms_max;
        let answer = match self.client.send_within(limit, what, action(), &[], body).await {
            Ok(answer) => answer,
            Err(error) => return self.was_completed(&expected, bytes, error).await,
        };
        let etag = answer::text(&answer.text, "ETag").map(|etag| unquoted(&etag));
        let answer = super::client::Answer { etag, ..answer };
        // Where every part's ETag is its MD5, the whole's is made of them.
        let are_md5 = parts.iter().all(|part| part.is_proven);
        let is_proven = are_md5 && answer.check_md5(what, &expected)?;
        Ok(Stored { etag: answer.etag, is_proven })
    }

    /// An answer that got lost leaves open whether the parts were put together: the upload is gone
    /// either way. The object tells.
    async fn was_completed(
        &self,
        expected: &str,
        bytes: u64,
        error: Error,
    ) -> Result<Stored, Error> {
        let stored = Stored { etag: Some(expected.into()), is_proven: false };
        match verify(&self.client, &self.credentials, &self.key, bytes, &stored).await {
            Ok(true) => Ok(Stored { is_proven: true, ..stored }),
            _ => Err(error),
        }
    }
}

impl Drop for Upload {
    fn drop(&mut self) {
        let Ok(runtime) = tokio::runtime::Handle::try_current() else { return };
        if !self.is_open {
            return;
        }
        let (client, credentials) = (self.client.clone(), self.credentials.clone());
        let (key, id) = (std::mem::take(&mut self.key), std::mem::take(&mut self.id));
        // It may not get to run when the node is ending; then the next attempt's sweep does it.
        runtime.spawn(async move {
            if let Err(error) = client.abort(&credentials, &key, &id).await {
                tracing::debug!(key, %error, "a dropped upload could not be aborted");
            }
        });
    }
}

/// Parts of at least `part_bytes`, and few enough of them. Numbers count from 1.
fn plan(bytes: u64, part_bytes: u64) -> impl Iterator<Item = (u16, Range)> {
    let part_bytes = part_bytes.max(bytes.div_ceil(PARTS_MAX));
    (1..).map_while(move |number: u16| {
        let offset = u64::from(number - 1) * part_bytes;
        let left = bytes.checked_sub(offset).filter(|left| *left > 0)?;
        Some((number, Range { offset, bytes: left.min(part_bytes) }))
    })
}

/// The ETag that S3 gives to a whole: the MD5 of its parts' MD5s, and their number.
fn composite(parts: &[Part]) -> String {
    let mut md5 = Md5::new();
    for part in parts {
        md5.update(part.md5);
    }
    format!("{}-{}", hex(&md5.finalize().into()), parts.len())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(bytes: u64, part_bytes: u64, parts: usize, last: u64) {
        let plan: Vec<_> = plan(bytes, part_bytes).collect();
        assert_eq!(plan.len(), parts);
        let mut offset = 0;
        for (index, (number, range)) in plan.iter().enumerate() {
            assert_eq!(usize::from(*number), index + 1);
            assert_eq!(range.offset, offset);
            offset += range.bytes;
        }
        assert_eq!(offset, bytes);
        assert_eq!(plan.last().map(|(_, range)| range.bytes), Some(last));
    }

    #[test]
    fn parts_cover_the_file_and_never_are_too_many() {
        check(1, 5, 1, 1);
        check(10, 5, 2, 5);
        check(11, 5, 3, 1);
        check(PART_BYTES_MIN * 1000, PART_BYTES_MIN, 1000, PART_BYTES_MIN);
        check(PART_BYTES_MIN * 1000 + 1, PART_BYTES_MIN, 1000, PART_BYTES_MIN + 1 - 1000 + 1);
        check(5 << 40, 16 << 20, 1000, (5 << 40) - 999 * (5u64 << 40).div_ceil(1000));
    }
}
