//! Why a recording and its files are where they are, what happens next, and exactly when they go: in
//! sentences ([`explain`]) and for programs ([`outlook`]).

use jiff::Timestamp;
use serde::{Deserialize, Serialize};

use crate::attempts::{ATTEMPTS_MAX, Attempts};
use crate::push_order;
use crate::recording::{FileKind, LegalHold, Recording, State};
use crate::retention::{self, Fate, Hold, Rule, fate, zone};

/// Where a recording stands and what becomes of it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(utoipa::ToSchema))]
pub struct Outlook {
    /// All of it in a few sentences.
    pub sentence: String,
    /// What happens next, if anything is to; nothing where it waits for a person.
    pub next: Option<Next>,
    /// The legal hold, if there is one.
    pub hold: Option<LegalHold>,
    /// When the recording goes as a whole, as far as that is known now, and by which rule.
    pub ends: Option<Goes>,
    /// Each of its files, in the order in which they are pushed.
    pub files: Vec<FileOutlook>,
}

/// What happens next.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(utoipa::ToSchema))]
pub struct Next {
    /// What, in a few words.
    pub what: String,
    /// When; nothing where it is being done now.
    pub at: Option<Timestamp>,
}

/// When something goes, and why.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(utoipa::ToSchema))]
pub struct Goes {
    /// When it goes, or went.
    pub at: Timestamp,
    /// By which rule.
    pub rule: Rule,
    /// The rule's number and gist.
    pub why: String,
}

/// What becomes of a file.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(utoipa::ToSchema))]
pub struct FileOutlook {
    /// Which one.
    pub kind: FileKind,
    /// Whether it lies on this node.
    pub present: bool,
    /// What holds it, or why it goes, in a sentence.
    pub sentence: String,
    /// When it goes from this node, as far as that is known now; an instant that has passed where it
    /// is being deleted.
    pub goes: Option<Goes>,
    /// When and why it went.
    pub gone: Option<Goes>,
}

/// Where a recording stands and what becomes of it, for programs.
#[must_use]
pub fn outlook(rec: &Recording, now: Timestamp) -> Outlook {
    let files = push_order::ORDER.into_iter().filter_map(|kind| file_outlook(rec, kind, now));
    let ends = retention::ends_at(rec).map(|(at, rule)| goes(at, rule));
    let ended = rec.ended.as_ref().map(|ended| goes(ended.at, ended.rule));
    Outlook {
        sentence: explain(rec, now),
        next: next(rec, now),
        hold: rec.hold.clone(),
        ends: ended.or(ends),
        files: files.collect(),
    }
}

fn goes(at: Timestamp, rule: Rule) -> Goes {
    Goes { at, rule, why: rule.describe().into() }
}

fn file_outlook(rec: &Recording, kind: FileKind, now: Timestamp) -> Option<FileOutlook> {
    let file = rec.file(kind)?;
    let gone = file.deleted_at.zip(file.doomed.as_ref());
    let will_go = match fate(rec, kind) {
        Fate::Until { at, rule } => Some(goes(at, rule)),
        Fate::Now(rule) => Some(goes(file.doomed.as_ref().map_or(now, |doom| doom.at), rule)),
        Fate::Kept(_) | Fate::Gone => None,
    };
    let said = file_fate(rec, kind, now).unwrap_or_else(|| kept(rec, kind).into());
    Some(FileOutlook {
        kind,
        present: file.deleted_at.is_none(),
        sentence: file_sentence(&[noun(kind)], &said),
        goes: will_go,
        gone: gone.map(|(at, doom)| goes(at, doom.rule)),
    })
}

fn kept(rec: &Recording, kind: FileKind) -> &'static str {
    match fate(rec, kind) {
        Fate::Kept(Hold::Arriving) => "kept while the recording arrives",
        Fate::Kept(Hold::Processing) => "kept while processing needs it",
        Fate::Kept(Hold::Pushing) => "kept until it is pushed",
        _ => "kept",
    }
}

fn next(rec: &Recording, now: Timestamp) -> Option<Next> {
    let attempt = |what: &str, step: &Attempts| match step.next_at {
        Some(at) if at > now => Some(Next { what: format!("{what}, next attempt"), at: Some(at) }),
        _ => Some(Next { what: what.into(), at: None }),
    };
    match rec.state {
        State::Receiving | State::Stopped => rec.reconnect_until().map(|at| Next {
            what: "recovered and saved, unless its client comes back".into(),
            at: Some(at),
        }),
        State::Copying => attempt("copying", &rec.copy),
        State::Saved | State::Processing => attempt("processing", &rec.transcode),
        State::Delivering => attempt("delivering", &rec.push),
        _ => {
            let fates = push_order::ORDER.into_iter().filter_map(|kind| match fate(rec, kind) {
                Fate::Until { at, .. } => Some(at),
                Fate::Now(_) => Some(now),
                Fate::Kept(_) | Fate::Gone => None,
            });
            let ends = retention::ends_at(rec).map(|(at, _)| at);
            let at = fates.chain(ends).min()?;
            Some(Next { what: "deleting".into(), at: (at > now).then_some(at) })
        }
    }
}

/// What holds a recording now and what happens next, in a few sentences.
#[must_use]
pub fn explain(rec: &Recording, now: Timestamp) -> String {
    let mut sentences = vec![state_sentence(rec, now)];
    if let Some(hold) = &rec.hold {
        sentences.push(format!(
            "Under a legal hold since {}, set by {}: nothing is deleted until it is lifted.",
            local(rec, hold.at),
            hold.by
        ));
    }
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
        FileKind::FilmstripVtt => "filmstrip's WebVTT file",
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
        State::Copying => attempt_sentence("Copying to the node that processes it", &rec.copy, rec),
        State::Processing => attempt_sentence("Processing", &rec.transcode, rec),
        State::Delivering => attempt_sentence("Delivering", &rec.push, rec),
        State::Stored if rec.policy.destinations.is_empty() => {
            "Stored on this node; no destination is configured.".into()
        }
        State::Stored => format!("Stored: pushed to {}.", rec.policy.destinations.join(", ")),
        State::Delivered => {
            format!("Delivered to {}; store-nothing is on.", rec.policy.destinations.join(", "))
        }
        State::Failed if rec.copy.exhausted => exhausted_sentence("Copying", &rec.copy),
        State::Failed if rec.transcode.exhausted => {
            exhausted_sentence("Processing", &rec.transcode)
        }
        State::Failed => exhausted_sentence("Delivery", &rec.push),
        State::Unknown => format!(
            "Found in the vault without an entry in the ledger at {}.",
            local(rec, now.min(rec.received_at))
        ),
        State::Garbage => "Not a recording, or it never came to its end.".into(),
        State::Deleted => deleted_sentence(rec),
    }
}

fn deleted_sentence(rec: &Recording) -> String {
    let Some(ended) = &rec.ended else { return "Deleted on request.".into() };
    let by = ended.by.as_ref().map(|by| format!(" by {by}")).unwrap_or_default();
    let mut said = format!("Deleted{by} at {}, {}.", local(rec, ended.at), ended.rule.describe());
    if !rec.to_withdraw().is_empty() {
        said.push_str(" Our own storage has still to delete its files.");
        if let Some(error) = &rec.withdrawal.error {
            said.push_str(&format!(" Last failure: {}.", error.sentence.trim_end_matches('.')));
        }
    }
    said
}

fn attempt_sentence(what: &str, step: &Attempts, rec: &Recording) -> String {
    let error = step
        .error
        .as_ref()
        .map(|e| format!(" Last failure: {}.", e.sentence.trim_end_matches('.')));
    let error = error.unwrap_or_default();
    match step.next_at {
        Some(at) if let Some(waits_for) = &step.waits_for => format!(
            "{what}: waiting, {}; it is looked at again at {}.{error}",
            waits_for.trim_end_matches('.'),
            local(rec, at)
        ),
        _ if step.by_hand => format!("{what}: an attempt that was asked for by hand.{error}"),
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
        Fate::Kept(Hold::Legal) => Some("kept by the legal hold".into()),
        Fate::Kept(_) => None,
    }
}

fn local(rec: &Recording, at: Timestamp) -> String {
    at.to_zoned_datetime(zone(&rec.policy.zone)).strftime("%Y-%m-%d %H:%M:%S %Z").to_string()
}
