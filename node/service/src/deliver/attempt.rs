//! One attempt: every destination that may be pushed to now gets its pending files, in order.

use std::path::PathBuf;
use std::sync::Arc;

use holdfast_core::attempts::{Failure, Fault};
use holdfast_core::recording::{Event, FileKind, Recording};
use holdfast_core::{names, push_order, retention};
use jiff::Timestamp;
use jiff::civil::Date;

use super::gate::{Entry, Visit};
use super::journal::Tried;
use super::memo::{Memo, Of};
use super::progress::Progress;
use super::worker::{find, name_at};
use super::{FileToPush, PushError};
use crate::node::Node;
use crate::vault::Home;
use crate::vault::VaultError;
use crate::volumes::AWAY_PAUSE;

/// What came of an attempt so far.
#[derive(Debug, Default)]
struct Outcome {
    failure: Option<Failure>,
    /// When to come back to a destination that is not to be tried now, and why not now.
    put_off: Option<(Timestamp, String)>,
    /// The file that is up and not noted yet: before anything else is begun, or with the end.
    pushed: Option<Event>,
}

impl Outcome {
    /// Notes the file that is up.
    async fn note_pushed(&mut self, node: &Node, recording: &Recording) -> Result<(), PushError> {
        let Some(event) = self.pushed.take() else { return Ok(()) };
        let noted = node.step(recording.id, event).await;
        noted.map(drop).map_err(|error| ours(error.to_string()))
    }
}

/// Makes an attempt. Files that are up are noted one by one, the last with how it ended: a recording of
/// one file, which most are, takes one commit less.
pub(super) async fn run(
    node: &Arc<Node>,
    recording: &Recording,
    pending: Vec<(String, FileKind)>,
) -> Vec<Event> {
    if let Some(away) = node.away(recording).await {
        return vec![waits(node, &away)];
    }
    let mut outcome = Outcome::default();
    // Pending files come destination by destination.
    for files in pending.chunk_by(|(a, _), (b, _)| a == b) {
        let Some((destination, _)) = files.first() else { continue };
        let limits = node.settings.limits(destination);
        let (id, by_hand) = (recording.id, recording.push.by_hand);
        let gates = &node.pushing.gates;
        match gates.enter(destination, limits.files_max, id, by_hand, node.clock.now()) {
            Entry::Open(visit) => {
                let kinds = files.iter().map(|(_, kind)| *kind);
                let failed =
                    visit_destination(node, recording, destination, kinds, visit, &mut outcome)
                        .await;
                outcome.failure = outcome.failure.or(failed);
            }
            Entry::Later { until, why } => {
                tracing::debug!(recording = %id, destination, %until, why, "put off");
                if outcome.put_off.as_ref().is_none_or(|(soonest, _)| until < *soonest) {
                    outcome.put_off = Some((until, why));
                }
            }
        }
    }
    let pushed = outcome.pushed.take();
    let end = match outcome {
        Outcome { failure: Some(failure), .. } => match node.away(recording).await {
            Some(away) => waits(node, &away),
            // The wait counts from the moment the failure became known: the end of the attempt.
            None => Event::PushEnded { failure: Some(Failure { at: node.clock.now(), ..failure }) },
        },
        Outcome { put_off: Some((until, waits_for)), .. } => Event::PushPutOff { until, waits_for },
        Outcome { .. } => Event::PushEnded { failure: None },
    };
    pushed.into_iter().chain([end]).collect()
}

fn ours(sentence: String) -> PushError {
    PushError { fault: Fault::Ours, sentence }
}

/// Nothing can be pushed from a volume that is away.
fn waits(node: &Node, away: &VaultError) -> Event {
    tracing::warn!("a push waits: {away}");
    Event::PushPutOff { until: node.clock.now() + AWAY_PAUSE, waits_for: away.to_string() }
}

/// Pushes in order. A destination that did not get the main file is not tried with the others: its
/// push cannot succeed any more in this attempt.
async fn visit_destination(
    node: &Arc<Node>,
    recording: &Recording,
    destination: &str,
    kinds: impl Iterator<Item = FileKind>,
    visit: Visit,
    outcome: &mut Outcome,
) -> Option<Failure> {
    let main = push_order::main_kind(&recording.policy);
    let mut first: Option<Failure> = None;
    let mut is_well = false;
    for kind in kinds {
        let pushed = match outcome.note_pushed(node, recording).await {
            Ok(()) => push(node, recording, destination, kind).await,
            Err(error) => Err(error),
        };
        let error = match pushed {
            Ok(pushed) => {
                outcome.pushed = Some(pushed);
                is_well = true;
                continue;
            }
            Err(error) => error,
        };
        let (id, attempt) = (recording.id, recording.push.made);
        tracing::warn!(recording = %id, attempt, destination, kind = kind.as_str(), %error, "not pushed");
        let PushError { fault, sentence } = error;
        first.get_or_insert(Failure { fault, sentence, at: node.clock.now() });
        if kind == main {
            break;
        }
    }
    visit.took(node.clock.now());
    match &first {
        Some(failure) if !is_well => {
            visit.failed(failure.fault, &failure.sentence, node.clock.now());
        }
        _ => visit.succeeded(),
    }
    first
}

async fn push(
    node: &Arc<Node>,
    recording: &Recording,
    name: &str,
    kind: FileKind,
) -> Result<Event, PushError> {
    let destination = find(node, name)?;
    let home = Home::from(recording);
    let lent = node.with_vault(move |vault| vault.lend(home, kind)).await;
    let lent = lent.map_err(|error| ours(error.to_string()))?;
    let file = to_push(node, recording, name, kind, lent.path)?;
    let began = node.clock.now();
    let of = Of { recording: recording.id, destination: name.to_owned(), kind };
    let listed = node.pushing.transfers.begin(of, file.bytes, file.progress.clone(), began);
    let pushed = destination.push(&file).await;
    drop((listed, lent.lease));
    let took = node.clock.now().duration_since(began);
    let tried = Tried {
        at: began,
        attempt: recording.push.made,
        by_hand: recording.push.by_hand,
        destination: name.to_owned(),
        kind,
        bytes: file.bytes,
        sent_bytes: if pushed.is_ok() { file.bytes } else { file.progress.bytes().min(file.bytes) },
        duration_ms: u64::try_from(took.as_millis()).unwrap_or(0),
        location: pushed.as_ref().ok().cloned(),
        fault: pushed.as_ref().err().map(|error| error.fault),
        error: pushed.as_ref().err().map(|error| error.sentence.clone()),
    };
    node.pushing.journal.note(recording.id, tried);
    let location = pushed?;
    tracing::info!(recording = %recording.id, destination = name, location, "pushed");
    Ok(Event::FilePushed { destination: name.to_owned(), kind, location })
}

fn to_push(
    node: &Node,
    recording: &Recording,
    destination: &str,
    kind: FileKind,
    path: PathBuf,
) -> Result<FileToPush, PushError> {
    let file = recording.file(kind).ok_or_else(|| PushError {
        fault: Fault::Ours,
        sentence: format!("the recording has no {} file", kind.as_str()),
    })?;
    let of = Of { recording: recording.id, destination: destination.to_owned(), kind };
    let limits = node.settings.limits(destination);
    let limiters = node.pushing.bandwidth.limiters(destination, &limits.bandwidth);
    Ok(FileToPush {
        path,
        name: name_at(recording, kind),
        kind,
        bytes: file.bytes,
        sha256: file.sha256.clone(),
        media_type: names::media_type(kind, recording.container),
        env_id: recording.env_id.clone(),
        saved_on: saved_on(recording),
        memo: Memo::of(&node.ledger, of),
        progress: Progress::limited(limiters),
    })
}

/// The day of SAVED in the node's zone.
fn saved_on(recording: &Recording) -> Date {
    let saved_at = recording.saved_at.unwrap_or(recording.received_at);
    saved_at.to_zoned_datetime(retention::zone(&recording.policy.zone)).date()
}
