//! Histories of webhooks that are not right: the oracle has to say so.

use aws_lc_rs::hmac;
use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use holdfast_core::recording::{Event as Step, Recording};
use holdfast_core::step;
use serde_json::{Value, json};

use super::*;
use crate::simulation::places::WEBHOOK_SECRET;
use crate::simulation::regressions::{at, recording};
use crate::webhooks::Keys;
use crate::webhooks::event::Format;

const HOOK: &str = "hook0";

/// A recording that was saved, and what its webhook hears.
struct Story {
    webhooks: Webhooks,
    rec: Recording,
    hook: Webhook,
    requests: u64,
}

fn start() -> Timestamp {
    at("2026-01-01T10:00:00Z")
}

fn seconds(seconds: u64) -> Attempt {
    let elapsed = Duration::from_secs(seconds);
    Attempt { elapsed, now: start() + SignedDuration::try_from(elapsed).unwrap() }
}

fn outside(elapsed: Duration) -> Now {
    let wall = start() + SignedDuration::try_from(elapsed).unwrap();
    Now { elapsed, wall, is_vouched_for: true, troubled: None, clock_was_off: None }
}

impl Story {
    fn new() -> Self {
        let rec = recording(start());
        let hook = Webhook {
            id: HOOK.into(),
            env_id: rec.env_id.clone(),
            url: "https://hook0.example/".into(),
            events: BTreeSet::new(),
            format: Format::Json,
            enabled: true,
            keys: Keys::Sealed { secret: String::new(), old: None, pipe_key: None },
        };
        let mut webhooks = Webhooks::default();
        webhooks.hooks.insert(HOOK.into(), Hook { is_on: true, ..Hook::new(&hook) });
        let mut story = Self { webhooks, rec, hook, requests: 0 };
        let stopped = Step::Stopped { bytes: 3, sha256: "raw".into(), container: None };
        story.happens(stopped, 0);
        story.happens(Step::Saved, 0);
        story
    }

    fn happens(&mut self, event: Step, second: u64) {
        let Attempt { elapsed, now } = seconds(second);
        let (after, _) = step(&self.rec, event, now);
        self.webhooks.note((&self.rec, &after), now, elapsed);
        for news in std::mem::take(&mut self.webhooks.news) {
            self.webhooks.expect(&self.hook, &news);
        }
        self.rec = after;
    }

    /// It is told something.
    fn hears(&mut self, id: &str, body: &Value, second: u64) {
        let (at, body) = (seconds(second), body.to_string());
        let at_s = at.now.as_second().to_string();
        let key = STANDARD.decode(&WEBHOOK_SECRET[6..]).unwrap();
        let key = hmac::Key::new(hmac::HMAC_SHA256, &key);
        let signed = hmac::sign(&key, format!("{id}.{at_s}.{body}").as_bytes());
        let request = Told {
            hook: HOOK.into(),
            id: id.into(),
            at_s,
            signature: format!("v1,{}", STANDARD.encode(signed)),
            content_type: "application/json".into(),
            body: body.into_bytes(),
        };
        self.requests += 1;
        self.webhooks.asked(self.requests, &request, at, outside(at.elapsed));
    }

    /// It said yes.
    fn takes(&mut self, second: u64) {
        self.webhooks.answered(self.requests, 200, outside(Duration::from_secs(second)));
    }

    /// What it should hear of its recording's being saved.
    fn saved(&self) -> Value {
        let data = json!({
            "id": self.rec.id, "env_id": self.rec.env_id, "state": "saved", "recovered": false,
            "received_at": start(), "saved_at": start(), "bytes": 3, "sha256": "raw",
        });
        let event = "video_recorded";
        json!({ "version": "1.0", "event": event, "type": event, "timestamp": start(), "data": data })
    }

    fn is_over(&self, hours: u64) {
        let over = Duration::from_secs(3_600 * hours);
        self.webhooks.everything_was_told(seconds(over.as_secs()).now, outside(over));
    }
}

#[test]
fn an_honest_story_is_right() {
    let mut story = Story::new();
    let saved = story.saved();
    story.hears("msg_1", &saved, 1);
    story.hears("msg_1", &saved, 6);
    story.takes(6);
    story.is_over(100);
}

#[test]
#[should_panic(expected = "never told, nor given up")]
fn what_happened_is_told() {
    Story::new().is_over(100);
}

#[test]
#[should_panic(expected = "never told, nor given up")]
fn nothing_is_given_up_after_three_attempts() {
    let mut story = Story::new();
    for second in [1, 6, 306] {
        story.hears("msg_1", &story.saved(), second);
    }
    story.is_over(100);
}

#[test]
#[should_panic(expected = "told of what did not happen")]
fn nothing_is_told_that_did_not_happen() {
    let mut story = Story::new();
    let mut body = story.saved();
    (body["event"], body["type"]) = (json!("video_converted"), json!("video_converted"));
    story.hears("msg_1", &body, 1);
}

#[test]
#[should_panic(expected = "told of what did not happen")]
fn an_event_has_one_id() {
    let mut story = Story::new();
    story.hears("msg_1", &story.saved(), 1);
    story.hears("msg_2", &story.saved(), 6);
}

#[test]
#[should_panic(expected = "told again although it was taken")]
fn what_was_taken_is_not_told_again() {
    let mut story = Story::new();
    story.hears("msg_1", &story.saved(), 1);
    story.takes(1);
    story.hears("msg_1", &story.saved(), 6);
}

#[test]
#[should_panic(expected = "told again after")]
fn a_repeat_waits_its_time() {
    let mut story = Story::new();
    for second in [1, 6, 11] {
        story.hears("msg_1", &story.saved(), second);
    }
}

#[test]
#[should_panic(expected = "told out of order")]
fn what_happened_first_is_told_first() {
    let mut story = Story::new();
    story.happens(Step::DeleteRequested { by: "x".into() }, 60);
    story.happens(Step::FilesDeleted(vec![holdfast_core::recording::FileKind::Raw]), 61);
    let data = json!({ "id": story.rec.id, "env_id": story.rec.env_id });
    let body = json!({ "event": "recording.deleted", "data": data });
    story.hears("msg_2", &body, 62);
}

#[test]
#[should_panic(expected = "state: ")]
fn the_payload_is_of_the_moment_at_which_it_happened() {
    let mut story = Story::new();
    let mut body = story.saved();
    body["data"]["state"] = json!("stored");
    story.hears("msg_1", &body, 1);
}

#[test]
#[should_panic(expected = "told of the person after the deletion")]
fn the_person_is_not_told_of_once_forgotten() {
    let mut story = Story::new();
    story.webhooks.wiped.insert(story.rec.id);
    let mut body = story.saved();
    body["data"]["metadata"] = json!({ "ip": "192.0.2.1" });
    story.hears("msg_1", &body, 1);
}

#[test]
#[should_panic(expected = "the signature is not right")]
fn what_is_told_is_signed() {
    let story = Story::new();
    let request = Told {
        hook: HOOK.into(),
        id: "msg_1".into(),
        at_s: "1".into(),
        signature: "v1,".into(),
        content_type: "application/json".into(),
        body: story.saved().to_string().into_bytes(),
    };
    request::body(&request);
}
