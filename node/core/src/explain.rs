//! Why a recording and its files are where they are, and until when: in sentences.

use jiff::Timestamp;

use crate::attempts::{ATTEMPTS_MAX, Attempts};
use crate::recording::{FileKind, Recording, State};
use crate::retention::{Fate, Hold, fate, zone};

/// What holds a recording now and what happens next, in a few sentences.
#[must_use]
pub fn explain(rec: &Recording, now: Timestamp) -> String {
    let mut sentences = vec![state_sentence(rec, now)];
    // Files that share a fate share a sentence.
    let mut told: Vec<(String, Vec<&str>)> = Vec::new();
    for file in &rec.files {
        let Some(fate) = file_fate(rec, file.kind, now) else { continue };
        match told.iter_mut().find(|(same, _)| *same == fate) {
            Some((_, names)) => names.push(noun(file.kind)),
            None => told.push((fate, vec![noun(file.kind)])),
        }
    }
    sentences.extend(told.into_iter().map(|(fate, names)| file_sentence(&names, &fate)));
    sentences.join(" ")
}

fn noun(kind: FileKind) -> &'static str {
    match kind {
        FileKind::Main => ".mp4",
        FileKind::Raw => "raw file",
        FileKind::Snapshot => "snapshot",
        FileKind::Filmstrip => "filmstrip",
    }
}

fn file_sentence(names: &[&str], fate: &str) -> String {
    match names {
        [] => String::new(),
        [name] => format!("The {name}: {fate}."),
        [first @ .., last] => format!("The {} and {last}: {fate}.", first.join(", ")),
    }
}

fn state_sentence(rec: &Recording, now: Timestamp) -> String {
    match rec.state {
        State::Receiving if rec.attached => "Being received.".into(),
        State::Receiving | State::Stopped => match rec.reconnect_until() {
            Some(until) => format!(
                "The client is gone; recovered and saved at {} unless it comes back.",
                local(rec, until)
            ),
            None => "Received in full; waiting for the person to save or discard it.".into(),
        },
        State::Saved => "Saved; waiting to be processed.".into(),
        State::Processing => attempt_sentence("Processing", &rec.transcode, rec),
        State::Delivering => attempt_sentence("Delivering", &rec.push, rec),
        State::Stored if rec.policy.destinations.is_empty() => {
            "Stored on this node; no destination is configured.".into()
        }
        State::Stored => format!("Stored: pushed to {}.", rec.policy.destinations.join(", ")),
        State::Delivered => {
            format!("Delivered to {}; store-nothing is on.", rec.policy.destinations.join(", "))
        }
        State::Failed if rec.transcode.exhausted => {
            exhausted_sentence("Processing", &rec.transcode)
        }
        State::Failed => exhausted_sentence("Delivery", &rec.push),
        State::Unknown => format!(
            "Found in the vault without an entry in the ledger at {}.",
            local(rec, now.min(rec.received_at))
        ),
        State::Garbage => "Not a recording, or it never came to its end.".into(),
        State::Deleted => "Deleted on request.".into(),
    }
}

fn attempt_sentence(what: &str, step: &Attempts, rec: &Recording) -> String {
    let error = step
        .error
        .as_ref()
        .map(|e| format!(" Last failure: {}.", e.sentence.trim_end_matches('.')));
    let error = error.unwrap_or_default();
    match step.next_at {
        Some(at) if step.made > 0 => format!(
            "{what}: attempt {} of {ATTEMPTS_MAX} failed; the next one is due at {}.{error}",
            step.made,
            local(rec, at)
        ),
        _ => format!("{what}: attempt {} of {ATTEMPTS_MAX}.{error}", step.made.max(1)),
    }
}

fn exhausted_sentence(what: &str, step: &Attempts) -> String {
    let error = step.error.as_ref().map_or("", |e| e.sentence.trim_end_matches('.'));
    format!("{what} failed after {} attempts: {error}.", step.made)
}

fn file_fate(rec: &Recording, kind: FileKind, now: Timestamp) -> Option<String> {
    match fate(rec, kind) {
        Fate::Gone => {
            let file = rec.file(kind)?;
            let at = local(rec, file.deleted_at?);
            Some(format!("deleted here at {at} by {}", file.doomed.as_ref()?.rule.describe()))
        }
        Fate::Until { at, rule } if at > now => {
            Some(format!("kept until {} by {}", local(rec, at), rule.describe()))
        }
        Fate::Until { rule, .. } | Fate::Now(rule) => {
            Some(format!("being deleted by {}", rule.describe()))
        }
        Fate::Kept(Hold::StoredHere) => Some("kept until someone deletes it".into()),
        Fate::Kept(_) => None,
    }
}

fn local(rec: &Recording, at: Timestamp) -> String {
    at.to_zoned_datetime(zone(&rec.policy.zone)).strftime("%Y-%m-%d %H:%M:%S %Z").to_string()
}
