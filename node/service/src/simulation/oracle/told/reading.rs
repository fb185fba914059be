//! What happened to a recording between two of its states, read from its facts alone.

use std::collections::BTreeSet;

use holdfast_core::push_order::Success;
use holdfast_core::recording::{FileKind, Recording, State};
use serde_json::{Value, json};

use crate::simulation::oracle::{KINDS, name_at};
use crate::webhooks::event::Event;

/// Something that happened, with what is to be told of it.
#[derive(Debug, Clone)]
pub(super) struct Happened {
    pub(super) event: Event,
    pub(super) destination: Option<String>,
    /// Members of its data that are known to an outsider.
    pub(super) facts: Value,
}

impl Happened {
    fn new(event: Event, facts: Value) -> Self {
        Self { event, destination: None, facts }
    }

    pub(super) fn is_heard_by(&self, chosen: &BTreeSet<Event>) -> bool {
        chosen.is_empty() || chosen.contains(&self.event)
    }

    /// Whether a payload tells of this.
    pub(super) fn is_told_by(&self, body: &Value) -> bool {
        let destination = body["data"]["destination"].as_str();
        body["event"] == self.event.as_str() && destination == self.destination.as_deref()
    }
}

/// In the order of a recording's life.
pub(super) fn happened(before: &Recording, after: &Recording) -> Vec<Happened> {
    let became = |is: &dyn Fn(&Recording) -> bool| is(after) && !is(before);
    let facts = facts(after);
    let mut told = Vec::new();
    if became(&|rec| rec.saved_at.is_some()) {
        told.push(Happened::new(Event::Recorded, facts.clone()));
        if after.recovered {
            told.push(Happened::new(Event::Recovered, facts.clone()));
        }
    }
    if after.policy.outputs.mp4 && became(&|rec| rec.file(FileKind::Main).is_some()) {
        told.push(Happened::new(Event::Converted, facts.clone()));
    }
    for destination in &after.policy.destinations {
        if became(&|rec| has_its_copies(rec, destination)) {
            let is_own = after.policy.own.as_ref() == Some(destination);
            // Stores of a simulation are of no kind that has a name, so they count as directories.
            let event = if is_own { Event::CopiedOwn } else { Event::CopiedDirectory };
            let main = format!("{destination}/{}", name_at(after, main(after)));
            let mut facts = facts.clone();
            facts["destination"] = json!(destination);
            facts["location"] = json!(main);
            told.push(Happened { event, destination: Some(destination.clone()), facts });
        }
    }
    if became(&|rec| rec.state == State::Failed) {
        let step = if after.transcode.exhausted { "transcode" } else { "push" };
        let mut facts = facts;
        facts["step"] = json!(step);
        told.push(Happened::new(Event::Failed, facts));
    }
    if became(&is_gone) {
        let rule = after.ended.as_ref().map(|ended| ended.rule);
        let facts = json!({
            "by": after.ended.as_ref().and_then(|ended| ended.by.as_deref()),
            "decided_at": after.ended.as_ref().map(|ended| ended.at),
        });
        let mut facts = facts;
        if rule.is_some() {
            facts["rule"] = json!(rule);
        }
        told.push(Happened::new(Event::Deleted, facts));
    }
    told
}

fn facts(rec: &Recording) -> Value {
    json!({
        "state": rec.state,
        "recovered": rec.recovered,
        "received_at": rec.received_at,
        "saved_at": rec.saved_at,
        "bytes": rec.bytes,
        "sha256": rec.file(FileKind::Raw).and_then(|raw| raw.sha256.as_deref()),
    })
}

fn main(rec: &Recording) -> FileKind {
    if rec.policy.outputs.mp4 { FileKind::Main } else { FileKind::Raw }
}

fn is_wanted(rec: &Recording, kind: FileKind) -> bool {
    let policy = &rec.policy;
    match kind {
        FileKind::Main => policy.outputs.mp4,
        FileKind::Raw => policy.push_raw || !policy.outputs.mp4,
        FileKind::Snapshot => policy.outputs.snapshot,
        FileKind::Filmstrip | FileKind::FilmstripVtt => policy.outputs.filmstrip,
    }
}

/// Whether a destination has all that it is to get, or all that it ever will and enough of it.
fn has_its_copies(rec: &Recording, destination: &str) -> bool {
    let is_there = |kind: &FileKind| {
        let file = rec.file(*kind);
        file.is_some_and(|file| file.pushed.iter().any(|at| at.destination == destination))
    };
    let mut made =
        KINDS.into_iter().filter(|kind| is_wanted(rec, *kind) && rec.file(*kind).is_some());
    let lacks_some = !made.all(|kind| is_there(&kind));
    let is_over = matches!(rec.state, State::Stored | State::Delivered | State::Failed);
    let is_enough = rec.policy.success == Success::Main;
    !rec.is_ended() && is_there(&main(rec)) && (!lacks_some || is_over && is_enough)
}

/// Whether nothing of what was saved is left, here and in our own storage.
fn is_gone(rec: &Recording) -> bool {
    let is_over = matches!(rec.state, State::Deleted | State::Garbage | State::Failed);
    let is_here = rec.files.iter().any(|file| file.deleted_at.is_none());
    let own = rec.policy.own.as_deref();
    let mut pushed = rec.files.iter().flat_map(|file| &file.pushed);
    let is_there =
        pushed.any(|at| own == Some(at.destination.as_str()) && at.withdrawn_at.is_none());
    // What may have arrived there without anyone noting it has to be looked for first.
    let was_swept = |kind: FileKind| {
        let mut pushed = rec.file(kind).into_iter().flat_map(|file| &file.pushed);
        rec.withdrawal.swept.contains(&kind)
            || pushed.any(|at| own == Some(at.destination.as_str()))
    };
    let must_be_swept = rec.state == State::Deleted && rec.hold.is_none() && own.is_some();
    let is_swept = KINDS.into_iter().filter(|kind| is_wanted(rec, *kind)).all(was_swept);
    rec.saved_at.is_some() && is_over && !is_here && !is_there && (!must_be_swept || is_swept)
}
