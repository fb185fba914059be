//! Arguments and errors as `files.stone` and `common.stone` have them.

use serde::Deserialize;
use serde::de::DeserializeOwned;
use serde_json::{Value, json};

/// `UploadArg`, which extends `CommitInfo`
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct UploadArg {
    pub(crate) path: String,
    #[serde(default = "add")]
    pub(crate) mode: Value,
    #[serde(default)]
    pub(crate) autorename: bool,
    #[serde(default)]
    #[expect(dead_code, reason = "looked at in the argument as it came")]
    pub(crate) mute: bool,
    #[serde(default)]
    pub(crate) strict_conflict: bool,
    #[serde(default)]
    pub(crate) content_hash: Option<String>,
}

fn add() -> Value {
    json!("add")
}

impl UploadArg {
    /// Whether it is `overwrite`; `add` if not. Nothing else is used here.
    pub(crate) fn overwrites(&self) -> Result<bool, String> {
        match self.mode.as_str().or(self.mode[".tag"].as_str()) {
            Some("overwrite") => Ok(true),
            Some("add") => Ok(false),
            _ => Err(format!("mode: {}", self.mode)),
        }
    }
}

/// `UploadSessionStartArg`
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct StartArg {
    #[serde(default)]
    pub(crate) close: bool,
    #[serde(default)]
    pub(crate) session_type: Option<Value>,
    #[serde(default)]
    pub(crate) content_hash: Option<String>,
}

/// `UploadSessionCursor`
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Cursor {
    pub(crate) session_id: String,
    pub(crate) offset: usize,
}

/// `UploadSessionAppendArg`
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct AppendArg {
    pub(crate) cursor: Cursor,
    #[serde(default)]
    pub(crate) close: bool,
    #[serde(default)]
    pub(crate) content_hash: Option<String>,
}

/// `UploadSessionFinishArg`
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct FinishArg {
    pub(crate) cursor: Cursor,
    pub(crate) commit: UploadArg,
    #[serde(default)]
    pub(crate) content_hash: Option<String>,
}

/// `GetMetadataArg` and `DownloadArg`
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct PathArg {
    pub(crate) path: String,
}

/// `DeleteArg`
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct DeleteArg {
    pub(crate) path: String,
    #[serde(default)]
    pub(crate) parent_rev: Option<String>,
}

/// What a request is answered with.
#[derive(Debug)]
pub(crate) enum Refused {
    /// 400, with a sentence.
    Bad(String),
    /// 408: the body did not come in time.
    Cut,
    /// 401
    Auth(Value),
    /// 422
    Root,
    /// 409, with the error.
    Endpoint(Value),
}

pub(crate) fn parse<T: DeserializeOwned>(argument: &Value) -> Result<T, Refused> {
    serde_json::from_value(argument.clone()).map_err(|error| Refused::Bad(error.to_string()))
}

/// A union of a union, and so on; the innermost may have members.
pub(crate) fn union(tags: &[&str], members: &Value) -> Value {
    let mut value = Value::Null;
    for (depth, tag) in tags.iter().enumerate().rev() {
        let mut at = if depth + 1 == tags.len() { members.clone() } else { json!({ *tag: value }) };
        at[".tag"] = json!(tag);
        value = at;
    }
    value
}

pub(crate) fn refused<T>(tags: &[&str]) -> Result<T, Refused> {
    Err(Refused::Endpoint(union(tags, &json!({}))))
}

/// `error_summary`: the tags, and dots that nobody is to rely on.
pub(crate) fn summary(error: &Value) -> String {
    let (mut at, mut text) = (error, String::new());
    while let Some(tag) = at[".tag"].as_str() {
        text += tag;
        text.push('/');
        at = if at[tag].is_object() { &at[tag] } else { &at["reason"] };
    }
    text + "..."
}

/// `WritePathOrId` by its pattern, without the kinds that are not used here.
pub(crate) fn check_pattern(path: &str) -> Result<(), Refused> {
    if path.starts_with('/') {
        Ok(())
    } else {
        Err(Refused::Bad(format!("path: {path:?} did not match pattern '(/(.|[\\r\\n])*)|…'")))
    }
}

/// What is wrong with a path, as a `WriteError` or a `LookupError`.
pub(crate) fn path_error(path: &str) -> Option<&'static str> {
    for part in path.split('/').skip(1) {
        let is_odd = part.is_empty() || matches!(part, "." | "..") || part.ends_with(['.', ' ']);
        if is_odd || part.chars().count() > 255 || part.contains(|c: char| c == '\\' || c < ' ') {
            return Some("malformed_path");
        }
        if matches!(part.to_lowercase().as_str(), "desktop.ini" | "thumbs.db" | ".dropbox") {
            return Some("disallowed_name");
        }
    }
    None
}
