//! What a push in parts leaves for the next one, and what of it still counts.
//!
//! The memo says which upload at the store it was, and how the file was cut. Which parts are there is
//! asked of the store: a part counts whose size is right and whose checksum, where the store says one,
//! is that of the bytes here.

use std::collections::BTreeMap;

use futures_util::stream::{self, StreamExt, TryStreamExt};
use reqwest::Method;
use serde::{Deserialize, Serialize};

use super::plan::Plan;
use super::{Part, Stored};
use crate::config::{Checksum, S3Destination};
use crate::deliver::s3::answer;
use crate::deliver::s3::ask::Ask;
use crate::deliver::s3::client::{Answer, Client, looks_like, unquoted};
use crate::deliver::s3::error::Error;
use crate::deliver::s3::push::Push;
use crate::deliver::s3::sums;
use crate::deliver::source::Range;

/// The memo of an upload that is not complete.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub(in crate::deliver::s3) struct Left {
    endpoint: String,
    bucket: String,
    pub(super) key: String,
    pub(super) upload_id: String,
    bytes: u64,
    part_bytes: u64,
    checksum: Checksum,
    sha256: Option<String>,
    /// How the file is to lie there, which was said when the upload began.
    headers: Vec<(String, String)>,
    /// The store's ETags are no MD5s, because of how it encrypts.
    pub(super) is_etag_opaque: bool,
}

/// Where a push goes on.
pub(super) enum Start {
    /// At this upload, with these parts there.
    There(Left, Vec<Part>),
    /// Nowhere: the store has the file.
    Complete(Stored),
    /// At the beginning.
    Anew,
}

/// A part as the store lists it.
#[derive(PartialEq, Eq)]
struct Listed {
    etag: String,
    bytes: u64,
    checksum: String,
}

impl Left {
    pub(super) fn of(push: &Push<'_>, key: &str, upload_id: String, begun: &Answer) -> Self {
        let settings = push.settings;
        Self {
            endpoint: settings.endpoint.clone(),
            bucket: settings.bucket.clone(),
            key: key.to_owned(),
            upload_id,
            bytes: push.source.bytes(),
            part_bytes: push.plan().part_bytes(),
            checksum: push.checksum,
            sha256: push.file.sha256.clone(),
            headers: owned(push),
            is_etag_opaque: begun.is_etag_opaque,
        }
    }

    pub(super) fn plan(&self) -> Plan {
        Plan::new(self.bytes, self.part_bytes, u64::MAX)
    }

    /// Whether an upload at this destination is meant.
    fn is_at(&self, settings: &S3Destination) -> bool {
        self.endpoint == settings.endpoint && self.bucket == settings.bucket
    }

    /// Whether this push can go on with it.
    fn is_of(&self, push: &Push<'_>, key: &str) -> bool {
        self.is_at(push.settings)
            && self.key == key
            && self.bytes == push.source.bytes()
            && self.part_bytes > 0
            && self.plan().count() <= push.store.parts_max
            && self.checksum == push.checksum
            && self.sha256 == push.file.sha256
            && self.headers == owned(push)
    }
}

fn owned(push: &Push<'_>) -> Vec<(String, String)> {
    push.headers.iter().map(|(name, value)| ((*name).to_owned(), value.clone())).collect()
}

/// Aborts the upload of a memo that no push will come back for. One at another destination cannot be.
///
/// # Errors
/// Where the store does not do it; it is then asked again.
pub(in crate::deliver::s3) async fn abandon(
    client: &Client,
    settings: &S3Destination,
    memo: &[u8],
) -> Result<(), Error> {
    let Ok(left) = serde_json::from_slice::<Left>(memo) else { return Ok(()) };
    if !left.is_at(settings) {
        tracing::warn!(
            key = left.key,
            "an unfinished upload stays where the destination was before"
        );
        return Ok(());
    }
    match client.abort(&left.key, &left.upload_id).await {
        Err(Error::Refused(refusal)) if refusal.is_no_bucket() => Ok(()),
        result => result,
    }
}

impl Push<'_> {
    /// Looks where to go on.
    pub(super) async fn start(&self, key: &str) -> Result<Start, Error> {
        let Some(left) = self.file.memo.read::<Left>() else { return Ok(Start::Anew) };
        if !left.is_of(self, key) {
            self.discard().await?;
            return Ok(Start::Anew);
        }
        let listed = match self.list(&left).await {
            Ok(listed) => listed,
            Err(Error::Refused(refusal)) if refusal.is_no_upload() => {
                self.forget().await?;
                // The answer that it is complete may have been lost.
                let stored = self.there(key).await;
                return Ok(stored.map_or(Start::Anew, Start::Complete));
            }
            Err(Error::Refused(refusal)) if refusal.is_denied() => {
                tracing::debug!(key, "the keys may not list parts: the upload begins anew");
                self.discard().await?;
                return Ok(Start::Anew);
            }
            Err(error) => return Err(error),
        };
        let parts = self.agreeing(&left, listed).await?;
        let there = parts.iter().map(|part| part.range.bytes).sum();
        self.source.pace().start_at(there);
        tracing::debug!(key, there, "an upload goes on");
        Ok(Start::There(left, parts))
    }

    /// What the store has under the key, where it is this file.
    pub(super) async fn there(&self, key: &str) -> Option<Stored> {
        let found =
            self.client.look("look at what was stored", key, self.checksum).await.ok()??;
        let is_same = self.is_same(&found).await.unwrap_or(false);
        is_same.then_some(Stored { etag: found.etag })
    }

    /// Aborts what an earlier push of this file left, and forgets it.
    pub(in crate::deliver::s3) async fn discard(&self) -> Result<(), Error> {
        let Some(left) = self.file.memo.read::<Left>() else { return Ok(()) };
        if left.is_at(self.settings)
            && let Err(error) = self.client.abort(&left.key, &left.upload_id).await
        {
            tracing::debug!(key = left.key, %error, "an unfinished upload stays");
        }
        self.forget().await
    }

    async fn forget(&self) -> Result<(), Error> {
        let unnoted = |error| Error::Unnoted(format!("where the push is cannot be noted: {error}"));
        self.source.pace().start_at(0);
        self.file.memo.clear().await.map_err(unnoted)
    }

    /// The parts that the store has, by number.
    async fn list(&self, left: &Left) -> Result<BTreeMap<u16, Listed>, Error> {
        let what = "list the parts that are there";
        let checksum = sums::answered_in(left.checksum).map_or("ETag", |(_, element)| element);
        let mut found: BTreeMap<u16, Listed> = BTreeMap::new();
        let mut after = 0;
        loop {
            let ask = Ask::new(what, Method::GET, &left.key)
                .query("max-parts", "1000")
                .query("part-number-marker", after.to_string())
                .query("uploadId", left.upload_id.clone());
            let text = self.client.send(&ask).await?.text;
            let wanted = ["PartNumber", "ETag", "Size", checksum];
            for [number, etag, bytes, checksum] in answer::records(&text, Some("Part"), wanted) {
                let (Ok(number), Ok(bytes)) = (number.parse(), bytes.parse()) else {
                    return Err(Error::Unreadable { what });
                };
                let listed = Listed { etag: unquoted(&etag), bytes, checksum };
                // Some stores list every version of a part, and one that was under way when this node
                // was killed may arrive beside the same sent again. Which of them it will be, nobody
                // knows: it only matters where they differ.
                found
                    .entry(number)
                    .and_modify(|another| {
                        if *another != listed {
                            another.etag.clear();
                        }
                    })
                    .or_insert(listed);
            }
            let last = found.keys().next_back().copied().unwrap_or(0);
            let is_more = answer::text(&text, "IsTruncated").is_some_and(|text| text == "true");
            if !is_more || last <= after {
                return Ok(found);
            }
            after = last;
        }
    }

    /// The parts whose bytes are those here.
    async fn agreeing(
        &self,
        left: &Left,
        mut listed: BTreeMap<u16, Listed>,
    ) -> Result<Vec<Part>, Error> {
        let candidates = left.plan().parts().filter_map(|(number, range)| {
            let listed = listed.remove(&number)?;
            (listed.bytes == range.bytes && !listed.etag.is_empty())
                .then_some((number, range, listed))
        });
        let candidates: Vec<_> = candidates.collect();
        stream::iter(candidates)
            .map(|(number, range, listed)| self.agrees(left, number, range, listed))
            .buffer_unordered(self.parts_at_once())
            .try_filter_map(async |part| Ok(part))
            .try_collect()
            .await
    }

    async fn agrees(
        &self,
        left: &Left,
        number: u16,
        range: Range,
        listed: Listed,
    ) -> Result<Option<Part>, Error> {
        let sum = sums::of(&self.source, range, left.checksum).await?;
        let is_same = match sum.etag() {
            Some(md5) if !left.is_etag_opaque && looks_like(&listed.etag, &md5) => {
                listed.etag.eq_ignore_ascii_case(&md5)
            }
            Some(_) => true,
            None => listed.checksum.is_empty() || listed.checksum == sum.base64(),
        };
        Ok(is_same.then_some(Part { number, range, etag: listed.etag, sum }))
    }
}
