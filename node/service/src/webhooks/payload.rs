//! What a webhook is told.
//!
//! ```json
//! { "version": "1.0", "event": "video_recorded", "type": "video_recorded",
//!   "timestamp": "2026-11-24T02:00:00Z", "data": { … } }
//! ```
//!
//! `version`, `event` and `data` are as Pipe sends them, `type` and `timestamp` as Standard Webhooks
//! wants them; members of `data` are called as in the API.
//!
//! Invariant: what is made here, and kept until it is delivered, has no personal data. That is added
//! when a request is made, from what the recording still keeps then, so that a payload that waits does
//! not outlive the recording's own metadata (rule 8).

use holdfast_core::happening::Happening;
use holdfast_core::push_order::{self, ORDER};
use holdfast_core::recording::{File, FileKind, Metadata, Recording};
use holdfast_core::retention::Rule;
use jiff::Timestamp;
use serde_json::{Map, Value, json};

use super::event::Event;
use crate::operate::view::{files_base, media_view};

/// What is told of something that happened to a recording.
#[must_use]
pub(super) fn payload(
    event: Event,
    happening: &Happening,
    rec: &Recording,
    now: Timestamp,
) -> Value {
    let data = match happening {
        Happening::Deleted => deleted(rec, now),
        Happening::Failed => with(common(rec), failed(rec)),
        Happening::Copied { destination } => with(common(rec), copied(rec, destination)),
        Happening::Recorded | Happening::Recovered | Happening::Converted => common(rec),
    };
    envelope(event.as_str(), data, now)
}

/// The same for whatever it is about.
pub(super) fn envelope(event: &str, data: Value, now: Timestamp) -> Value {
    let mut envelope = json!({ "version": "1.0", "event": event, "type": event, "timestamp": now });
    envelope["data"] = data;
    envelope
}

/// The JSON that is sent: the payload, with what the recording keeps of a person now. Nothing where
/// the recording is gone.
#[must_use]
pub(super) fn compose(mut payload: Value, metadata: Option<&Metadata>) -> Vec<u8> {
    let event = payload["event"].as_str().unwrap_or_default().to_owned();
    let is = |one: Event| event == one.as_str();
    if let Some(metadata) = metadata.filter(|_| !is(Event::Deleted)) {
        payload["data"]["metadata"] = if is(Event::Recorded) || is(Event::Recovered) {
            json!(metadata)
        } else {
            json!({ "title": metadata.title })
        };
    }
    payload.to_string().into_bytes()
}

fn common(rec: &Recording) -> Value {
    let files = ORDER.into_iter().filter_map(|kind| rec.file(kind));
    json!({
        "id": rec.id,
        "env_id": rec.env_id,
        "account_id": rec.account_id,
        "name": rec.name,
        "source": rec.source,
        "state": rec.state,
        "recovered": rec.recovered,
        "received_at": rec.received_at,
        "saved_at": rec.saved_at,
        "bytes": rec.bytes,
        "sha256": rec.file(FileKind::Raw).and_then(|raw| raw.sha256.as_deref()),
        "container": rec.container,
        "media": rec.media.as_ref().map(media_view),
        "files": files.map(|file| self::file(rec, file)).collect::<Vec<_>>(),
    })
}

fn file(rec: &Recording, file: &File) -> Value {
    let is_readable = !rec.is_ended() && (file.is_local() || !file.pushed.is_empty());
    let url = || format!("{}/{}", files_base(rec.id), file.kind.as_str());
    json!({
        "kind": file.kind,
        "bytes": file.bytes,
        "sha256": file.sha256,
        "url": is_readable.then(url),
        "pushed": file.pushed,
    })
}

fn copied(rec: &Recording, destination: &str) -> Value {
    let here = rec.files.iter().filter_map(|file| {
        let pushed = file.pushed.iter().find(|pushed| pushed.destination == destination)?;
        Some((file.kind.as_str().to_owned(), Value::from(pushed.location.as_str())))
    });
    let main = push_order::main_kind(&rec.policy).as_str();
    let locations: Map<String, Value> = here.collect();
    json!({
        "destination": destination,
        "location": locations.get(main),
        "locations": locations,
    })
}

fn failed(rec: &Recording) -> Value {
    let steps = [("copy", &rec.copy), ("transcode", &rec.transcode), ("push", &rec.push)];
    let step = steps.into_iter().find(|(_, step)| step.exhausted);
    json!({
        "step": step.map(|(name, _)| name),
        "attempts": step.map(|(_, step)| step.made),
        "error": step.and_then(|(_, step)| step.error.as_ref()),
    })
}

/// Only what a receipt of the deletion says: no name that people chose, nothing of the person.
fn deleted(rec: &Recording, now: Timestamp) -> Value {
    let files = ORDER.into_iter().filter_map(|kind| rec.file(kind)).map(|file| {
        json!({
            "kind": file.kind,
            "bytes": file.bytes,
            "sha256": file.sha256,
            "deleted_at": file.deleted_at,
            "rule": file.doomed.as_ref().map(|doom| doom.rule),
        })
    });
    json!({
        "id": rec.id,
        "env_id": rec.env_id,
        "account_id": rec.account_id,
        "rule": rule(rec),
        "by": rec.ended.as_ref().and_then(|ended| ended.by.as_deref()),
        "decided_at": rec.ended.as_ref().map(|ended| ended.at),
        "deleted_at": now,
        "files": files.collect::<Vec<_>>(),
    })
}

/// Why it is gone as a whole: the rule that ended it, or the one that took its last file.
fn rule(rec: &Recording) -> Option<Rule> {
    let last = rec.files.iter().max_by_key(|file| file.deleted_at);
    let doom = last.and_then(|file| file.doomed.as_ref());
    rec.ended.as_ref().map(|ended| ended.rule).or(doom.map(|doom| doom.rule))
}

fn with(mut data: Value, more: Value) -> Value {
    if let (Value::Object(data), Value::Object(more)) = (&mut data, more) {
        data.extend(more);
    }
    data
}

#[cfg(test)]
mod tests {
    use super::*;

    const PERSON: &str = "198.51.100.7";

    fn metadata() -> Metadata {
        Metadata {
            ip: Some(PERSON.into()),
            title: Some("An interview".into()),
            ..Metadata::default()
        }
    }

    fn sent(event: &str, metadata: Option<&Metadata>) -> Value {
        let payload = envelope(event, json!({ "id": "x" }), Timestamp::UNIX_EPOCH);
        serde_json::from_slice(&compose(payload, metadata)).unwrap()
    }

    #[test]
    fn personal_data_goes_out_once_and_never_with_a_deletion() {
        let person = metadata();
        for event in Event::ALL {
            let text = sent(event.as_str(), Some(&person)).to_string();
            let is_first = matches!(event, Event::Recorded | Event::Recovered);
            assert_eq!(text.contains(PERSON), is_first, "{text}");
            assert_eq!(text.contains("interview"), event != Event::Deleted, "{text}");
        }
        assert!(!sent("video_recorded", None).to_string().contains("metadata"));
    }

    #[test]
    fn it_is_named_as_pipe_and_standard_webhooks_name_it() {
        let sent = sent("video_converted", None);
        assert_eq!(sent["version"], "1.0");
        assert_eq!((&sent["event"], &sent["type"]), (&json!("video_converted"), &sent["event"]));
        assert_eq!(sent["timestamp"], "1970-01-01T00:00:00Z");
    }
}
