//! What goes, when its time has come, and what goes with it.

use jiff::Timestamp;

use super::due::lane_of;
use super::step::end;
use super::{Doom, Effect, File, FileKind, Lane, Metadata, Recording, Source, State};
use crate::retention::{self, Fate, Rule};

/// Decides by the rules of time; carrying it out is the lane [`Lane::Retain`]'s.
pub(super) fn expire(rec: &mut Recording, now: Timestamp) -> Vec<Effect> {
    if let Some((_, rule)) = retention::ends_at(rec).filter(|(at, _)| *at <= now) {
        let runs = rec.copy.running || rec.transcode.running || rec.push.running;
        let effects = end(rec, State::Deleted, rule, None, now);
        return if runs { effects } else { Vec::new() };
    }
    doom(rec, now, Lane::Expire);
    let is_forgotten = retention::forget_at(rec).is_some_and(|at| at <= now);
    if is_forgotten { vec![Effect::Forget] } else { Vec::new() }
}

/// Commits the intent to delete what a lane wants gone by now.
pub(super) fn doom(rec: &mut Recording, now: Timestamp, lane: Lane) {
    let kinds: Vec<FileKind> = rec.files.iter().map(|file| file.kind).collect();
    for kind in kinds {
        let rule = match retention::fate(rec, kind) {
            Fate::Now(rule) if lane == Lane::Retain => rule,
            Fate::Until { at, rule } if at <= now && lane_of(rule) == lane => rule,
            _ => continue,
        };
        if let Some(file) = rec.file_mut(kind) {
            file.doomed.get_or_insert(Doom { rule, at: now });
        }
    }
}

/// Commits the intent to delete what can go to make room.
pub(super) fn make_room(rec: &mut Recording, now: Timestamp) {
    let kinds = rec.files.iter().map(|file| file.kind);
    let spare: Vec<FileKind> = kinds.filter(|kind| retention::is_spare(rec, *kind, now)).collect();
    for kind in spare {
        if let Some(file) = rec.file_mut(kind) {
            file.doomed.get_or_insert(Doom { rule: Rule::SpaceNeeded, at: now });
        }
    }
}

pub(super) fn retain(rec: &mut Recording, now: Timestamp) -> Vec<Effect> {
    if rec.reconnect_until().is_some_and(|until| until <= now) {
        if rec.source == Source::Stream && rec.bytes > 0 {
            return vec![Effect::Recover];
        }
        // Nothing runs for it yet that would have to be stopped.
        end(rec, State::Garbage, Rule::Garbage, None, now);
    }
    // What was doomed before the hold came waits too: its volume may have been away.
    if rec.hold.is_some() {
        return Vec::new();
    }
    doom(rec, now, Lane::Retain);
    let doomed = |file: &&File| file.doomed.is_some() && file.deleted_at.is_none();
    let kinds: Vec<FileKind> = rec.files.iter().filter(doomed).map(|file| file.kind).collect();
    if !kinds.is_empty() {
        let folder = rec.files.iter().all(|file| !file.is_local());
        return vec![Effect::Delete { kinds, folder }];
    }
    Vec::new()
}

pub(super) fn deleted(rec: &mut Recording, kinds: &[FileKind], now: Timestamp) {
    for kind in kinds {
        if let Some(file) = rec.file_mut(*kind) {
            file.deleted_at.get_or_insert(now);
        }
    }
    clear_metadata(rec);
}

/// What can identify a person goes with the last file that we hold (rule 8).
pub(super) fn clear_metadata(rec: &mut Recording) {
    if !rec.is_nowhere() {
        return;
    }
    // What is stored elsewhere keeps the name people know it by.
    let title = rec.metadata.title.take().filter(|_| rec.state == State::Stored);
    rec.metadata = Metadata { title, ..Metadata::default() };
}
