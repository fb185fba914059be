//! What Dropbox says when it says no.
//!
//! `{"error_summary": "path/conflict/file/..", "error": {".tag": "path", …}}`: a union's value is either
//! under the tag's own name, or, where it is a struct, beside the tag. What is no JSON is a sentence.

use std::fmt;

use holdfast_core::attempts::Fault;
use serde_json::Value;

use crate::config::DropboxDestination;

/// Most characters of Dropbox's own words.
const MESSAGE_CHARS_MAX: usize = 200;
/// Most tags of an error, one within the other.
const TAGS_MAX: usize = 6;

/// What Dropbox says when it says no.
#[derive(Debug)]
pub(in crate::deliver::dropbox) struct Refusal {
    what: &'static str,
    /// HTTP status.
    status: u16,
    /// The error's tags, from the outermost.
    tags: Vec<String>,
    message: String,
    /// How far the upload session is, in bytes, where Dropbox says so.
    pub(in crate::deliver::dropbox) correct_offset: Option<u64>,
    /// The session that has the data of an upload which could not be saved.
    pub(in crate::deliver::dropbox) upload_session_id: Option<String>,
    /// How long to wait, in seconds, where Dropbox says so.
    pub(in crate::deliver::dropbox) retry_after_s: Option<u64>,
    required_scope: Option<String>,
}

/// What a refusal means.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(in crate::deliver::dropbox) enum Meaning {
    /// The access token is too old, or not one.
    Token,
    /// The refresh token is not good, or not any more.
    Disconnected,
    /// The app is not known, or its secret is wrong.
    App,
    /// The app may not do this.
    Scope,
    /// The account may not do this.
    Denied,
    /// The space that was named is not there.
    PathRoot,
    /// It wants us to wait.
    Busy,
    /// It is broken at the moment.
    Broken,
    /// The bytes that arrived are others.
    Altered,
    /// A file has the name.
    File,
    /// A folder has the name.
    Folder,
    /// A file has the name of a folder that is needed.
    FileAbove,
    /// The user may not write there.
    NoWrite,
    /// There is no room.
    Full,
    /// Dropbox takes no such name.
    Name,
    /// There is nothing there.
    Gone,
    /// There is something, but it cannot be had.
    Unavailable,
    /// The upload session is not there, or cannot be added to.
    Session,
    /// The upload session is somewhere else than we think.
    Offset,
    /// The upload session was closed.
    Closed,
    /// A parallel upload session that is not as it should be.
    Parallel,
    /// We speak it wrongly.
    Misused,
    /// Something else.
    Other,
}

impl Refusal {
    /// Reads a refusal from an answer. `retry_after` is that header.
    pub(in crate::deliver::dropbox) fn read(
        what: &'static str,
        status: u16,
        retry_after: Option<&str>,
        body: &str,
    ) -> Self {
        let json: Value = serde_json::from_str(body).unwrap_or_default();
        let (mut tags, mut at) = (Vec::new(), &json["error"]);
        let of = |name: &str, at: &Value| at[name].as_u64();
        let (mut correct_offset, mut asked_s) = (None, None);
        let (mut upload_session_id, mut required_scope) = (None, None);
        // How the token's endpoint says it.
        if let Some(tag) = at.as_str() {
            tags.push(tag.to_owned());
        }
        while at.is_object() && tags.len() < TAGS_MAX {
            correct_offset = of("correct_offset", at).or(correct_offset);
            asked_s = of("retry_after", at).or(asked_s);
            upload_session_id = at["upload_session_id"].as_str().or(upload_session_id);
            required_scope = at["required_scope"].as_str().or(required_scope);
            let Some(tag) = at[".tag"].as_str() else {
                at = &at["reason"];
                continue;
            };
            tags.push(tag.to_owned());
            at = if at[tag].is_null() { &at["reason"] } else { &at[tag] };
        }
        let message = json["error_summary"].as_str().or(json["error_description"].as_str());
        let message = match message {
            Some(message) => message.trim_end_matches(['.', '/']),
            None if json.is_null() => body,
            None => "",
        };
        Self {
            what,
            status,
            message: plain(message),
            correct_offset,
            upload_session_id: upload_session_id.map(String::from),
            retry_after_s: retry_after.and_then(|seconds| seconds.trim().parse().ok()).or(asked_s),
            required_scope: required_scope.map(String::from),
            tags,
        }
    }

    /// Whether the same request may well succeed in a second.
    pub(super) fn is_hiccup(&self) -> bool {
        matches!(self.meaning(), Meaning::Broken | Meaning::Altered)
    }

    /// Whose fault it is.
    pub(super) fn fault(&self) -> Fault {
        match self.meaning() {
            Meaning::Misused => Fault::Ours,
            Meaning::Busy
            | Meaning::Broken
            | Meaning::Altered
            | Meaning::Session
            | Meaning::Offset
            | Meaning::Closed
            | Meaning::Parallel => Fault::Networks,
            _ => Fault::Customers,
        }
    }

    fn has(&self, tag: &str) -> bool {
        self.tags.iter().any(|found| found == tag)
    }

    /// What it means.
    pub(in crate::deliver::dropbox) fn meaning(&self) -> Meaning {
        match self.status {
            400 if self.has("invalid_grant") => Meaning::Disconnected,
            400 | 401 if self.is_about_app() => Meaning::App,
            400 | 401 if self.has("missing_scope") || self.message.contains("scope") => {
                Meaning::Scope
            }
            401 if self.has("expired_access_token") || self.has("invalid_access_token") => {
                Meaning::Token
            }
            401 | 403 => Meaning::Denied,
            400 => Meaning::Misused,
            422 => Meaning::PathRoot,
            408 | 500.. => Meaning::Broken,
            429 => Meaning::Busy,
            409 => self.meaning_of_tags(),
            _ => Meaning::Other,
        }
    }

    fn is_about_app(&self) -> bool {
        // The token's endpoint puts words behind it: `invalid_client: Invalid client_id or …`.
        let begins = |tag: &String| {
            ["invalid_client", "unauthorized_client"].iter().any(|app| tag.starts_with(app))
        };
        self.tags.iter().any(begins) || self.message.contains("Invalid client_id")
    }

    fn meaning_of_tags(&self) -> Meaning {
        // `path`, or `path_lookup` of a deletion: there is nothing at it. Else it is of a session.
        let is_of_path = self.tags.first().is_some_and(|tag| tag.starts_with("path"));
        for tag in self.tags.iter().rev() {
            return match tag.as_str() {
                "file" => Meaning::File,
                "folder" | "not_file" | "not_folder" => Meaning::Folder,
                "file_ancestor" => Meaning::FileAbove,
                "no_write_permission"
                | "team_folder"
                | "operation_suppressed"
                | "access_restricted"
                | "encryption_not_supported" => Meaning::NoWrite,
                "insufficient_space" => Meaning::Full,
                "disallowed_name" | "malformed_path" => Meaning::Name,
                "too_many_write_operations" => Meaning::Busy,
                "content_hash_mismatch" => Meaning::Altered,
                "not_found" if is_of_path => Meaning::Gone,
                "not_found" => Meaning::Session,
                "incorrect_offset" => Meaning::Offset,
                "closed" => Meaning::Closed,
                "restricted_content"
                | "unsupported_content_type"
                | "unsupported_file"
                | "locked" => Meaning::Unavailable,
                "payload_too_large" | "too_large" => Meaning::Misused,
                tag if tag.starts_with("concurrent_session_") => Meaning::Parallel,
                _ => continue,
            };
        }
        Meaning::Other
    }

    /// What to do about it.
    pub(super) fn advice(&self, settings: &DropboxDestination) -> String {
        let token = match &settings.refresh_token_file {
            Some(file) => file.display().to_string(),
            None => "the destination's refresh_token".into(),
        };
        let advice = match self.meaning() {
            Meaning::Token | Meaning::Disconnected => {
                return format!(
                    "connect Dropbox again: authorize the app with token_access_type=offline, and put \
                     the new refresh token into {token}"
                );
            }
            Meaning::App => {
                "check app_key and app_secret against the app's page at Dropbox; an app that was \
                 connected with PKCE has no secret"
            }
            Meaning::Scope => {
                let scope = self.required_scope.as_deref().unwrap_or(
                    "files.content.write (and, advised, files.content.read and files.metadata.read)",
                );
                return format!(
                    "tick {scope} in Permissions on the app's page at Dropbox, connect Dropbox again, \
                     and put the new refresh token into {token}: older ones do not get it"
                );
            }
            Meaning::Denied => {
                "Dropbox lets the account do nothing here: have a look at it at dropbox.com, or ask \
                 the team's admin"
            }
            Meaning::PathRoot => {
                "there is no such space, or the user may not use it: correct path_root"
            }
            Meaning::Busy | Meaning::Broken => "Dropbox is busy or broken at the moment",
            Meaning::Altered => "what arrived is not what was sent: check the line",
            Meaning::File => "another file has the name: move it away, or change existing",
            Meaning::Folder => "it is no file: move away what has its name",
            Meaning::FileAbove => {
                "a file has the name of a folder above it: move it away, or correct directory"
            }
            Meaning::NoWrite => {
                "let the user write there (or its team's admin allow it), or choose another directory"
            }
            Meaning::Full => "the Dropbox is full: make room, or get more",
            Meaning::Name => "Dropbox takes no file or folder of this name: correct directory",
            Meaning::Gone => "something removed it meanwhile",
            Meaning::Unavailable => {
                "Dropbox does not hand this file out: look at it at dropbox.com"
            }
            Meaning::Session | Meaning::Offset | Meaning::Closed | Meaning::Parallel => {
                "the next attempt starts over"
            }
            Meaning::Misused => "please report this to the node's vendor",
            Meaning::Other => "see Dropbox's documentation of this error",
        };
        advice.into()
    }
}

impl fmt::Display for Refusal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { what, status, tags, message, .. } = self;
        write!(f, "cannot {what}: Dropbox answers {status}")?;
        match (message.is_empty(), tags.is_empty()) {
            (false, _) => write!(f, " ({message})"),
            (true, false) => write!(f, " ({})", tags.join("/")),
            (true, true) => Ok(()),
        }
    }
}

/// Dropbox's own words: short, on one line, and without anything that may be a token.
fn plain(text: &str) -> String {
    let is_secret = |word: &&str| word.contains("sl.") || word.len() > 80;
    let words = text.split_whitespace().filter(|word| !is_secret(word));
    let line = words.collect::<Vec<_>>().join(" ");
    line.chars().filter(|c| !c.is_control()).take(MESSAGE_CHARS_MAX).collect()
}

#[cfg(test)]
mod tests;
