//! The push of one file: which key, in one request or in parts, and whether it arrived.

use reqwest::Method;

use super::ask::{Ask, Payload};
use super::capabilities::Capabilities;
use super::client::{Client, Header};
use super::error::Error;
use super::existing::Choice;
use super::headers;
use super::sums;
use super::template::Template;
use crate::config::{Checksum, Existing, S3Destination};
use crate::deliver::source::Source;
use crate::deliver::{FileToPush, names};

/// How often a key is chosen anew because something came there meanwhile.
const CHOICES_MAX: u32 = 3;

/// The push of one file.
pub(super) struct Push<'a> {
    pub(super) client: &'a Client,
    pub(super) settings: &'a S3Destination,
    pub(super) store: &'static Capabilities,
    pub(super) checksum: Checksum,
    pub(super) file: &'a FileToPush,
    pub(super) source: Source,
    /// How the file is to lie there.
    pub(super) headers: Vec<Header>,
}

/// What a store said it has.
pub(super) struct Stored {
    pub(super) etag: Option<String>,
}

impl<'a> Push<'a> {
    pub(super) async fn new(
        client: &'a Client,
        settings: &'a S3Destination,
        file: &'a FileToPush,
    ) -> Result<Self, Error> {
        let store = Capabilities::of(settings);
        let source = Source::open(&file.path, file.bytes, file.progress.clone()).await?;
        let checksum = store.checksum(settings);
        let headers = headers::of(settings, file);
        Ok(Self { client, settings, store, checksum, file, source, headers })
    }

    /// Pushes it. Answers its key.
    pub(super) async fn run(&self) -> Result<String, Error> {
        let key =
            Template::of_prefix(&self.settings.prefix).map_err(Error::Settings)?.key(self.file);
        names::parts(&key).map_err(|problem| Error::Key { key: key.clone(), problem })?;
        self.source.pace().start_at(0);
        let mut choices = 1;
        loop {
            let chosen = match self.choose(&key).await? {
                Choice::There(there) => {
                    self.discard().await?;
                    return Ok(there);
                }
                Choice::Free(chosen) => chosen,
            };
            match self.send(&chosen).await {
                Err(error) if error.is_taken() && self.settings.existing != Existing::Overwrite => {
                    if choices == CHOICES_MAX {
                        let existing = "others write there all the time";
                        return Err(Error::Exists { key: chosen, existing });
                    }
                    choices += 1;
                }
                Err(error) => return Err(self.client.explain(&chosen, error).await),
                Ok(()) => return Ok(chosen),
            }
        }
    }

    async fn send(&self, key: &str) -> Result<(), Error> {
        if self.source.bytes() > self.settings.part_bytes {
            let stored = self.in_parts(key).await?;
            return self.verify(key, &stored).await;
        }
        self.discard().await?;
        let (stored, is_proven) = self.put(key).await?;
        // Where the answer is the checksum of what was sent, the store has nothing to add.
        if is_proven { Ok(()) } else { self.verify(key, &stored).await }
    }

    /// Pushes the file in one request.
    async fn put(&self, key: &str) -> Result<(Stored, bool), Error> {
        let what = "upload the file";
        let whole = self.source.whole();
        let sum = sums::of(&self.source, whole, self.checksum).await?;
        let headers = self.headers.iter().cloned().chain([sum.header()]);
        let ask = Ask::new(what, Method::PUT, key)
            .headers(headers.chain(self.unless_there(false)))
            .payload(Payload::File(&self.source, whole));
        let answer = self.client.send(&ask).await?;
        let is_proven = answer.check(what, &sum)?;
        Ok((Stored { etag: answer.etag }, is_proven))
    }

    /// Asks the store what it has under the key.
    async fn verify(&self, key: &str, stored: &Stored) -> Result<(), Error> {
        let what = "look at what was stored";
        let answer = match self.client.head(what, key, self.checksum).await {
            Ok(answer) => answer,
            // Keys that may write but not read are good practice. The store has checked the bytes.
            Err(Error::Refused(refusal)) if refusal.status == 403 => {
                tracing::debug!(key, "the keys may not read what they stored");
                return Ok(());
            }
            Err(error) => return Err(error),
        };
        let is_same_size = answer.bytes.is_none_or(|found| found == self.source.bytes());
        let is_same_etag = match (&stored.etag, &answer.etag) {
            (Some(stored), Some(found)) => stored == found,
            _ => true,
        };
        if is_same_size && is_same_etag { Ok(()) } else { Err(Error::Altered { what }) }
    }
}
