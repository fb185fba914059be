//! What happens to recordings, as the log has it: receipts of deletions, requests, legal holds.
//!
//! Nothing of it identifies a person: recordings go by their id, files by kind, size and digest. The
//! reason of a legal hold is somebody's own words, so it stays in the recording's entry.

use holdfast_core::recording::{Event, File, FileKind, Recording, step};
use holdfast_core::retention::Rule;
use holdfast_core::{RecordingId, push_order};
use jiff::Timestamp;
use serde::Serialize;

/// Who did it where nobody asked for it.
pub(super) const NODE: &str = "node";

/// An entry to be made: who, and what.
pub(super) type Told = (String, Happened);

/// What happened to a recording.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(tag = "act", rename_all = "snake_case")]
pub(super) enum Happened {
    /// Files were deleted on this node, by one rule.
    FilesDeleted {
        recording: RecordingId,
        env_id: String,
        #[serde(flatten)]
        by_rule: ByRule,
        files: Vec<Gone>,
        /// The epoch under which the recording's key was wrapped, where that was erased with them.
        #[serde(skip_serializing_if = "Option::is_none")]
        key_epoch: Option<u64>,
    },
    /// A file was deleted from our own storage.
    Withdrawn {
        recording: RecordingId,
        env_id: String,
        #[serde(flatten)]
        by_rule: ByRule,
        destination: String,
        /// Whether it was known to be there. If not, a push that was cut short may have left it.
        noted: bool,
        files: Vec<Gone>,
    },
    /// Somebody had it deleted; receipts follow as its files go.
    DeletionRequested { recording: RecordingId, env_id: String },
    /// It was put under a legal hold, or the reason for its hold was changed.
    HoldSet { recording: RecordingId, env_id: String },
    /// Its legal hold was lifted.
    HoldLifted { recording: RecordingId, env_id: String },
    /// Somebody had a step tried again.
    RetryRequested { recording: RecordingId, env_id: String },
}

impl Happened {
    /// Notes in a receipt that the recording's key was erased.
    pub(super) fn note_epoch(&mut self, epoch: Option<u64>) {
        if let Self::FilesDeleted { key_epoch, .. } = self {
            *key_epoch = epoch;
        }
    }
}

/// A rule, as a word and by its number.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
pub(super) struct ByRule {
    rule: Option<Rule>,
    rule_number: Option<&'static str>,
}

impl From<Option<Rule>> for ByRule {
    fn from(rule: Option<Rule>) -> Self {
        Self { rule, rule_number: rule.map(Rule::number) }
    }
}

/// A file that is gone.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub(super) struct Gone {
    kind: FileKind,
    /// Its size; nothing where nobody knew it.
    bytes: Option<u64>,
    /// Its digest as it was noted when the file was finished; nothing for what never was.
    sha256: Option<String>,
}

impl Gone {
    fn new(rec: &Recording, kind: FileKind) -> Self {
        let file = rec.file(kind);
        let sha256 = file.and_then(|file| file.sha256.clone());
        let bytes = match (file, kind) {
            // As much as is known to have arrived.
            (Some(_), FileKind::Raw) if sha256.is_none() => {
                Some(rec.bytes).filter(|bytes| *bytes > 0)
            }
            (file, _) => file.map(|file| file.bytes),
        };
        Self { kind, bytes, sha256 }
    }
}

/// What the log tells of events that a recording went through.
pub(super) fn told(before: &Recording, events: &[Event], now: Timestamp) -> Vec<Told> {
    if !events.iter().any(is_told) {
        return Vec::new();
    }
    let (mut told, mut rec) = (Vec::new(), before.clone());
    for event in events {
        let (next, _) = step(&rec, event.clone(), now);
        tell(&rec, event, &next, &mut told);
        rec = next;
    }
    told
}

fn is_told(event: &Event) -> bool {
    use Event::{DeleteRequested, FilesDeleted, HoldLifted, HoldSet, RetryRequested, Withdrawn};
    matches!(
        event,
        FilesDeleted(_)
            | Withdrawn { .. }
            | DeleteRequested { .. }
            | HoldSet { .. }
            | HoldLifted { .. }
            | RetryRequested { .. }
    )
}

fn tell(before: &Recording, event: &Event, after: &Recording, told: &mut Vec<Told>) {
    if before == after {
        return;
    }
    let (recording, env_id) = (after.id, after.env_id.clone());
    let (by, happened) = match event {
        Event::FilesDeleted(_) => return told.extend(receipts(before, after)),
        Event::Withdrawn { destination, kind } => {
            return told.extend(withdrawal(before, after, destination, *kind));
        }
        Event::DeleteRequested { by } => (by, Happened::DeletionRequested { recording, env_id }),
        Event::HoldSet { by, .. } => (by, Happened::HoldSet { recording, env_id }),
        Event::HoldLifted { by } => (by, Happened::HoldLifted { recording, env_id }),
        Event::RetryRequested { by } => (by, Happened::RetryRequested { recording, env_id }),
        _ => return,
    };
    told.push((by.clone(), happened));
}

/// One receipt for each rule by which files went.
fn receipts(before: &Recording, after: &Recording) -> Vec<Told> {
    let mut by_rule: Vec<(Option<Rule>, Vec<Gone>)> = Vec::new();
    for kind in push_order::ORDER {
        let is_deleted = |rec: &Recording| rec.file(kind).and_then(|file| file.deleted_at);
        if is_deleted(after).is_none() || is_deleted(before).is_some() {
            continue;
        }
        let rule = rule_of(after, after.file(kind));
        let gone = Gone::new(before, kind);
        match by_rule.iter_mut().find(|(of, _)| *of == rule) {
            Some((_, files)) => files.push(gone),
            None => by_rule.push((rule, vec![gone])),
        }
    }
    let receipt = |(rule, files): (Option<Rule>, Vec<Gone>)| {
        let (recording, env_id) = (after.id, after.env_id.clone());
        let by_rule = ByRule::from(rule);
        let deleted = Happened::FilesDeleted { recording, env_id, by_rule, files, key_epoch: None };
        (asked_by(after, rule), deleted)
    };
    by_rule.into_iter().map(receipt).collect()
}

fn withdrawal(
    before: &Recording,
    after: &Recording,
    destination: &str,
    kind: FileKind,
) -> Option<Told> {
    let is_there = |rec: &Recording| {
        let pushed = rec.file(kind).into_iter().flat_map(|file| &file.pushed);
        pushed.into_iter().any(|at| at.destination == destination && at.withdrawn_at.is_none())
    };
    let noted = is_there(before) && !is_there(after);
    let is_swept = |rec: &Recording| rec.withdrawal.swept.contains(&kind);
    if !noted && (is_swept(before) || !is_swept(after)) {
        return None;
    }
    let rule = after.ended.as_ref().map(|ended| ended.rule);
    let happened = Happened::Withdrawn {
        recording: after.id,
        env_id: after.env_id.clone(),
        by_rule: rule.into(),
        destination: destination.to_owned(),
        noted,
        files: vec![Gone::new(before, kind)],
    };
    Some((asked_by(after, rule), happened))
}

fn rule_of(rec: &Recording, file: Option<&File>) -> Option<Rule> {
    let doomed = file.and_then(|file| file.doomed.as_ref()).map(|doom| doom.rule);
    doomed.or_else(|| rec.ended.as_ref().map(|ended| ended.rule))
}

/// Who asked for what goes by this rule.
fn asked_by(rec: &Recording, rule: Option<Rule>) -> String {
    let ended = rec.ended.as_ref().filter(|ended| Some(ended.rule) == rule);
    ended.and_then(|ended| ended.by.clone()).unwrap_or_else(|| NODE.into())
}
