//! What is done where another file has the key already.
//!
//! A store that makes an object only where there is none (`If-None-Match: *`) is asked to. Elsewhere
//! it is looked before the push, and who writes the same key meanwhile is replaced.

use super::capabilities::Conditional;
use super::client::{Answer, Header};
use super::error::Error;
use super::multipart::Plan;
use super::push::Push;
use super::sums;
use crate::config::{Checksum, Existing};
use crate::deliver::names::{self, NUMBER_MAX, numbered};

/// What was found under the keys that a file may have.
pub(super) enum Choice {
    /// The file is to get this key.
    Free(String),
    /// It is there already.
    There(String),
}

impl Push<'_> {
    /// The key that the file is to get.
    pub(super) async fn choose(&self, key: &str) -> Result<Choice, Error> {
        let existing = self.settings.existing;
        if existing == Existing::Overwrite {
            return Ok(Choice::Free(key.to_owned()));
        }
        for number in 1..=NUMBER_MAX {
            let chosen = numbered(key, number);
            names::parts(&chosen).map_err(|problem| Error::Key { key: chosen.clone(), problem })?;
            let what = "look whether another file has the name";
            let Some(found) = self.client.look(what, &chosen, self.checksum).await? else {
                return Ok(Choice::Free(chosen));
            };
            if self.is_same(&found).await? {
                return Ok(Choice::There(chosen));
            }
            if existing == Existing::Refuse {
                return Err(Error::Exists { key: chosen, existing: "\"refuse\"" });
            }
        }
        let existing = "\"rename\" has no number left";
        Err(Error::Exists { key: key.to_owned(), existing })
    }

    /// The header of a write that is not to replace anything, where the store takes it.
    pub(super) fn unless_there(&self, is_in_parts: bool) -> Option<Header> {
        let takes_it = match self.store.conditional {
            Conditional::Never => false,
            Conditional::Put => !is_in_parts,
            Conditional::Always => true,
        };
        let is_wanted = self.settings.existing != Existing::Overwrite;
        (is_wanted && takes_it).then(|| ("if-none-match", "*".to_owned()))
    }

    /// Whether what is there is this file: by its size, and by checksum or ETag. What a store says
    /// nothing of is another file.
    pub(super) async fn is_same(&self, found: &Answer) -> Result<bool, Error> {
        if found.bytes != Some(self.source.bytes()) {
            return Ok(false);
        }
        let plan = self.plan();
        if let Some(said) = found.checksum(self.checksum).filter(|said| !said.contains('-')) {
            let sum = sums::of(&self.source, self.source.whole(), self.checksum).await?;
            return Ok(sum.base64() == said);
        }
        let etag = found.etag.as_deref().filter(|_| !found.is_etag_opaque).unwrap_or_default();
        match etag.split_once('-') {
            None if etag.len() == 32 => {
                let sum = sums::of(&self.source, self.source.whole(), Checksum::Md5).await?;
                Ok(sum.etag().is_some_and(|md5| etag.eq_ignore_ascii_case(&md5)))
            }
            Some((_, parts)) if parts == plan.count().to_string() => {
                Ok(etag.eq_ignore_ascii_case(&self.composite(&plan).await?))
            }
            _ => Ok(false),
        }
    }

    async fn composite(&self, plan: &Plan) -> Result<String, Error> {
        let mut parts = Vec::new();
        for (_, range) in plan.parts() {
            parts.push((sums::of(&self.source, range, Checksum::Md5).await?, range.bytes));
        }
        Ok(sums::whole(&parts))
    }
}
