//! Watches a world: what was acknowledged is delivered or explained, nothing early, nothing late.
//!
//! It learns what the node committed as an observer of the ledger, and what really happened from the
//! make-believe disk, stores and decoder. Each side is held against the other, and both against the law.

mod account;
mod known;
mod receipts;
mod tests;
mod told;
mod witness;

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use holdfast_core::recording::{FileKind, Lane, Recording, State};
use holdfast_core::{RecordingId, names};
use jiff::{SignedDuration, Timestamp};

use super::decoder::Started;
use super::disk::{Disk, Removed};
use super::storage::Store;
use super::world::Line;
use crate::digest;
use crate::ledger::Ledger;
use crate::vault::file_name;
use known::{Known, runs};
pub(super) use told::Webhooks;
pub(super) use witness::{Note, Witness};

/// Where the node has its recordings.
pub(super) const RECORDINGS: &str = "/vault/recordings";

/// How far a clock may be set back before it counts as wrong, with what node time may be ahead of it.
const TOLERANCE: SignedDuration = SignedDuration::from_secs(10);

/// The oracle.
#[derive(Debug, Default)]
pub(super) struct Oracle {
    pub(super) witness: Arc<Witness>,
    pub(super) known: BTreeMap<RecordingId, Known>,
    /// The latest instant at which anything was committed by a clock that was trusted (rule 10).
    latest: Timestamp,
    /// A clock that was believed has gone faster than time, so that some things may come early.
    pub(super) may_run_ahead: bool,
    /// All recordings are compared with the world at the next look, not only those that changed.
    looks_at_all: bool,
    /// Files of which receipts went with an older ledger.
    without_receipt: BTreeSet<(RecordingId, FileKind)>,
    /// What webhooks are told.
    pub(super) webhooks: Webhooks,
    /// The ledger could not be read at the last look.
    pub(super) is_blind: bool,
}

/// The time as an outsider knows it.
#[derive(Debug, Clone, Copy)]
pub(super) struct Now {
    /// Since the world began.
    pub(super) elapsed: Duration,
    /// What the wall clock shows.
    pub(super) wall: Timestamp,
    /// A time service keeps it, or somebody said that it is to be believed.
    pub(super) is_vouched_for: bool,
    /// When anything last went wrong by which the node may have forgotten something, in real time.
    pub(super) troubled: Option<Duration>,
    /// When the wall clock was last off, likewise.
    pub(super) clock_was_off: Option<Duration>,
}

/// What a client sent, by its number.
pub(super) type Sent = BTreeMap<usize, Vec<u8>>;

/// The name of a recording's file at destinations, as rule 4 has it.
fn name_at(rec: &Recording, kind: FileKind) -> String {
    let (folder, name) = (&rec.policy.folder, rec.id);
    match kind {
        FileKind::Main => format!("{folder}/{name}.mp4"),
        FileKind::Raw => {
            format!(
                "{folder}/{name}_raw.{}",
                rec.container.map_or("bin", names::Container::extension)
            )
        }
        FileKind::Snapshot => format!("{folder}/{name}.jpg"),
        FileKind::Filmstrip => format!("{folder}/{name}_filmstrip.jpg"),
        FileKind::FilmstripVtt => format!("{folder}/{name}_filmstrip.vtt"),
    }
}

impl Oracle {
    /// Takes in what happened since it last looked, and holds it against the law. Answers what of it
    /// belongs into the journal.
    pub(super) fn look(
        &mut self,
        now: Now,
        ledger: &Ledger,
        disk: &Disk,
        stores: &[Store],
        sent: &Sent,
    ) -> Vec<Line> {
        let mut told = Vec::new();
        let mut touched = BTreeSet::new();
        let notes = self.witness.take(ledger);
        self.is_blind = notes.is_none();
        for note in notes.unwrap_or_default() {
            touched.insert(note.after.id);
            told.push(Line::Changed(Box::new(note.clone())));
            self.note(note, now);
        }
        for Removed { path, at } in disk.take_removed() {
            told.push(Line::Words(format!("{at} unlinked {}", path.display())));
            touched.extend(self.removed(&path));
        }
        if std::mem::take(&mut self.looks_at_all) {
            touched = self.known.keys().copied().collect();
            self.known.values().for_each(|known| known.manifest_can_be_read(disk));
        }
        for id in touched {
            self.agrees_with_the_world(id, disk, stores, sent);
        }
        told
    }

    /// At the next look all recordings are held against the world: anything may have happened to them.
    pub(super) fn look_at_everything(&mut self) {
        self.looks_at_all = true;
    }

    /// Someone vouched for a wall clock that stood before what was recorded.
    pub(super) fn clock_was_accepted(&mut self, wall: Timestamp) {
        self.latest = wall;
        self.may_run_ahead = true;
    }

    fn note(&mut self, note: Note, outside: Now) {
        let Note { before, after, events, now } = note;
        let id = after.id;
        let is_trusted = outside.is_vouched_for && outside.wall + TOLERANCE >= self.latest;
        let Some(before) = before else {
            let client = after.metadata.title.as_deref().and_then(|title| title.parse().ok());
            self.known.insert(id, Known::new(after, client));
            self.latest = if is_trusted { self.latest.max(outside.wall) } else { self.latest };
            return;
        };
        assert!(
            is_trusted || !known::goes_by_time(&before, &after),
            "{id} goes by a rule of time although the clock shows {} after {}, vouched for: {}",
            outside.wall,
            self.latest,
            outside.is_vouched_for
        );
        self.latest = if is_trusted { self.latest.max(outside.wall) } else { self.latest };
        let known = self.known.get_mut(&id).expect("what changes was entered");
        assert_eq!(known.rec.state, before.state, "{id} changed behind the ledger's back");
        known.facts(&before, &after, &events, now);
        known.real_times(&after, outside.elapsed);
        known.attempts(&after, &events, now);
        known.nothing_too_early(&before, &after, now);
        if !self.may_run_ahead {
            known.nothing_too_early_for_real(&before, &after, outside.elapsed);
        }
        assert!(before.is_ended() <= after.is_ended(), "{id} came back from its end");
        self.webhooks.note((&before, &after), now, outside.elapsed);
        known.rec = after;
    }

    /// Only what was doomed before is unlinked (contract 3).
    /// Answers whose it was.
    fn removed(&self, path: &Path) -> Option<RecordingId> {
        let path = path.strip_prefix(RECORDINGS).ok()?;
        let mut parts = path.iter().map(|part| part.to_string_lossy().into_owned());
        let (folder, name) = (parts.next().unwrap_or_default(), parts.next().unwrap_or_default());
        let kind = KINDS.into_iter().find(|kind| file_name(*kind) == name);
        let id: RecordingId = folder.parse().expect("a recording's folder");
        let known = self.known.get(&id).expect("what is unlinked is known");
        let all_go = known.rec.files.iter().all(|f| f.doomed.is_some() || f.deleted_at.is_some());
        let is_doomed = match kind {
            Some(kind) => known.rec.file(kind).map_or(all_go, |f| f.doomed.is_some()),
            None => name == "work" || all_go || name == "manifest.json.new",
        };
        assert!(is_doomed, "{id}: {name} was unlinked before that was committed");
        Some(id)
    }

    /// What the ledger says of a recording is so.
    fn agrees_with_the_world(&self, id: RecordingId, disk: &Disk, stores: &[Store], sent: &Sent) {
        let known = &self.known[&id];
        let rec = &known.rec;
        if known.is_lost {
            return;
        }
        let folder = Path::new(RECORDINGS).join(id.to_string());
        for file in &rec.files {
            let bytes = disk.bytes_of(&folder.join(file_name(file.kind)));
            if file.deleted_at.is_some() {
                assert!(bytes.is_none(), "{id}: the {:?} was deleted, and is there", file.kind);
            } else if file.doomed.is_none() && file.sha256.is_some() {
                let bytes = bytes.unwrap_or_else(|| panic!("{id}: the {:?} is gone", file.kind));
                let sha256 = digest::of(&bytes);
                assert_eq!(Some(sha256), file.sha256, "{id}: the {:?} is another one", file.kind);
            }
            for pushed in file.pushed.iter().filter(|pushed| pushed.withdrawn_at.is_none()) {
                let store = stores.iter().find(|store| store.name() == pushed.destination);
                let object = store.and_then(|store| store.object(&name_at(rec, file.kind)));
                // Being deleted from there, and not noted yet.
                let may_be_gone =
                    rec.is_ended() && rec.policy.own.as_deref() == store.map(Store::name);
                assert!(object.is_some() || may_be_gone, "{id}: {pushed:?} is not there");
                let bytes = object.filter(|_| file.sha256.is_some()).map(|o| digest::of(&o));
                assert!(
                    bytes.is_none() || bytes == file.sha256,
                    "{id}: {pushed:?} is another file"
                );
            }
        }
        let raw = rec.file(FileKind::Raw).and_then(|raw| raw.sha256.clone());
        if let (Some(raw), Some(client), Some(_)) = (raw, known.client, rec.saved_at) {
            let sent = &sent[&client];
            let bytes = usize::try_from(rec.bytes).expect("a length");
            assert!(rec.recovered || bytes == sent.len(), "{id}: saved, but not whole");
            assert_eq!(raw, digest::of(&sent[..bytes]), "{id}: saved, but not what was sent");
        }
    }

    /// A decoder that was started had an attempt, and was given what the client sent.
    pub(super) fn decoded(&mut self, started: Vec<Started>) {
        for Started { folder, raw, at } in started {
            let id: RecordingId = folder.parse().expect("a recording's folder");
            let known = self.known.get_mut(&id).expect("what is decoded is known");
            known.decoded += 1;
            let begun = known.law.transcodes_begun();
            assert!(known.decoded <= begun, "{id}: decoded at {at} without an attempt");
            let sha256 = known.rec.file(FileKind::Raw).and_then(|raw| raw.sha256.clone());
            assert_eq!(Some(digest::of(&raw)), sha256, "{id}: not the raw file was decoded");
        }
    }

    /// Nothing is left that the law wants gone, and no attempt waits that should have begun. Asked
    /// when the node has had its chance.
    pub(super) fn nothing_too_late(&self, now: Timestamp, disk: &Disk) {
        for (id, known) in self.known.iter().filter(|(_, known)| !known.is_lost) {
            let Known { law, rec, .. } = known;
            for file in rec.files.iter().filter(|file| file.deleted_at.is_none()) {
                let latest = law.latest(rec, file.kind);
                assert!(
                    latest.is_none_or(|latest| latest > now),
                    "{id}: the {:?} should be gone since {latest:?}; {:?}",
                    file.kind,
                    rec.state
                );
            }
            let lane = match rec.state {
                State::Saved | State::Processing => Lane::Process,
                State::Delivering => Lane::Deliver,
                _ => continue,
            };
            let next = law.next_attempt(lane).filter(|_| !runs(rec, lane));
            assert!(
                next.is_none_or(|next| next > now),
                "{id}: the next attempt of {lane:?} should have begun at {next:?}"
            );
        }
        for folder in disk.names(Path::new(RECORDINGS)) {
            let id = folder.parse().expect("a recording's folder");
            let known = self.known.get(&id).expect("a folder of a recording that is known");
            let is_gone = known.rec.files.iter().all(|file| file.deleted_at.is_some());
            assert!(!is_gone, "{id}: its folder outlived its files");
        }
    }

    /// The ledger was made anew from the vault: what has no folder is forgotten, and the rest is as
    /// its manifest has it, which may be a step ahead of what was committed.
    pub(super) fn begin_anew(&mut self, ledger: &Ledger) -> Vec<String> {
        let mut told = Vec::new();
        self.look_at_everything();
        self.webhooks.begin_anew();
        drop(self.witness.take(ledger));
        for (id, known) in &mut self.known {
            let gone = known.rec.files.iter().filter(|file| file.deleted_at.is_some());
            self.without_receipt.extend(gone.map(|file| (*id, file.kind)));
            let Some(rec) = ledger.get(*id).expect("the ledger can be read") else {
                known.is_lost = true;
                told.push(format!("{id}: nothing of it lies here, so the new ledger lacks it"));
                continue;
            };
            known.rebuilt(rec);
        }
        told
    }
}

/// The kinds of file.
pub(super) const KINDS: [FileKind; 5] = [
    FileKind::Main,
    FileKind::Raw,
    FileKind::Snapshot,
    FileKind::Filmstrip,
    FileKind::FilmstripVtt,
];
