//! A file that is too large for one request.
//!
//! Parts are sent several at once. A push that fails or is stopped leaves its upload open, and a memo of
//! it: the next one goes on there, also after a restart of the node (`left`). So at most the parts that
//! were under way are sent again. An upload that no push will come back for is aborted by `abandon`;
//! one without a memo, by the next push of the same key.

mod left;
mod plan;

use std::sync::atomic::{AtomicBool, Ordering};

use futures_util::stream::{self, StreamExt};
use quick_xml::escape::escape;
use reqwest::Method;

pub(super) use self::left::abandon;
use self::left::{Left, Start};
pub(super) use self::plan::Plan;
use super::answer;
use super::ask::{Ask, Payload};
use super::client::{Answer, Client, Header, unquoted};
use super::error::Error;
use super::push::{Push, Stored};
use super::sums::{self, Sum};
use crate::config::{Checksum, Existing};
use crate::deliver::source::Range;

/// How often an upload is listed and gone on with in one push.
const ROUNDS_MAX: u32 = 2;

/// Putting the parts together, as a request that may fail.
const COMPLETE: &str = "put the parts together";

/// A part that the store has.
struct Part {
    number: u16,
    range: Range,
    etag: String,
    sum: Sum,
}

/// Aborts what earlier attempts left without a memo. Without the right to list, it stays until a
/// lifecycle rule of the bucket removes it.
pub(super) async fn sweep(client: &Client, key: &str) {
    let ids = match client.uploads(key).await {
        Ok(ids) => ids,
        Err(error) => {
            tracing::debug!(key, %error, "unfinished uploads could not be listed");
            return;
        }
    };
    for id in ids {
        match client.abort(key, &id).await {
            Ok(()) => tracing::info!(key, "an unfinished upload of an earlier attempt is gone"),
            Err(error) => tracing::debug!(key, %error, "an unfinished upload stays"),
        }
    }
}

impl Push<'_> {
    /// How the file is cut where it is sent anew.
    pub(super) fn plan(&self) -> Plan {
        Plan::new(self.source.bytes(), self.settings.part_bytes, self.store.parts_max)
    }

    fn parts_at_once(&self) -> usize {
        usize::try_from(self.settings.parts_at_once).unwrap_or(1).max(1)
    }

    /// Pushes the file in parts.
    pub(super) async fn in_parts(&self, key: &str) -> Result<Stored, Error> {
        let mut round = 1;
        loop {
            let (left, there) = match self.start(key).await? {
                Start::There(left, there) => (left, there),
                Start::Complete(stored) => return Ok(stored),
                Start::Anew => (self.begin(key).await?, Vec::new()),
            };
            let result = match self.fill(&left, there).await {
                Ok(parts) => self.complete(&left, &parts).await,
                Err(error) => Err(error),
            };
            match result {
                // A part or the upload has vanished: what is there is listed once more.
                Err(error) if error.is_about_upload() && round < ROUNDS_MAX => {
                    tracing::debug!(key, %error, "the upload is looked at again");
                    round += 1;
                }
                Err(error) => {
                    if error.is_about_upload() || error.spoils_upload() {
                        self.discard().await?;
                    }
                    return Err(error);
                }
                done => return done,
            }
        }
    }

    /// Begins an upload and notes it. An answer that was lost leaves one that nobody knows: it is
    /// swept before the next is begun.
    async fn begin(&self, key: &str) -> Result<Left, Error> {
        let what = "begin the upload";
        let checksum: Vec<Header> = match self.checksum {
            Checksum::Md5 => Vec::new(),
            Checksum::Crc32c => vec![
                ("x-amz-checksum-algorithm", "CRC32C".into()),
                ("x-amz-checksum-type", "FULL_OBJECT".into()),
            ],
            Checksum::Sha256 => vec![("x-amz-checksum-algorithm", "SHA256".into())],
        };
        let ask = Ask::new(what, Method::POST, key)
            .query("uploads", "")
            .headers(self.headers.iter().cloned().chain(checksum))
            .once();
        let mut hiccups = 0;
        let answer = loop {
            sweep(self.client, key).await;
            match self.client.send(&ask).await {
                Err(error) if error.is_hiccup() && hiccups < self.client.limits.hiccups_max => {
                    hiccups += 1;
                    self.client.pause().await;
                }
                result => break result?,
            }
        };
        let id = answer::text(&answer.text, "UploadId").ok_or(Error::Unreadable { what })?;
        let left = Left::of(self, key, id, &answer);
        if let Err(error) = self.file.memo.write(&left).await {
            // Without a memo nobody would come back for it.
            let _ = self.client.abort(key, &left.upload_id).await;
            return Err(Error::Unnoted(error.sentence));
        }
        self.source.pace().start_at(0);
        Ok(left)
    }

    /// Sends the parts that are not there. After a failure no more are begun, but those under way go on:
    /// what arrives whole need not be sent again.
    async fn fill(&self, left: &Left, there: Vec<Part>) -> Result<Vec<Part>, Error> {
        let is_there = |number| there.iter().any(|part| part.number == number);
        let missing: Vec<_> =
            left.plan().parts().filter(|(number, _)| !is_there(*number)).collect();
        let has_failed = AtomicBool::new(false);
        let send = async |(number, range)| {
            if has_failed.load(Ordering::Relaxed) {
                return None;
            }
            let sent = self.send_part(left, number, range).await;
            if sent.is_err() {
                has_failed.store(true, Ordering::Relaxed);
            }
            Some(sent)
        };
        let sent: Vec<_> = stream::iter(missing)
            .map(send)
            .buffer_unordered(self.parts_at_once())
            .filter_map(async |sent| sent)
            .collect()
            .await;
        let mut parts = there;
        for part in sent {
            parts.push(part?);
        }
        parts.sort_unstable_by_key(|part| part.number);
        Ok(parts)
    }

    async fn send_part(&self, left: &Left, number: u16, range: Range) -> Result<Part, Error> {
        let what = "upload a part";
        let sum = sums::of(&self.source, range, self.checksum).await?;
        let ask = Ask::new(what, Method::PUT, &left.key)
            .query("partNumber", number.to_string())
            .query("uploadId", left.upload_id.clone())
            .headers([sum.header()])
            .payload(Payload::File(&self.source, range));
        let answer = self.client.send(&ask).await?;
        answer.check(what, &sum)?;
        let etag = answer.etag.ok_or(Error::Unreadable { what })?;
        Ok(Part { number, range, etag, sum })
    }

    async fn complete(&self, left: &Left, parts: &[Part]) -> Result<Stored, Error> {
        let sums: Vec<_> = parts.iter().map(|part| (part.sum, part.range.bytes)).collect();
        let whole = sums::whole(&sums);
        let of_whole = match self.checksum {
            Checksum::Crc32c => vec![
                (sums::CRC32C_HEADER, whole.clone()),
                ("x-amz-checksum-type", "FULL_OBJECT".into()),
            ],
            Checksum::Md5 | Checksum::Sha256 => Vec::new(),
        };
        let ask = Ask::new(COMPLETE, Method::POST, &left.key)
            .query("uploadId", left.upload_id.clone())
            .headers(of_whole.into_iter().chain(self.unless_there(true)))
            .payload(Payload::Text(body(parts)))
            .within(self.client.limits.complete_ms_max);
        let answer = match self.client.send(&ask).await {
            Ok(answer) => answer,
            Err(error) if error.is_taken() && self.settings.existing != Existing::Overwrite => {
                return Err(error);
            }
            // An answer that got lost leaves open whether the parts were put together. The object tells.
            Err(error) => return self.there(&left.key).await.ok_or(error),
        };
        let answer = answer.of_complete();
        let is_opaque = left.is_etag_opaque && self.checksum == Checksum::Md5;
        if !is_opaque {
            answer.check_whole(COMPLETE, self.checksum, &whole)?;
        }
        Ok(Stored { etag: answer.etag })
    }
}

/// SHA-256 must be said again for each part; CRC32C is said for the whole.
fn body(parts: &[Part]) -> String {
    let mut body = String::from("<CompleteMultipartUpload>");
    for Part { number, etag, sum, .. } in parts {
        let etag = escape(etag.as_str());
        let checksum = match sum {
            Sum::Sha256(_) => format!("<ChecksumSHA256>{}</ChecksumSHA256>", sum.base64()),
            Sum::Md5(_) | Sum::Crc32c(_) => String::new(),
        };
        body += &format!(
            "<Part><ETag>\"{etag}\"</ETag><PartNumber>{number}</PartNumber>{checksum}</Part>"
        );
    }
    body + "</CompleteMultipartUpload>"
}

impl Answer {
    /// The answer to putting parts together says in its body what others say in headers.
    fn of_complete(self) -> Self {
        let element = |name| answer::text(&self.text, name);
        let etag = element("ETag").map(|etag| unquoted(&etag));
        let checksums = (element("ChecksumCRC32C"), element("ChecksumSHA256"));
        self.with(etag, checksums)
    }
}
