//! A request as a receiver reads it.

use aws_lc_rs::hmac;
use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use holdfast_core::RecordingId;
use jiff::Timestamp;
use serde_json::Value;

use super::Event;
use super::reading::Happened;
use crate::simulation::places::WEBHOOK_SECRET;
use crate::simulation::receivers::Told;

/// What a request says, once its signature is found right.
pub(super) fn body(told: &Told) -> Value {
    let Told { hook, id, at_s, signature, content_type, body } = told;
    let key = WEBHOOK_SECRET.strip_prefix("whsec_").map(|text| STANDARD.decode(text));
    let key = hmac::Key::new(hmac::HMAC_SHA256, &key.expect("its prefix").expect("base64"));
    let signed = [format!("{id}.{at_s}.").as_bytes(), body.as_slice()].concat();
    let right = format!("v1,{}", STANDARD.encode(hmac::sign(&key, &signed)));
    assert_eq!(*signature, right, "{hook}: the signature is not right");
    let body = if content_type == "application/json" {
        serde_json::from_slice(body)
    } else {
        let mut fields = form_urlencoded::parse(body);
        let (name, json) = fields.next().expect("a field");
        assert_eq!(name, "payload", "{hook}");
        serde_json::from_str(&json)
    };
    body.expect("JSON")
}

/// The payload is what the documentation says it is for this.
pub(super) fn says_what_happened(
    body: &Value,
    what: &Happened,
    recording: RecordingId,
    made: Timestamp,
) {
    assert_eq!(body["version"], "1.0", "{body}");
    assert_eq!(body["type"], body["event"], "{body}");
    assert_eq!(body["timestamp"], made.to_string(), "{body}");
    assert_eq!(body["data"]["id"], recording.to_string(), "{body}");
    let facts = what.facts.as_object().expect("members");
    for (member, value) in facts {
        assert_eq!(body["data"][member], *value, "{member}: {body}");
    }
    if what.event == Event::Deleted {
        let members = body["data"].as_object().expect("members");
        let right =
            ["account_id", "by", "decided_at", "deleted_at", "env_id", "files", "id", "rule"];
        let mut members: Vec<_> = members.keys().map(String::as_str).collect();
        members.sort_unstable();
        assert_eq!(members, right, "{body}");
    }
}

/// What is known of the person goes out where it should, and never once the recording is wiped.
pub(super) fn keeps_the_person(body: &Value, what: &Happened, is_wiped: bool) {
    let is_first = matches!(what.event, Event::Recorded | Event::Recovered);
    let metadata = &body["data"]["metadata"];
    let tells_more = metadata.as_object().is_some_and(|told| told.keys().any(|key| key != "title"));
    assert!(is_first || !tells_more, "told of the person: {body}");
    let mut values = metadata.as_object().into_iter().flat_map(|told| told.values());
    let is_empty = values.all(|value| value.is_null() || *value == Value::Array(Vec::new()));
    assert!(!is_wiped || is_empty, "told of the person after the deletion: {body}");
}

/// What has to be the same each time that it is told.
pub(super) fn without_the_person(mut body: Value) -> Value {
    if let Some(data) = body["data"].as_object_mut() {
        data.remove("metadata");
    }
    body
}
