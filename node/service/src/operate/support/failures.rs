//! What is in the queue, and what failed last: recordings by their ids, which are random, and nothing
//! that a recording says of a person.

use std::collections::BTreeMap;

use holdfast_core::Lane;
use holdfast_core::attempts::{Attempts, Failure, Fault};
use holdfast_core::recording::{Metadata, Recording};
use jiff::Timestamp;
use serde::Serialize;
use serde_json::{Value, json};

use super::plain::Plain;
use super::shown::{As, Kind, Rule, Shown};
use crate::deliver::journal::{Journal, Tried};
use crate::ledger::{Filter, LedgerError};
use crate::node::Node;
use crate::operate::view::media_view;

/// Recordings that are looked at, the newest first.
const LOOKED_AT_MAX: usize = 5_000;
/// Recordings read in one go.
const PAGE: usize = 500;
/// Recordings that are listed.
const LISTED_MAX: usize = 150;
/// Pushes that are listed of each, the newest.
const PUSHES_MAX: usize = 5;

const MEDIA: [Rule; 5] = [
    ("duration_ms", As::Is),
    ("width", As::Is),
    ("height", As::Is),
    ("video", As::Is),
    ("audio", As::Is),
];

/// How much waits in each lane. Blocks.
pub(super) fn queue(node: &Node, now: Timestamp) -> Result<Value, LedgerError> {
    let depths = node.ledger.depths(now)?;
    let lanes = Lane::ALL.into_iter().zip(depths).map(|(lane, depth)| {
        json!({
            "lane": format!("{lane:?}").to_lowercase(), "due": depth.due, "later": depth.later,
            "next_at": depth.next_at,
        })
    });
    Ok(json!({
        "lanes": lanes.collect::<Vec<_>>(),
        "pushes_running": node.pushing.transfers.count(),
        "jobs_max": node.hardware.jobs_max(),
    }))
}

/// The newest recordings of which something failed, and what; and the same by destination. Blocks.
pub(super) fn failures(node: &Node, known: &Shown) -> Result<Value, LedgerError> {
    let (mut listed, mut looked_at, mut before) = (Vec::new(), 0, None);
    let mut at = BTreeMap::new();
    while looked_at < LOOKED_AT_MAX && listed.len() < LISTED_MAX {
        let (page, next) = node.ledger.list(&Filter::default(), before, PAGE)?;
        for recording in page {
            looked_at += 1;
            if listed.len() < LISTED_MAX && has_failed(&recording) {
                let tried = Journal::of(&node.ledger, recording.id)?;
                let of = Of { known, said: said_of(&recording) };
                of.count(&tried, &mut at);
                listed.push(of.recording(&recording, &tried));
            }
        }
        before = next;
        if next.is_none() {
            break;
        }
    }
    Ok(json!({
        "looked_at": looked_at, "looked_at_max": LOOKED_AT_MAX, "listed_max": LISTED_MAX,
        "destinations": at, "recordings": listed,
    }))
}

/// What failed at a destination.
#[derive(Debug, Default, Serialize)]
struct At {
    ours: u64,
    customers: u64,
    networks: u64,
    last_at: Option<Timestamp>,
    last_error: Option<String>,
}

fn has_failed(recording: &Recording) -> bool {
    let Recording { copy, transcode, push, withdrawal, .. } = recording;
    [copy, transcode, push].iter().any(|step| step.error.is_some()) || withdrawal.error.is_some()
}

/// A recording, with what may be told of it.
struct Of<'a> {
    known: &'a Shown,
    /// What it says of a person.
    said: Plain,
}

impl Of<'_> {
    fn text(&self, text: &str) -> String {
        self.known.plain.text(&self.said.without_known(text))
    }

    fn recording(&self, recording: &Recording, tried: &[Tried]) -> Value {
        let failed = tried.iter().rev().filter(|tried| tried.error.is_some()).take(PUSHES_MAX);
        let media = recording.media.as_ref().map(media_view);
        json!({
            "id": recording.id,
            "environment": self.known.name(Kind::Environment, &recording.env_id),
            "state": recording.state,
            "source": recording.source,
            "recovered": recording.recovered,
            "received_at": recording.received_at,
            "saved_at": recording.saved_at,
            "bytes": recording.bytes,
            "container": recording.container,
            "media": self.known.thing(&json!(media), &MEDIA),
            "copy": self.step(&recording.copy),
            "transcode": self.step(&recording.transcode),
            "push": self.step(&recording.push),
            "withdrawal": {
                "failed": recording.withdrawal.failed,
                "error": recording.withdrawal.error.as_ref().map(|error| self.failure(error)),
            },
            "pushes": failed.map(|tried| self.push(tried)).collect::<Vec<_>>(),
        })
    }

    fn push(&self, tried: &Tried) -> Value {
        json!({
            "at": tried.at, "attempt": tried.attempt, "by_hand": tried.by_hand,
            "destination": self.known.name(Kind::Destination, &tried.destination),
            "kind": tried.kind, "bytes": tried.bytes, "sent_bytes": tried.sent_bytes,
            "duration_ms": tried.duration_ms, "fault": tried.fault,
            "error": tried.error.as_deref().map(|error| self.text(error)),
        })
    }

    fn step(&self, step: &Attempts) -> Value {
        json!({
            "attempts": step.made, "interruptions": step.interruptions, "running": step.running,
            "exhausted": step.exhausted, "next_at": step.next_at,
            "waits_for": step.waits_for.as_deref().map(|text| self.text(text)),
            "error": step.error.as_ref().map(|error| self.failure(error)),
        })
    }

    fn failure(&self, failure: &Failure) -> Value {
        json!({
            "fault": failure.fault, "at": failure.at, "sentence": self.text(&failure.sentence),
        })
    }

    /// Counts what failed at each destination, and keeps what was said last.
    fn count(&self, tried: &[Tried], into: &mut BTreeMap<String, At>) {
        for tried in tried {
            let (Some(fault), Some(error)) = (tried.fault, &tried.error) else { continue };
            let name = self.known.name(Kind::Destination, &tried.destination).to_owned();
            let at = into.entry(name).or_default();
            *match fault {
                Fault::Ours => &mut at.ours,
                Fault::Customers => &mut at.customers,
                Fault::Networks => &mut at.networks,
            } += 1;
            if at.last_at.is_none_or(|last| last <= tried.at) {
                (at.last_at, at.last_error) = (Some(tried.at), Some(self.text(error)));
            }
        }
    }
}

/// What a recording says of a person, and words of it.
fn said_of(recording: &Recording) -> Plain {
    let Metadata { ip, user_agent, referrer, camera, microphone, title } = &recording.metadata;
    let mut plain = Plain::default();
    for said in [ip, user_agent, referrer, camera, microphone, title].into_iter().flatten() {
        plain.hide(said);
        said.split_whitespace().filter(|word| word.len() > 3).for_each(|word| plain.hide(word));
    }
    if recording.name != recording.id.to_string() {
        plain.hide(&recording.name);
    }
    plain.hide(&recording.policy.folder);
    plain
}
