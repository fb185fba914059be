//! How a file gets its name in the Dropbox.
//!
//! Every step can be repeated: a file of the same content is no conflict to Dropbox, whatever the
//! write mode. Names are therefore numbered here, by the pattern of Dropbox's own `autorename`: if it
//! chose them, a push whose answer was lost would leave the file twice.

use serde_json::{Value, json};

use super::client::{Call, Client, Payload, Waits};
use super::error::{Error, Meaning};
use super::hash::Hashes;
use crate::config::{DropboxDestination, Existing};
use crate::deliver::memo::Memo;
use crate::deliver::names::numbered;
use crate::deliver::source::{Range, Source};

/// Most names that are tried; with the last one Dropbox chooses.
const NAMES_MAX: u32 = 9;

/// A push under way.
pub(super) struct Push<'a> {
    pub(super) client: &'a Client,
    pub(super) settings: &'a DropboxDestination,
    pub(super) memo: &'a Memo,
    /// Where the file belongs: `/{directory}/{folder}/`.
    pub(super) folder: String,
    pub(super) name: String,
    pub(super) source: &'a Source,
    pub(super) hashes: Hashes<'a>,
    pub(super) waits: Waits,
}

impl Push<'_> {
    /// Pushes the file; answers its path.
    pub(super) async fn run(&self) -> Result<String, Error> {
        if self.source.bytes() <= self.client.limits.part_bytes {
            self.in_one().await
        } else {
            // Boxed, or every push is as large as one in parts.
            Box::pin(self.in_parts()).await
        }
    }

    async fn in_one(&self) -> Result<String, Error> {
        let hash = self.hashes.content_hash(self.source.whole()).await?;
        let mut number = 1;
        loop {
            let mut argument = self.commit(number);
            argument["content_hash"] = json!(hash);
            let payload = Payload::File(self.source, self.source.whole());
            let call = self.call("upload the file", "files/upload", argument, payload);
            let error = match self.client.send(&call, &self.waits).await {
                Ok(file) => return self.check(&file, number).await,
                Err(error) => error,
            };
            if !self.goes_elsewhere(&error, number) {
                return Err(self.said(error, number));
            }
            number += 1;
            // What was sent need not be sent again for another name.
            if let Some(id) = error.refusal().and_then(|refusal| refusal.upload_session_id.clone())
            {
                return self.finish(&id, number).await;
            }
        }
    }

    /// Makes a file of an upload session that has all of it.
    ///
    /// Where the name is taken, the same is asked again for another name, without data.
    pub(super) async fn finish(&self, session_id: &str, first: u32) -> Result<String, Error> {
        let cursor = json!({ "session_id": session_id, "offset": self.source.bytes() });
        let mut number = first;
        loop {
            let argument = json!({ "cursor": cursor, "commit": self.commit(number) });
            let route = "files/upload_session/finish";
            let call = Call {
                stall_ms_max: self.client.limits.finish_ms_max,
                ..self.call("make a file of the upload", route, argument, Payload::Nothing)
            };
            let error = match self.client.send(&call, &self.waits).await {
                Ok(file) => return self.check(&file, number).await,
                Err(error) => error,
            };
            match error.meaning() {
                // As Dropbox answers where an earlier answer to the same was lost.
                Some(Meaning::Session | Meaning::Closed) => {
                    return self.find(number).await?.ok_or(error);
                }
                _ if self.goes_elsewhere(&error, number) => number += 1,
                _ => return Err(self.said(error, number)),
            }
        }
    }

    /// Looks whether the file is there already, under this name or one that follows.
    pub(super) async fn find(&self, first: u32) -> Result<Option<String>, Error> {
        for number in first..=NAMES_MAX {
            let Some(file) = self.look(number).await? else { break };
            if self.is_same(&file).await? {
                return Ok(Some(self.located(&file, number)));
            }
            if self.settings.existing != Existing::Rename {
                break;
            }
        }
        Ok(None)
    }

    /// The metadata of the file that lies under the name, if there is one and we may look.
    async fn look(&self, number: u32) -> Result<Option<Value>, Error> {
        let (what, route) = ("look at what is there", "files/get_metadata");
        let argument = json!({ "path": self.path(number) });
        let call = Call {
            stall_ms_max: self.client.limits.connect_ms_max,
            ..self.call(what, route, argument, Payload::Argument)
        };
        let error = match self.client.send(&call, &self.waits).await {
            Ok(found) => return Ok((found[".tag"] == "file").then_some(found)),
            Err(error) => error,
        };
        match error.meaning() {
            Some(Meaning::Gone) => Ok(None),
            // An app that may write but not look is good enough.
            Some(Meaning::Scope) => {
                tracing::debug!(%error, "the app may not look at what is there");
                Ok(None)
            }
            _ => Err(error),
        }
    }

    /// Whether it is the file that is being pushed.
    async fn is_same(&self, file: &Value) -> Result<bool, Error> {
        if file["size"].as_u64() != Some(self.source.bytes()) {
            return Ok(false);
        }
        let hash = self.hashes.content_hash(self.source.whole()).await?;
        Ok(file["content_hash"].as_str() == Some(&hash))
    }

    /// Checks what Dropbox says it has; answers its path.
    async fn check(&self, file: &Value, number: u32) -> Result<String, Error> {
        let hash = self.hashes.content_hash(self.source.whole()).await?;
        let is_same_size = file["size"].as_u64() == Some(self.source.bytes());
        let is_same_hash = file["content_hash"].as_str().is_none_or(|found| found == hash);
        if is_same_size && is_same_hash {
            return Ok(self.located(file, number));
        }
        Err(Error::Altered { path: self.path(number) })
    }

    fn located(&self, file: &Value, number: u32) -> String {
        match file["name"].as_str() {
            Some(name) if !name.is_empty() => format!("{}{name}", self.folder),
            _ => self.path(number),
        }
    }

    /// Whether the next name is to be tried.
    fn goes_elsewhere(&self, error: &Error, number: u32) -> bool {
        let is_taken = error.meaning() == Some(Meaning::File);
        is_taken && self.settings.existing == Existing::Rename && number < NAMES_MAX
    }

    fn said(&self, error: Error, number: u32) -> Error {
        let refuses = self.settings.existing == Existing::Refuse;
        if refuses && error.meaning() == Some(Meaning::File) {
            return Error::Exists { path: self.path(number) };
        }
        error
    }

    /// How the file is to lie there: `CommitInfo`.
    fn commit(&self, number: u32) -> Value {
        let existing = self.settings.existing;
        let mode = if existing == Existing::Overwrite { "overwrite" } else { "add" };
        json!({
            "path": self.path(number),
            "mode": mode,
            "autorename": existing == Existing::Rename && number == NAMES_MAX,
            "mute": self.settings.mute,
        })
    }

    /// Its path; that with the number 1 is its own.
    fn path(&self, number: u32) -> String {
        format!("{}{}", self.folder, numbered(&self.name, number))
    }

    pub(super) fn call<'b>(
        &self,
        what: &'static str,
        route: &'static str,
        argument: Value,
        payload: Payload<'b>,
    ) -> Call<'b> {
        Call { what, route, argument, payload, stall_ms_max: self.client.limits.stall_ms_max }
    }

    /// The content hash of some bytes.
    pub(super) async fn hash(&self, range: Range) -> Result<String, Error> {
        Ok(self.hashes.content_hash(range).await?)
    }
}
